/*
 * router_ids.c: bids that come again (rule 16).
 *
 * A backend that has a request id reads the server's "looks", looks for the id
 * in journal and history with a fresh snapshot, and hands the bid over with
 * that number.  What its look may have missed has to be known here:
 *
 *   records of the lane     are remembered from the moment the lane is ready,
 *                           for then everything before is applied; and until
 *                           they are applied and the number was raised
 *   bids of route table     are in the row before the auction is loaded; the
 *                           number is raised then
 *
 * The number is raised behind the commit it speaks of, and read before the
 * snapshot is taken.  So a look with that number sees the commit; any other is
 * answered "look again".
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "router.h"

uint64
auc_router_raise_looks(AucRouter *router)
{
	return pg_atomic_add_fetch_u64(&router->server->looks, 1);
}

/* The lane is ready: no record of it is unapplied. */
void
auc_router_ids_begin(AucRouterLane *rl)
{
	rl->ids.seed = pg_prng_uint64(&pg_global_prng_state);
	auc_request_ids_begin(&rl->ids, auc_router_raise_looks(rl->router));
}

void
auc_router_ids_turn(AucRouterLane *rl)
{
	if (rl->ready &&
		auc_request_ids_due(&rl->ids, pg_atomic_read_u64(&rl->lane->applied)))
		auc_request_ids_seen(&rl->ids, auc_router_raise_looks(rl->router));
}

/* Fills the slot's verdict if it was accepted before. */
AucRecall
auc_router_recall(AucLive *live, AucSlot *slot)
{
	const AucRequestIds *ids = &live->lane->ids;
	const AucRequestId *id = NULL;

	/* also without an id of its own: it was handed over behind one that has */
	if (slot->look < Max(ids->floor, live->look))
		return AUC_RECALL_LOOK_AGAIN;
	if (slot->has_request_id)
		id = auc_request_ids_find(ids, slot->auction_id, slot->user_id,
								  slot->request_id);
	if (id == NULL)
		return AUC_RECALL_NEW;
	auc_rules_repeat(&live->auction, &live->state, id->bid_no, id->at,
					 &slot->verdict);
	slot->repeated = true;
	return AUC_RECALL_REPEATED;
}

/* An accepted bid, before its record is in the tail. */
void
auc_router_remember(AucLive *live, const AucRecord *record)
{
	AucRequestId id = {0};

	id.auction_id = record->auction_id;
	id.user_id = record->user_id;
	memcpy(id.request_id, record->request_id, sizeof(id.request_id));
	id.position = record->position;
	id.bid_no = record->bid_no;
	id.at = record->at;
	if (!auc_request_ids_add(&live->lane->ids, &id))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("The request ids of lane %d could not be remembered.",
						   live->lane->lane_id)));
}

/*
 * router_gap.c: positions that a log lacks, from which a lane recovers (rule 8).
 *
 * Somebody has deleted entries; or PostgreSQL was restored to a time further
 * back than the log is kept; or, restored, it had applied records without the
 * log (a jump).  Whether bids were among them, and of which auctions, nobody
 * can know.  So the lane stops there: what comes before is applied, its bids
 * are refused as those of any lane that recovers, and nobody else is concerned.
 * The positions are shown in stat_lanes.
 *
 * auction.skip_gap() is a DBA's decision to go on: a row of repair_log with
 * these very positions, so that it is part of his transaction and holds after a
 * crash.  The positions are given up by a skip record in the tail, as those of
 * a block are, and the lane is marked with a possible loss.  An auction that has
 * lost a bid is found by its next record, whose bid_no does not follow; the
 * drain quarantines it.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "router.h"
#include "utils/timestamp.h"

/* How often to look whether the decision has come. */
#define LOOK_MS	500

void
auc_router_gap_found(AucRouterLane *rl, uint64 to)
{
	AucLane    *lane = rl->lane;
	uint64		from = rl->writer.last + 1;

	rl->gap_to = to;
	rl->gap_look_at = 0;
	/* found again on another connection: said once */
	if (pg_atomic_read_u64(&lane->gap_from) == from &&
		pg_atomic_read_u64(&lane->gap_to) == to)
		return;
	pg_atomic_write_u64(&lane->gap_from, from);
	pg_write_barrier();
	pg_atomic_write_u64(&lane->gap_to, to);
	ereport(LOG,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("lane %d of server \"%s\" is stopped: positions " UINT64_FORMAT " to " UINT64_FORMAT " are neither applied nor in the log",
					rl->lane_id, NameStr(rl->router->server->name), from, to),
			 errdetail("What comes before them is applied; bids of this lane are refused, others are not concerned."),
			 errhint("Bring the log back, or go on without them by auction.skip_gap(%d, reason).",
					 rl->lane_id)));
}

void
auc_router_gap_forget(AucRouterLane *rl)
{
	rl->gap_to = 0;
	pg_atomic_write_u64(&rl->lane->gap_to, 0);
	pg_write_barrier();
	pg_atomic_write_u64(&rl->lane->gap_from, 0);
}

void
auc_router_gap_tend(AucRouterLane *rl, TimestampTz now)
{
	AucRecord	skip = {0};
	char	   *by;
	char	   *reason;

	if (now < rl->gap_look_at)
		return;
	rl->gap_look_at = TimestampTzPlusMilliseconds(now, LOOK_MS);
	skip.kind = AUC_RECORD_SKIP;
	skip.first = rl->writer.last + 1;
	skip.position = rl->gap_to;
	if (auc_tail_room(&rl->writer) <= rl->lane->tail_size / 2 ||
		!auc_router_skip_decided(rl, skip.first, skip.position, &by, &reason) ||
		!auc_tail_append(&rl->writer, &skip, NULL))
		return;
	ereport(LOG,
			(errmsg("lane %d of server \"%s\": positions " UINT64_FORMAT " to " UINT64_FORMAT " are skipped, as \"%s\" has decided: %s",
					rl->lane_id, NameStr(rl->router->server->name),
					skip.first, skip.position, by, reason),
			 errdetail("Bids that were accepted there are lost; auctions that go on behind one are quarantined.")));
	pfree(by);
	pfree(reason);
	auc_router_gap_forget(rl);
	auc_router_lane_publish(rl);
	rl->logged_off = rl->writer.end;
	auc_router_lane_confirm(rl, rl->writer.last);
	rl->drain_due = true;
}

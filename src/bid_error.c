/*
 * bid_error.c: answers of a router that are errors to the client.
 *
 * One SQLSTATE for each situation that a client handles differently
 * (errors.h), and whether anything was recorded.
 */
#include "postgres.h"

#include "bid_error.h"
#include "errors.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"

/* What made the bid wait: what to look at, or to raise. */
static const char *
why_overloaded(const AucHandOver *bid)
{
	switch (bid->limit)
	{
		case AUC_LIMIT_TAIL:
			return psprintf("The tail of lane %d is full, or nearly so (auction.tail_size).",
							bid->lane_id);
		case AUC_LIMIT_LOG:
			return psprintf("The log of lane %d is as long as auction.log_limit allows, or nearly so.",
							bid->lane_id);
		case AUC_LIMIT_MEMORY:
			return psprintf("The Redis of lane %d uses as much memory as auction.redis_memory_limit allows, or nearly so.",
							bid->lane_id);
		case AUC_LIMIT_BACKLOG:
			return psprintf("The journal is behind lane %d by as much as auction.backlog_limit allows, or nearly so.",
							bid->lane_id);
		case AUC_LIMIT_SLOTS:
			return "All of auction.slots were in use.";
		case AUC_LIMIT_ROLE:
			return psprintf("Role \"%s\" has as many of auction.slots in use as auction.role_slots allows.",
							GetUserNameFromId(GetAuthenticatedUserId(), true));
		default:
			return "The router did not take it: it is busy, or a transaction holds the auction's lock.";
	}
}

/* Was it recorded, why not, and what became of the others. */
static const char *
detail(const AucHandOver *bid, AucAnswerKind answer, int accepted, int nbids)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, answer == AUC_ANSWER_UNKNOWN ?
						   "The bid may have been recorded." :
						   bid->has_request_id ?
						   "This attempt was not recorded." :
						   "The bid was not recorded.");
	if (answer == AUC_ANSWER_OVERLOADED)
		appendStringInfo(&text, " %s", why_overloaded(bid));
	if (nbids > 1)
		appendStringInfo(&text,
						 " Of the %d bids of this call %d are known to be accepted and stay so.",
						 nbids, accepted);
	return text.data;
}

void
auc_bid_raise(const AucHandOver *bid, AucAnswerKind answer, bool cancelled,
			  int accepted, int nbids)
{
	int			code = AUC_ERRCODE_NOT_RECORDED;
	const char *what = "was given up before it was decided";
	const char *hint = "It is safe to send it again.";

	switch (answer)
	{
		case AUC_ANSWER_UNKNOWN:
			code = AUC_ERRCODE_OUTCOME_UNKNOWN;
			what = cancelled ? "was given up while it was being recorded" :
				"has an unknown outcome";
			hint = "If it has a request_id, send it again with the same one, or ask auction.bid_status(); else look for it in auction.bids.";
			break;
		case AUC_ANSWER_RECOVERING:
			code = AUC_ERRCODE_RECOVERING;
			what = "has to wait for the recovery of its lane";
			hint = "Send it again later; auction.stat_lanes shows the lane.";
			break;
		case AUC_ANSWER_FENCED:
			code = AUC_ERRCODE_FENCED;
			what = "cannot be decided: its lane is fenced";
			hint = "auction.stat_lanes and the server log name the reason.";
			break;
		case AUC_ANSWER_WAITING:
			code = AUC_ERRCODE_RECOVERING;
			what = "has to wait until Redis is back";
			hint = "Send it again later. The setting auction.degraded is off: with it, bids would go on without Redis.";
			break;
		case AUC_ANSWER_OVERLOADED:
			code = AUC_ERRCODE_OVERLOADED;
			what = "was not taken in time: lane overloaded";
			hint = "See auction.stat_lanes, auction.stat_workers and the setting auction.overload_timeout.";
			break;
		default:
			break;
	}
	ereport(ERROR,
			(errcode(code),
			 errmsg("bid on auction %lld %s",
					(long long) bid->auction_id, what),
			 errdetail("%s", detail(bid, answer, accepted, nbids)),
			 errhint("%s", hint)));
}

bool
auc_bid_given_up(void)
{
	int			code = geterrcode();

	return code == ERRCODE_QUERY_CANCELED ||
		code == ERRCODE_LOCK_NOT_AVAILABLE;
}

void
auc_bid_cancelled(MemoryContext context, const AucHandOver *bid,
				  AucAnswerKind answer, int accepted, int nbids)
{
	if (!auc_bid_given_up())
		return;
	MemoryContextSwitchTo(context);
	FlushErrorState();
	auc_bid_raise(bid, answer, true, accepted, nbids);
}

void
auc_bid_not_done(int64 auction_id, const char *what, AucAnswerKind answer)
{
	switch (answer)
	{
		case AUC_ANSWER_UNKNOWN:
			ereport(ERROR,
					(errcode(AUC_ERRCODE_OUTCOME_UNKNOWN),
					 errmsg("the router did not say in time whether auction %lld was %s",
							(long long) auction_id, what),
					 errhint("Look at auction.standings before you try again.")));
			break;
		case AUC_ANSWER_RECOVERING:
			ereport(ERROR,
					(errcode(AUC_ERRCODE_RECOVERING),
					 errmsg("auction %lld cannot be %s while its lane recovers",
							(long long) auction_id, what),
					 errhint("Try again later; auction.stat_lanes shows the lane.")));
			break;
		case AUC_ANSWER_WAITING:
			ereport(ERROR,
					(errcode(AUC_ERRCODE_RECOVERING),
					 errmsg("auction %lld cannot be %s until Redis is back",
							(long long) auction_id, what),
					 errhint("Try again later, or set auction.degraded to on.")));
			break;
		case AUC_ANSWER_FENCED:
			ereport(ERROR,
					(errcode(AUC_ERRCODE_FENCED),
					 errmsg("auction %lld cannot be %s: its lane is fenced",
							(long long) auction_id, what),
					 errhint("auction.stat_lanes and the server log name the reason.")));
			break;
		default:
			ereport(ERROR,
					(errcode(AUC_ERRCODE_OVERLOADED),
					 errmsg("auction %lld was not %s in time",
							(long long) auction_id, what),
					 errdetail("Nothing was changed."),
					 errhint("See auction.stat_lanes, auction.stat_workers and the setting auction.overload_timeout.")));
	}
}

void
auc_bid_not_told(int64 auction_id, AucAnswerKind answer)
{
	switch (answer)
	{
		case AUC_ANSWER_RECOVERING:
			ereport(ERROR,
					(errcode(AUC_ERRCODE_RECOVERING),
					 errmsg("what became of a bid on auction %lld cannot be told while its lane recovers",
							(long long) auction_id),
					 errhint("Ask again later; auction.stat_lanes shows the lane.")));
			break;
		case AUC_ANSWER_FENCED:
			ereport(ERROR,
					(errcode(AUC_ERRCODE_FENCED),
					 errmsg("what became of a bid on auction %lld cannot be told: its lane is fenced",
							(long long) auction_id),
					 errhint("auction.stat_lanes and the server log name the reason.")));
			break;
		default:
			ereport(ERROR,
					(errcode(AUC_ERRCODE_OUTCOME_UNKNOWN),
					 errmsg("what became of a bid on auction %lld could not be told in time",
							(long long) auction_id),
					 errhint("Ask again; see auction.stat_lanes, auction.stat_workers and the setting auction.overload_timeout.")));
	}
}

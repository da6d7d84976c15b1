/*
 * bid_args.c: see bid_args.h.
 *
 * A bid that can not be one (a missing value, an amount that is none) is an
 * ERROR, the same on both routes and before anything is locked or handed
 * over.  A bid that the auction's rules refuse is not: that is a verdict.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "bid_args.h"
#include "record.h"

static const char *const value_names[AUC_BID_VALUES] = {
	"auction_id", "user_id", "amount", "request_id", "attributes"
};

/*
 * A bid writes, waits for other processes, and can not be done on a standby;
 * each is refused before anything else, as PostgreSQL does for INSERT.
 */
void
auc_bid_prevent(const char *command)
{
	PreventCommandIfReadOnly(command);
	PreventCommandIfParallelMode(command);
	PreventCommandDuringRecovery(command);
}

/* 'argument "amount"', 'field "amount" of element 3', 'column "amount"' */
static const char *
where(AucBidSource source, int element, int value)
{
	switch (source)
	{
		case AUC_SOURCE_ARGUMENT:
			return psprintf("argument \"%s\"", value_names[value]);
		case AUC_SOURCE_ELEMENT:
			return psprintf("field \"%s\" of element %d",
							value_names[value], element);
		case AUC_SOURCE_COLUMN:
			return psprintf("column \"%s\"", value_names[value]);
	}
	return value_names[value];
}

static void
take_attributes(AucBidSource source, int element, Datum value, AucBid *bid)
{
	Jsonb	   *json = DatumGetJsonbP(value);

	bid->attributes = JsonbToCString(NULL, &json->root, VARSIZE(json));
	bid->attributes_len = (uint32) strlen(bid->attributes);
	if (bid->attributes_len > AUC_ATTRIBUTES_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg("value too long for %s",
						where(source, element, AUC_BID_VALUE_ATTRIBUTES)),
				 errdetail("The JSON text has %u bytes; at most %d are allowed.",
						   bid->attributes_len, AUC_ATTRIBUTES_MAX)));
}

void
auc_bid_from_values(AucBidSource source, int element, const Datum *values,
					const bool *isnull, AucBid *bid)
{
	int			i;

	memset(bid, 0, sizeof(*bid));
	for (i = AUC_BID_VALUE_AUCTION_ID; i <= AUC_BID_VALUE_AMOUNT; i++)
	{
		if (!isnull[i])
			continue;
		ereport(ERROR,
				(errcode(source == AUC_SOURCE_COLUMN ?
						 ERRCODE_NOT_NULL_VIOLATION :
						 ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", where(source, element, i))));
	}
	bid->auction_id = DatumGetInt64(values[AUC_BID_VALUE_AUCTION_ID]);
	bid->user_id = DatumGetInt64(values[AUC_BID_VALUE_USER_ID]);
	bid->amount = DatumGetInt64(values[AUC_BID_VALUE_AMOUNT]);
	if (bid->amount < 0 || bid->amount > AUC_AMOUNT_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("value %lld is out of range for %s",
						(long long) bid->amount,
						where(source, element, AUC_BID_VALUE_AMOUNT)),
				 errdetail("It must be between 0 and %lld, in the currency's minor unit.",
						   (long long) AUC_AMOUNT_MAX)));

	if (!isnull[AUC_BID_VALUE_REQUEST_ID])
	{
		bid->has_request_id = true;
		memcpy(bid->request_id,
			   DatumGetUUIDP(values[AUC_BID_VALUE_REQUEST_ID])->data, UUID_LEN);
	}
	if (!isnull[AUC_BID_VALUE_ATTRIBUTES])
		take_attributes(source, element, values[AUC_BID_VALUE_ATTRIBUTES], bid);
}

/* In the order of the columns of auction.bid_result. */
void
auc_bid_result_values(const AucBidResult *result, Datum *values, bool *isnull)
{
	const AucVerdict *verdict = &result->verdict;
	bool		unknown = verdict->reason == AUC_REASON_UNKNOWN_AUCTION;
	int			i;

	for (i = 0; i < AUC_RESULT_COLUMNS; i++)
	{
		values[i] = (Datum) 0;
		isnull[i] = false;
	}
	values[0] = BoolGetDatum(verdict->accepted);
	if (verdict->reason != AUC_REASON_NONE)
		values[1] = CStringGetTextDatum(auc_reason_name(verdict->reason));
	else
		isnull[1] = true;
	if (verdict->accepted)
		values[2] = Int64GetDatum(verdict->bid_no);
	else
		isnull[2] = true;
	if (verdict->has_leader)
		values[4] = Int64GetDatum(verdict->leader_id);
	else
		isnull[4] = true;

	if (unknown)
	{
		isnull[3] = isnull[5] = isnull[6] = isnull[7] = isnull[8] = true;
		return;
	}
	values[3] = Int64GetDatum(verdict->price);
	values[5] = TimestampTzGetDatum(verdict->ends_at);
	values[6] = CStringGetTextDatum(auc_route_name(result->route));
	values[7] = CStringGetTextDatum(auc_level_name(result->level));
	values[8] = BoolGetDatum(verdict->reserve == AUC_RESERVE_MET);
	isnull[8] = verdict->reserve == AUC_RESERVE_NONE;
}

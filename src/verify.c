/*
 * verify.c: see verify.h.
 *
 * One statement reads the state rows and the bids, hence under one snapshot,
 * also in a caller's transaction that keeps an old one.  Such a caller may see
 * an auction still open that is closed by now; that is a serialization
 * failure, never a difference.
 *
 * A difference is raised as an error inside a subtransaction, so that a batch
 * of which one auction is bad is undone as a whole, whatever it did before.
 */
#include "postgres.h"

#include "attempt.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "increments.h"
#include "record.h"
#include "statement.h"
#include "tally.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
#include "verify.h"

PG_FUNCTION_INFO_V1(auction__bid_checksum);

/* Columns of the comparing statements. */
enum
{
	COL_ID = 1,
	COL_STATUS,
	COL_KIND,
	COL_START_PRICE,
	COL_INCREMENT,
	COL_INCREMENTS,
	COL_RESERVE_PRICE,
	COL_BUY_NOW_PRICE,
	COL_BID_COUNT,
	COL_RETRACTED,
	COL_PRICE,
	COL_LEADER,
	COL_LEADER_MAX,
	COL_SECOND_MAX,
	COL_CHECKSUM,
	COL_ROWS,
	COL_FIRST,
	COL_LAST,
	COL_ROWS_RETRACTED,
	COL_ROWS_CHECKSUM,
	COL_ROWS_TALLY
};

#define COMPARE(table) \
	"SELECT s.auction_id, s.status, s.kind, s.start_price, s.increment, " \
	" s.increments, s.reserve_price, s.buy_now_price, s.bid_count, " \
	" s.retracted, s.price, s.leader_id, s.leader_max, s.second_max, " \
	" s.checksum, count(b.bid_no), " \
	" min(b.bid_no), max(b.bid_no), count(b.retracted_at), " \
	" bit_xor(auction._bid_checksum(b.auction_id, b.bid_no, " \
	" b.user_id, b.amount, b.placed_at, b.request_id, b.attributes)), " \
	AUC_TALLY_SQL("b") \
	"FROM auction._state s LEFT JOIN " table " b " \
	" ON b.auction_id = s.auction_id " \
	"WHERE s.auction_id = ANY ($1) GROUP BY s.auction_id"

static AucStatement compare_journal = {
	.text = COMPARE("auction.journal"),
	.nargs = 1,.argtypes = {INT8ARRAYOID}
};
static AucStatement compare_history = {
	.text = COMPARE("auction.history"),
	.nargs = 1,.argtypes = {INT8ARRAYOID}
};
static AucStatement mark_verified = {
	.text = "UPDATE auction._state SET verified_at = clock_timestamp() "
	"WHERE auction_id = ANY ($1) AND status IN ('c', 'x')",
	.nargs = 1,.argtypes = {INT8ARRAYOID}
};
static AucStatement mark_quarantined = {
	.text = "UPDATE auction._state SET status = 'q', reason = $2, "
	" quarantined_from = status "
	"WHERE auction_id = $1 AND status IN ('c', 'x')",
	.nargs = 2,.argtypes = {INT8OID, TEXTOID}
};

static void
raise_changed(int64 auction_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("auction %lld was changed by another transaction",
					(long long) auction_id),
			 errhint("Run the transaction again.")));
}

/* One auction's comparison, and who is told of differences. */
typedef struct Comparison
{
	uint64		row;			/* of the statement's result */
	AucBidsIn	where;
	AucVerifyReport report;		/* NULL: the first one is an ERROR */
	void	   *arg;
} Comparison;

static void
compare_number(const Comparison *c, const char *what, int64 in_row,
			   int64 in_bids)
{
	if (in_row == in_bids)
		return;
	if (c->report != NULL)
		c->report(c->arg, what, psprintf(INT64_FORMAT, in_row),
				  psprintf(INT64_FORMAT, in_bids));
	else
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("%s of auction %lld is %lld in its state and %lld in auction.%s",
						what, (long long) auc_statement_int64(c->row, COL_ID),
						(long long) in_row, (long long) in_bids,
						c->where == AUC_BIDS_IN_JOURNAL ? "journal" : "history")));
}

static int64
amount_of(uint64 row, int column)
{
	bool		isnull;
	Datum		value = auc_statement_datum(row, column, &isnull);

	return isnull ? AUC_NO_AMOUNT : DatumGetInt64(value);
}

/* What the rules need to know of the auction to say its price. */
static void
read_auction(uint64 row, AucAuction *auction)
{
	bool		isnull;
	Datum		increments = auc_statement_datum(row, COL_INCREMENTS, &isnull);

	memset(auction, 0, sizeof(*auction));
	auction->id = auc_statement_int64(row, COL_ID);
	auction->kind = (AucKind) auc_statement_char(row, COL_KIND);
	auction->start_price = auc_statement_int64(row, COL_START_PRICE);
	auction->increment = auc_statement_int64(row, COL_INCREMENT);
	if (!isnull)
		auction->increments = auc_increments_of_array(increments);
	auction->reserve_price = amount_of(row, COL_RESERVE_PRICE);
	auction->buy_now_price = amount_of(row, COL_BUY_NOW_PRICE);
}

/* Price and leader follow from the bids that stand, whatever their order. */
static void
compare_result(const Comparison *c)
{
	uint64		row = c->row;
	AucAuction	auction;
	AucTally	tally;
	AucState	counted = {0};
	bool		isnull;
	Datum		value = auc_statement_datum(row, COL_ROWS_TALLY, &isnull);

	read_auction(row, &auction);
	auc_tally_of_array(value, isnull, &tally);
	auc_tally_settle(&auction, &tally, &counted);
	compare_number(c, "price", auc_statement_int64(row, COL_PRICE),
				   counted.price);
	/* a number, not a leader, is 0 on either side if there is none */
	compare_number(c, "leader", auc_statement_int64(row, COL_LEADER),
				   counted.leader_id);
	if (amount_of(row, COL_LEADER_MAX) == counted.leader_max &&
		amount_of(row, COL_SECOND_MAX) == counted.second_max)
		return;
	/* shown in standings.reason: no amount here */
	if (c->report != NULL)
		c->report(c->arg, "maxima", NULL, NULL);
	else
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("maxima of auction %lld in its state are not those of its bids",
						(long long) auction.id)));
}

/*
 * The count alone is no proof that nothing is missing: a bid may be there
 * under another number.  bid_no is unique, so count, least and greatest
 * together are.
 */
static void
compare_row(const Comparison *c)
{
	uint64		row = c->row;
	int64		bid_count = auc_statement_int64(row, COL_BID_COUNT);

	compare_number(c, "number of bids", bid_count,
				   auc_statement_int64(row, COL_ROWS));
	compare_number(c, "least bid_no", bid_count > 0 ? 1 : 0,
				   auc_statement_int64(row, COL_FIRST));
	compare_number(c, "greatest bid_no", bid_count,
				   auc_statement_int64(row, COL_LAST));
	compare_number(c, "number of retracted bids",
				   auc_statement_int64(row, COL_RETRACTED),
				   auc_statement_int64(row, COL_ROWS_RETRACTED));
	compare_result(c);
	compare_number(c, "checksum", auc_statement_int64(row, COL_CHECKSUM),
				   auc_statement_int64(row, COL_ROWS_CHECKSUM));
}

void
auc_verify_compare(int n, const int64 *ids, AucBidsIn where)
{
	Datum		values[1];
	uint64		rows;

	values[0] = auc_statement_ids(n, ids);
	rows = auc_statement_run(where == AUC_BIDS_IN_JOURNAL ?
							 &compare_journal : &compare_history,
							 values, SPI_OK_SELECT);
	if (rows != (uint64) n)
		raise_changed(ids[0]);
	for (uint64 row = 0; row < rows; row++)
	{
		Comparison	c = {.row = row,.where = where};
		char		status = auc_statement_char(row, COL_STATUS);

		if (status != AUC_STATUS_CLOSED && status != AUC_STATUS_CANCELLED)
			raise_changed(auc_statement_int64(row, COL_ID));
		compare_row(&c);
	}
}

void
auc_verify_report(int64 auction_id, AucBidsIn where, Snapshot snapshot,
				  AucVerifyReport report, void *arg)
{
	Comparison	c = {.where = where,.report = report,.arg = arg};
	Datum		values[1];

	values[0] = auc_statement_ids(1, &auction_id);
	if (auc_statement_read(where == AUC_BIDS_IN_JOURNAL ? &compare_journal :
						   &compare_history, values, snapshot) == 1)
		compare_row(&c);
}

static void
verify_work(int n, const int64 *ids)
{
	Datum		values[1];

	SPI_connect();
	auc_verify_compare(n, ids, AUC_BIDS_IN_JOURNAL);
	values[0] = auc_statement_ids(n, ids);
	if (auc_statement_run(&mark_verified, values, SPI_OK_UPDATE) != (uint64) n)
		raise_changed(ids[0]);
	SPI_finish();
}

int
auc_verify_auctions(int n, int64 *ids)
{
	return auc_verify_each(verify_work, n, ids);
}

void
auc_verify_quarantine(int64 auction_id, const char *reason)
{
	Datum		values[2];

	SPI_connect();
	values[0] = Int64GetDatum(auction_id);
	values[1] = CStringGetTextDatum(reason);
	if (auc_statement_run(&mark_quarantined, values, SPI_OK_UPDATE) != 1)
		raise_changed(auction_id);
	SPI_finish();
	ereport(WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("auction %lld is quarantined", (long long) auction_id),
			 errdetail_internal("%s", reason),
			 errhint("Its bids stay where they are until somebody has looked.")));
}

/* Errors that the data causes: trying again would not help. */
static bool
is_data_error(int sqlerrcode)
{
	int			class = ERRCODE_TO_CATEGORY(sqlerrcode);

	return class == ERRCODE_DATA_EXCEPTION ||
		class == ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION ||
		sqlerrcode == ERRCODE_DATA_CORRUPTED ||
		sqlerrcode == ERRCODE_INDEX_CORRUPTED;
}

typedef struct Batch
{
	AucVerifyWork work;
	int			n;
	const int64 *ids;
} Batch;

static void
work_on(void *arg)
{
	Batch	   *batch = arg;

	batch->work(batch->n, batch->ids);
}

/* NULL: it went well; else why not, and everything it did is undone. */
static char *
attempt(AucVerifyWork work, int n, const int64 *ids)
{
	Batch		batch = {work, n, ids};
	ErrorData  *error = auc_attempt(work_on, &batch);

	if (error == NULL)
		return NULL;
	if (!is_data_error(error->sqlerrcode))
		ReThrowError(error);
	return error->message;
}

int
auc_verify_each(AucVerifyWork work, int n, int64 *ids)
{
	int			good = 0;

	if (n == 0 || (n > 1 && attempt(work, n, ids) == NULL))
		return n;
	for (int i = 0; i < n; i++)
	{
		int64		id = ids[i];
		char	   *reason = attempt(work, 1, &id);

		if (reason == NULL)
			ids[good++] = id;
		else
			auc_verify_quarantine(id, reason);
	}
	return good;
}

/* ---- SQL ---- */

/* NULL if one of the columns that every bid has is. */
Datum
auction__bid_checksum(PG_FUNCTION_ARGS)
{
	const uint8 *request_id = NULL;
	char	   *attributes = NULL;
	uint64		checksum;

	for (int i = 0; i < 5; i++)
		if (PG_ARGISNULL(i))
			PG_RETURN_NULL();
	if (!PG_ARGISNULL(5))
		request_id = PG_GETARG_UUID_P(5)->data;
	if (!PG_ARGISNULL(6))
		attributes = DatumGetCString(DirectFunctionCall1(jsonb_out,
														 PG_GETARG_DATUM(6)));
	checksum = auc_bid_checksum(PG_GETARG_INT64(0), PG_GETARG_INT64(1),
								PG_GETARG_INT64(2), PG_GETARG_INT64(3),
								PG_GETARG_TIMESTAMPTZ(4), request_id,
								attributes,
								attributes ? strlen(attributes) : 0);
	PG_RETURN_INT64((int64) checksum);
}

/*
 * auction_row.c: see auction_row.h.
 *
 * What rules.c relies on is checked here, column by column: each by itself
 * first, then against the others.  Every error names the column that is at
 * fault, of two that do not fit the later one, and has its SQLSTATE: 22003,
 * 22008 out of range, 23514 does not fit another column, 42704 no such
 * increment table.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "auction_row.h"
#include "increments.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* Longest extend_window and extend_by, in days. */
#define EXTEND_MAX_DAYS	366

Datum
auc_auction_column(Relation rel, HeapTuple tuple, int attnum)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, attnum, RelationGetDescr(rel),
									 &isnull);

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("null value in column \"%s\" of relation \"%s\"",
						NameStr(TupleDescAttr(RelationGetDescr(rel),
											  attnum - 1)->attname),
						RelationGetRelationName(rel)),
				 errtablecol(rel, attnum)));
	return value;
}

/* The codes in _state are the first letters of the words; see rules.h. */
static char
letter(Relation rel, HeapTuple tuple, int attnum)
{
	text	   *word = DatumGetTextPP(auc_auction_column(rel, tuple, attnum));

	return VARSIZE_ANY_EXHDR(word) > 0 ? *VARDATA_ANY(word) : '\0';
}

static int64
amount_column(Relation rel, HeapTuple tuple, int attnum, int64 least)
{
	int64		amount = DatumGetInt64(auc_auction_column(rel, tuple, attnum));

	if (amount < least || amount > AUC_AMOUNT_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("value %lld is out of range for column \"%s\"",
						(long long) amount,
						NameStr(TupleDescAttr(RelationGetDescr(rel),
											  attnum - 1)->attname)),
				 errdetail("It must be between %lld and %lld, in the currency's minor unit.",
						   (long long) least, (long long) AUC_AMOUNT_MAX),
				 errtablecol(rel, attnum)));
	return amount;
}

/*
 * A time with its neighbours in 64 bits whatever epoch a reader counts from;
 * infinity would be an auction that nothing ever closes.
 */
static TimestampTz
time_column(Relation rel, HeapTuple tuple, int attnum)
{
	TimestampTz at = DatumGetTimestampTz(auc_auction_column(rel, tuple, attnum));
	TimestampTz limit = (int64) (date2j(10000, 1, 1) -
								 POSTGRES_EPOCH_JDATE) * USECS_PER_DAY;

	if (TIMESTAMP_NOT_FINITE(at) || at >= limit)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("value \"%s\" is out of range for column \"%s\"",
						timestamptz_to_str(at),
						NameStr(TupleDescAttr(RelationGetDescr(rel),
											  attnum - 1)->attname)),
				 errdetail("It must be finite and before the year 10000."),
				 errtablecol(rel, attnum)));
	return at;
}

static bool
is_null(Relation rel, HeapTuple tuple, int attnum)
{
	return heap_attisnull(tuple, attnum, RelationGetDescr(rel));
}

static int64
optional_amount(Relation rel, HeapTuple tuple, int attnum)
{
	return is_null(rel, tuple, attnum) ? AUC_NO_AMOUNT :
		amount_column(rel, tuple, attnum, 0);
}

/* 0: null.  Months have no length of their own; a day here is 24 hours. */
static int64
duration_column(Relation rel, HeapTuple tuple, int attnum)
{
	Interval   *interval;
	int64		longest = EXTEND_MAX_DAYS * USECS_PER_DAY;
	int64		total = 0;

	if (is_null(rel, tuple, attnum))
		return 0;
	interval = DatumGetIntervalP(auc_auction_column(rel, tuple, attnum));
	/* a part out of this range would make the sum overflow */
	if (interval->month == 0 &&
		interval->day >= -EXTEND_MAX_DAYS &&
		interval->day <= EXTEND_MAX_DAYS &&
		interval->time >= -longest && interval->time <= longest)
		total = interval->day * USECS_PER_DAY + interval->time;
	if (total <= 0 || total > longest)
		ereport(ERROR,
				(errcode(ERRCODE_INTERVAL_FIELD_OVERFLOW),
				 errmsg("value is out of range for column \"%s\"",
						NameStr(TupleDescAttr(RelationGetDescr(rel),
											  attnum - 1)->attname)),
				 errdetail("It must be more than 0 and at most %d days, and without months or years.",
						   EXTEND_MAX_DAYS),
				 errtablecol(rel, attnum)));
	return total;
}

/* "does": what the column must do, after 'column "x" of auction 42'. */
static void
check_fits(bool fits, Relation rel, int attnum, int64 auction_id,
		   const char *does)
{
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("column \"%s\" of auction %lld must %s",
						NameStr(TupleDescAttr(RelationGetDescr(rel),
											  attnum - 1)->attname),
						(long long) auction_id, does),
				 errtablecol(rel, attnum)));
}

static void
read_prices(Relation rel, HeapTuple tuple, AucAuction *auction)
{
	auction->start_price = amount_column(rel, tuple, AUC_AUCTION_START_PRICE,
										 0);
	auction->increment = amount_column(rel, tuple, AUC_AUCTION_INCREMENT, 1);
	auction->reserve_price = optional_amount(rel, tuple,
											 AUC_AUCTION_RESERVE_PRICE);
	auction->buy_now_price = optional_amount(rel, tuple,
											 AUC_AUCTION_BUY_NOW_PRICE);
	check_fits(auction->reserve_price == AUC_NO_AMOUNT ||
			   auction->reserve_price >= auction->start_price,
			   rel, AUC_AUCTION_RESERVE_PRICE, auction->id,
			   "not be below \"start_price\"");
	if (auction->buy_now_price == AUC_NO_AMOUNT)
		return;
	check_fits(auction->buy_now_price >= auction->start_price,
			   rel, AUC_AUCTION_BUY_NOW_PRICE, auction->id,
			   "not be below \"start_price\"");
	check_fits(auction->buy_now_price >= auction->reserve_price,
			   rel, AUC_AUCTION_BUY_NOW_PRICE, auction->id,
			   "not be below \"reserve_price\"");
}

static void
read_times(Relation rel, HeapTuple tuple, AucAuction *auction,
		   TimestampTz *ends_at)
{
	int64		id = auction->id;
	bool		soft;

	auction->starts_at = time_column(rel, tuple, AUC_AUCTION_STARTS_AT);
	*ends_at = time_column(rel, tuple, AUC_AUCTION_ENDS_AT);
	check_fits(*ends_at > auction->starts_at, rel, AUC_AUCTION_ENDS_AT, id,
			   "be after \"starts_at\"");

	auction->extend_window = duration_column(rel, tuple,
											 AUC_AUCTION_EXTEND_WINDOW);
	auction->extend_by = duration_column(rel, tuple, AUC_AUCTION_EXTEND_BY);
	auction->extend_limit = PG_INT64_MAX;
	soft = auction->extend_window > 0;
	check_fits(soft || auction->extend_by == 0, rel,
			   AUC_AUCTION_EXTEND_WINDOW, id,
			   "be given where \"extend_by\" is");
	/* so that every bid in the window extends the auction */
	check_fits(auction->extend_by >= auction->extend_window, rel,
			   AUC_AUCTION_EXTEND_BY, id,
			   "be given where \"extend_window\" is, and not be shorter");
	if (is_null(rel, tuple, AUC_AUCTION_EXTEND_LIMIT))
		return;
	check_fits(soft, rel, AUC_AUCTION_EXTEND_LIMIT, id,
			   "be null where \"extend_window\" is");
	auction->extend_limit = time_column(rel, tuple, AUC_AUCTION_EXTEND_LIMIT);
	check_fits(auction->extend_limit >= *ends_at, rel,
			   AUC_AUCTION_EXTEND_LIMIT, id, "not be before \"ends_at\"");
	check_fits(auction->extend_window <=
			   auction->extend_limit - auction->starts_at, rel,
			   AUC_AUCTION_EXTEND_WINDOW, id,
			   "not be longer than from \"starts_at\" to \"extend_limit\"");
}

static void
read_increment_table(Relation rel, HeapTuple tuple, bool known, AucRow *row)
{
	int			attnum = AUC_AUCTION_INCREMENT_TABLE;
	char	   *name;

	if (is_null(rel, tuple, attnum))
		return;
	name = TextDatumGetCString(auc_auction_column(rel, tuple, attnum));
	row->increment_table = name;
	if (known)
		return;
	row->auction.increments = auc_increments_find(name);
	if (row->auction.increments == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("increment table \"%s\" of column \"increment_table\" does not exist",
						name),
				 errhint("See auction.increment_tables."),
				 errtablecol(rel, attnum)));
}

void
auc_auction_row(Relation rel, HeapTuple tuple, bool known, AucRow *row)
{
	AucAuction *auction = &row->auction;
	Datum		durability;
	TimestampTz ends_at;

	memset(row, 0, sizeof(*row));
	auction->id = DatumGetInt64(auc_auction_column(rel, tuple,
												   AUC_AUCTION_ID));
	auction->seller_id =
		DatumGetInt64(auc_auction_column(rel, tuple, AUC_AUCTION_SELLER_ID));
	auction->kind = (AucKind) letter(rel, tuple, AUC_AUCTION_KIND);
	durability = auc_auction_column(rel, tuple, AUC_AUCTION_DURABILITY);
	auction->level = auc_level_of_name(TextDatumGetCString(durability));
	row->route = (AucRoute) letter(rel, tuple, AUC_AUCTION_ROUTE);
	read_prices(rel, tuple, auction);
	read_times(rel, tuple, auction, &ends_at);
	read_increment_table(rel, tuple, known, row);
	auc_rules_init(auction, ends_at, &row->state);
}

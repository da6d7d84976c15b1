/*
 * rollout_sql.c: set_rollout, roll_back and rollout_bucket.
 *
 * Both procedures change the row of auction._rollout in the caller's
 * transaction and nothing else; new auctions follow it from the commit on,
 * live ones are moved by the steward (steward_move.c).
 */
#include "postgres.h"

#include "argument.h"
#include "bid_args.h"
#include "bucket.h"
#include "compat.h"
#include "errors.h"
#include "fmgr.h"
#include "lock.h"
#include "rollout.h"
#include "shm.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

PG_FUNCTION_INFO_V1(auction_set_rollout);
PG_FUNCTION_INFO_V1(auction_roll_back);
PG_FUNCTION_INFO_V1(auction_rollout_bucket);

/* ---- arguments ---- */

/* Buckets that are in: the percentage times a hundred, a whole number. */
static int
buckets_argument(Numeric percent)
{
	Numeric		hundredths;
	bool		bad = false;
	int			buckets = 0;

	if (!numeric_is_nan(percent) && !numeric_is_inf(percent))
	{
		hundredths = numeric_mul_opt_error(percent, int64_to_numeric(100),
										   &bad);
		if (!bad)
			buckets = numeric_int4_opt_error(hundredths, &bad);
		if (!bad && buckets >= 0 && buckets <= AUC_BUCKETS &&
			DatumGetBool(DirectFunctionCall2(numeric_eq,
											 NumericGetDatum(hundredths),
											 NumericGetDatum(int64_to_numeric(buckets)))))
			return buckets;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("argument \"percent\" must be between 0 and 100 with at most two decimals, not %s",
					DatumGetCString(DirectFunctionCall1(numeric_out,
														NumericGetDatum(percent))))));
}

static char *
salt_argument(text *value)
{
	char	   *salt = text_to_cstring(value);
	size_t		len = strlen(salt);

	if (len == 0 || len > AUC_ROLLOUT_SALT_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"salt\" must have 1 to %d characters",
						AUC_ROLLOUT_SALT_MAX),
				 errhint("NULL keeps the salt there is.")));
	for (size_t i = 0; i < len; i++)
		if (salt[i] < 0x20 || salt[i] > 0x7e)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("argument \"salt\" must be printable ASCII"),
					 errdetail("Other services hash its bytes, too.")));
	return salt;
}

/* ---- procedures ---- */

Datum
auction_set_rollout(PG_FUNCTION_ARGS)
{
	char	   *salt = NULL;
	Numeric		percent;
	bool		move_live;
	int			buckets;

	percent = DatumGetNumeric(auc_argument(fcinfo, 0, "percent"));
	move_live = DatumGetBool(auc_argument(fcinfo, 1, "move_live"));
	buckets = buckets_argument(percent);
	if (!PG_ARGISNULL(2))
		salt = salt_argument(PG_GETARG_TEXT_PP(2));

	auc_bid_prevent("auction.set_rollout()");
	if (buckets > 0)
	{
		auc_shm_require("auction.set_rollout()");
		if (!auc_rollout_possible())
			ereport(ERROR,
					(errcode(AUC_ERRCODE_NOT_ATTACHED),
					 errmsg("cannot roll out route \"redis\""),
					 errdetail("No Redis server is attached to this database."),
					 errhint("Attach one with auction.attach_redis().")));
	}
	(void) auc_lock_rollout(true);
	auc_rollout_change(buckets, move_live, salt, AUC_MOVE_ROLLOUT, NULL);
	PG_RETURN_VOID();
}

Datum
auction_roll_back(PG_FUNCTION_ARGS)
{
	auc_bid_prevent("auction.roll_back()");
	(void) auc_rollout_roll_back(AUC_MOVE_ROLL_BACK, NULL);
	PG_RETURN_VOID();
}

/* ---- the hash ---- */

Datum
auction_rollout_bucket(PG_FUNCTION_ARGS)
{
	int64		auction_id = PG_GETARG_INT64(0);
	text	   *salt = PG_GETARG_TEXT_PP(1);

	PG_RETURN_INT32(auc_bucket(VARDATA_ANY(salt), VARSIZE_ANY_EXHDR(salt),
							   auction_id));
}

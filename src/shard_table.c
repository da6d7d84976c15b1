/*
 * shard_table.c: see shard_table.h.
 */
#include "postgres.h"

#include "owner.h"
#include "shard_table.h"
#include "statement.h"

/* ---- on another server ---- */

/* Statements that can be run again, in this order. */
static const char *const prepare_parent[] = {
	/* the columns of auction.history, in its order */
	"CREATE TABLE IF NOT EXISTS " AUC_SHARD_PARENT " ("
	"auction_id bigint NOT NULL, bid_no bigint NOT NULL, "
	"user_id bigint NOT NULL, amount bigint NOT NULL, "
	"placed_at timestamptz NOT NULL, position bigint, lane_id int, "
	"buy_now bool NOT NULL, request_id uuid, attributes jsonb, "
	"retracted_at timestamptz, retract_reason text, "
	"CONSTRAINT history_key UNIQUE (user_id, auction_id, bid_no)"
	") PARTITION BY HASH (user_id)",
	"CREATE INDEX IF NOT EXISTS history_auction"
	" ON " AUC_SHARD_PARENT " (auction_id, bid_no)",
	"CREATE INDEX IF NOT EXISTS history_request"
	" ON " AUC_SHARD_PARENT " (auction_id, request_id)"
	" WHERE request_id IS NOT NULL",
};

void
auc_shard_remote_prepare(AucRemote *remote)
{
	for (int i = 0; i < lengthof(prepare_parent); i++)
		(void) auc_remote_run(remote, prepare_parent[i], 0, NULL, 0);
}

char *
auc_shard_remote_name(int modulus, int number)
{
	return psprintf(AUC_SHARD_PARENT "_%d_%d", modulus, number);
}

/*
 * A split that was given up for lost may have left a table of this name that is
 * no partition; with rows in it, it is somebody's.
 */
static void
check_partition(AucRemote *remote, const char *table)
{
	if (auc_remote_run(remote, psprintf("SELECT FROM pg_inherits"
										" WHERE inhrelid = '%s'::regclass",
										table), 0, NULL, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("table \"%s\" on shard server \"%s\" is no partition of \"" AUC_SHARD_PARENT "\"",
						table, auc_remote_name(remote)),
				 errhint("Drop it there if nobody needs it.")));
}

void
auc_shard_remote_create(AucRemote *remote, int modulus, int number)
{
	(void) auc_remote_run(remote,
						  psprintf("CREATE TABLE IF NOT EXISTS %s"
								   " PARTITION OF " AUC_SHARD_PARENT
								   " FOR VALUES WITH (MODULUS %d, REMAINDER %d)",
								   auc_shard_remote_name(modulus, number),
								   modulus, number),
						  0, NULL, 0);
	check_partition(remote, auc_shard_remote_name(modulus, number));
}

/* ---- here ---- */

/* PostgreSQL chooses free names for them: tables change theirs. */
void
auc_shard_create_indexes(const char *table)
{
	(void) auc_statement_once(psprintf("CREATE INDEX ON %s"
									   " (auction_id, bid_no)", table));
	(void) auc_statement_once(psprintf("CREATE INDEX ON %s"
									   " (auction_id, request_id)"
									   " WHERE request_id IS NOT NULL", table));
}

void
auc_shard_create_first(int modulus)
{
	AucCaller	caller;

	auc_owner_begin(&caller);
	for (int number = 0; number < modulus; number++)
	{
		(void) auc_statement_once(psprintf("CREATE TABLE auction.history_%d"
										   " PARTITION OF auction.history"
										   " (UNIQUE (user_id, auction_id, bid_no))"
										   " FOR VALUES WITH (MODULUS %d, REMAINDER %d)",
										   number, modulus, number));
		auc_shard_create_indexes(psprintf("auction.history_%d", number));
	}
	auc_owner_end(&caller);
}

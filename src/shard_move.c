/*
 * shard_move.c: the course of a move; see shard_move.h.
 *
 * What is said by the row is committed before the next step relies on it.
 *
 * A step that waits, for a lock or for onlookers, commits before it tries
 * again: two moves would else be each other's onlookers.
 */
#include "postgres.h"

#include "access/xact.h"
#include "attach.h"
#include "attempt.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "lock.h"
#include "onlooker.h"
#include "procedure.h"
#include "relation.h"
#include "settings.h"
#include "shard_move.h"
#include "stop.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "waits.h"

/* About what a bid takes, where nobody has counted them. */
#define BID_BYTES		110
/* Rows of a piece; fewer if the rate is limited. */
#define PIECE_ROWS		10000
#define VERIFY_ROWS		100000
/* No lock here is waited for longer; then others go first for a while. */
#define LOCK_MS			20
#define RETRY_MS		20
#define RETRY_MAX_MS	100

static void
set_phase(AucShardMove *move, AucMovePhase phase)
{
	AucCaller	caller;

	auc_procedure_begin(&caller);
	auc_move_row_phase(move, phase);
	auc_procedure_commit(&caller);
}

/* ---- copying and comparing ---- */

/* So that a piece takes about a fifth of a second at that rate. */
static int
piece_rows(void)
{
	return auc_guc_move_rate == 0 ? PIECE_ROWS :
		Max(1, Min(PIECE_ROWS, auc_guc_move_rate / 5));
}

static void
keep_rate(int64 rows, TimestampTz began)
{
	TimestampTz until;
	long		left;

	if (auc_guc_move_rate == 0)
		return;
	until = began + rows * USECS_PER_SEC / auc_guc_move_rate;
	while ((left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
												   until)) > 0)
		auc_nap(left, AUC_WAIT_PROCEDURE);
}

static void
copy(AucShardMove *move)
{
	AucCaller	caller;
	bool		more;

	auc_procedure_begin(&caller);
	auc_move_copy_resume(move);
	auc_procedure_commit(&caller);
	do
	{
		TimestampTz began = GetCurrentTimestamp();
		int64		rows;

		auc_procedure_begin(&caller);
		more = auc_move_copy_piece(move, piece_rows(), &rows);
		auc_procedure_commit(&caller);
		keep_rate(rows, began);
		if (more)
			auc_stop_at("move: between");
	} while (more);
	auc_stop_at("move: copied");
	set_phase(move, AUC_MOVE_VERIFYING);
}

static void
verify(AucShardMove *move)
{
	AucCaller	caller;
	bool		more;

	move->last.valid = false;
	do
	{
		auc_procedure_begin(&caller);
		more = auc_move_verify_piece(move, VERIFY_ROWS);
		auc_procedure_commit(&caller);
	} while (more);
	auc_stop_at("move: verified");
	set_phase(move, AUC_MOVE_SWAPPING);
}

/* ---- the swap ---- */

static char *
name_of(const AucShardMove *move)
{
	return psprintf("the move of shard %d", move->shard);
}

/* All that was copied is committed. */
static void
await_onlookers(const AucShardMove *move, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	AucOnlookers *onlookers = auc_onlookers_now();

	MemoryContextSwitchTo(old);
	auc_procedure_await(onlookers, name_of(move));
	auc_onlookers_free(onlookers);
}

typedef void (*Step) (AucShardMove *move);

/* From here on others go first if a lock is not to be had at once. */
static void
limit_locks(void)
{
	(void) set_config_option("lock_timeout", CppAsString2(LOCK_MS),
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL,
							 true, 0, false);
}

/*
 * Only who writes to shards has to wait for whoever waits for the map: the
 * consolidator, and auction.consolidate().  It holds it for a batch, so
 * that trying would find it taken for ever.
 */
static void
swap(AucShardMove *move)
{
	(void) auc_lock_shards(true, true);
	limit_locks();
	auc_move_swap(move);
	auc_move_row_phase(move, move->splits && move->to.remote != NULL ?
					   AUC_MOVE_ATTACHING : AUC_MOVE_REMOVING);
	auc_stop_at("move: swapping");
}

typedef struct Attempt
{
	Step		step;
	AucShardMove *move;
} Attempt;

static void
take_step(void *arg)
{
	Attempt    *attempt = arg;

	attempt->step(attempt->move);
}

/* true: the step is done; false: somebody holds a lock, and nothing is. */
static bool
attempt(Step step, AucShardMove *move)
{
	Attempt		this = {step, move};
	AucMovePhase phase = move->phase;
	ErrorData  *error = auc_attempt(take_step, &this);

	if (error == NULL)
		return true;
	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
		error->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED)
		ReThrowError(error);
	FreeErrorData(error);
	move->phase = phase;
	auc_place_rollback(&move->from);
	auc_place_rollback(&move->to);
	return false;
}

static void
tell_reader(const AucShardMove *move, TimestampTz *tell_at)
{
	AucOnlookers *readers;

	if (GetCurrentTimestamp() < *tell_at)
		return;
	readers = auc_onlookers_at(auc_relation_id(AUC_REL_HISTORY, false));
	auc_procedure_tell(tell_at, name_of(move), readers,
					   "It holds a lock on table \"auction.history\".");
	auc_onlookers_free(readers);
}

/*
 * Until it succeeds; between two attempts those go on who were waiting.  They
 * are many: where several read history all the time, each for longer than a
 * lock is waited for, few attempts find all of them about to end.
 */
static void
insist(Step step, AucShardMove *move)
{
	TimestampTz tell_at = auc_procedure_tell_at();
	long		pause = RETRY_MS;

	for (;;)
	{
		AucCaller	caller;
		bool		done;

		auc_procedure_begin(&caller);
		done = attempt(step, move);
		auc_procedure_commit(&caller);
		if (done)
			return;
		tell_reader(move, &tell_at);
		auc_nap(pause, AUC_WAIT_PROCEDURE);
		pause = Min(pause * 2, RETRY_MAX_MS);
	}
}

/* ---- the course of a move ---- */

static void
remove_source(AucShardMove *move)
{
	limit_locks();
	auc_move_drop_source(move);
	auc_move_row_delete(move);
	auc_stop_at("move: removed");
}

static void
attach_and_end(AucShardMove *move)
{
	limit_locks();
	auc_move_attach_parts(move);
	auc_stop_at("move: attached");
	auc_move_drop_source(move);
	auc_move_row_delete(move);
	auc_stop_at("move: removed");
}

static void
go_on(AucShardMove *move, MemoryContext context)
{
	if (move->phase == AUC_MOVE_COPYING)
		copy(move);
	if (move->phase == AUC_MOVE_VERIFYING)
		verify(move);
	if (move->phase == AUC_MOVE_SWAPPING)
	{
		auc_stop_at("move: waiting");
		await_onlookers(move, context);
		insist(swap, move);
		auc_stop_at("move: swapped");
	}
	insist(move->phase == AUC_MOVE_ATTACHING ? attach_and_end : remove_source,
		   move);
}

/* ---- its beginning ---- */

static Oid
server_of(const char *name)
{
	return name[0] == '\0' ? InvalidOid : get_foreign_server_oid(name, false);
}

const char *
auc_move_place(const char *server)
{
	return server[0] == '\0' ? "here" : psprintf("on server \"%s\"", server);
}

static const AucShard *
find_shard(const AucShardMap *map, int number)
{
	for (int i = 0; i < map->n; i++)
		if (map->shards[i].number == number)
			return &map->shards[i];
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("shard %d does not exist", number),
			 map->n == 0 ?
			 errhint("Create the shards with auction.create_shards().") :
			 errhint("The shards are in the view auction.shards.")));
}

/* The other parts, if it goes somewhere; what can be seen from here. */
static void
check_target(const AucShardMove *move, const AucShard *shard)
{
	const char *target = NameStr(move->target);

	if (move->splits)
	{
		if (!auc_shard_modulus_valid(2 * (int64) move->modulus))
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("shard %d cannot be split", move->shard),
					 errdetail("Its modulus is %d, the greatest there is.",
							   move->modulus)));
		return;
	}
	if (server_of(target) == shard->serverid)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("shard %d is already %s", move->shard,
						auc_move_place(target))));
	if (target[0] != '\0' && !auc_attach_listed(AUC_REL_SHARD_SERVERS, target))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("server \"%s\" is not a shard server", target),
				 errhint("Make it one with auction.add_shard_server().")));
}

static int64
estimate_rows(const AucShardMove *move)
{
	bool		isnull;

	(void) auc_place_run(&move->from, "SELECT (pg_relation_size(oid) *"
						 " CASE WHEN reltuples > 0 AND relpages > 0"
						 " THEN reltuples / relpages / 8192"
						 " ELSE 1.0 / " CppAsString2(BID_BYTES) " END)::bigint"
						 " FROM pg_class WHERE oid = '%s'::regclass",
						 auc_move_source_table(move));
	return auc_place_int64(&move->from, 0, 1, &isnull);
}

static void
open_places(AucShardMove *move, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);

	if (move->phase != AUC_MOVE_ABORTING)
		auc_place_open(&move->from, server_of(NameStr(move->source)));
	if (move->phase != AUC_MOVE_REMOVING)
		auc_place_open(&move->to, server_of(NameStr(move->target)));
	MemoryContextSwitchTo(old);
}

/*
 * Here the parts are made together with the row.  There that is only tried, to
 * see whether it can be done: a table that outlives a crash needs a row that
 * knows of it.
 */
static void
try_target(AucShardMove *move)
{
	auc_place_begin(&move->to);
	auc_move_create_parts(move);
	auc_move_check_empty(move);
	auc_place_rollback(&move->to);
}

/*
 * The map is held only when nothing is left to be asked of other servers; from
 * the commit on, who writes to shards sees that this one is moving.
 */
static void
prepare(AucShardMove *move, MemoryContext context)
{
	AucCaller	caller;
	AucShardMap *map;
	const AucShard *shard;
	const AucShard *now;
	int64		rows;

	auc_procedure_begin(&caller);
	map = auc_shard_map_read();
	shard = find_shard(map, move->shard);
	move->modulus = shard->modulus;
	move->phase = AUC_MOVE_COPYING;
	if (OidIsValid(shard->serverid))
		namestrcpy(&move->source, GetForeignServer(shard->serverid)->servername);
	if (move->splits)
		move->target = move->source;
	check_target(move, shard);
	open_places(move, context);
	try_target(move);
	auc_stop_at("move: tried");
	rows = estimate_rows(move);
	(void) auc_lock_shards(true, true);
	now = find_shard(auc_shard_map_read(), move->shard);
	if (now->moving || now->modulus != shard->modulus ||
		now->serverid != shard->serverid)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("shard %d was changed concurrently", move->shard),
				 errhint("Try again.")));
	auc_move_row_insert(move, rows);
	auc_procedure_commit(&caller);
	auc_stop_at("move: begun");
}

/* A move that was interrupted goes on, if it is what is asked for. */
static void
check_same(const AucShardMove *found, const AucShardMove *wanted)
{
	if (found->phase == AUC_MOVE_ABORTING)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the last move of shard %d is not yet undone",
						found->shard),
				 errhint("Call auction.abort_move(%d) first.", found->shard)));
	if (found->splits == wanted->splits &&
		(found->splits ||
		 strcmp(NameStr(wanted->target), NameStr(found->target)) == 0))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 found->splits ?
			 errmsg("shard %d is being split", found->shard) :
			 errmsg("shard %d is being moved, to be %s", found->shard,
					auc_move_place(NameStr(found->target))),
			 errhint("Call the same procedure again to finish that, or auction.abort_move(%d).",
					 found->shard)));
}

void
auc_move_run(AucShardMove *move)
{
	MemoryContext context = CurrentMemoryContext;
	AucShardMove found;
	AucCaller	caller;
	bool		resumes;

	auc_procedure_begin(&caller);
	resumes = auc_move_row_read(move->shard, &found);
	if (resumes)
	{
		check_same(&found, move);
		*move = found;
		open_places(move, context);
	}
	auc_procedure_commit(&caller);
	if (!resumes)
		prepare(move, context);
	go_on(move, context);
}

/* ---- undoing ---- */

static void
drop_and_end(AucShardMove *move)
{
	limit_locks();
	auc_move_drop_parts(move);
	auc_move_row_delete(move);
	auc_stop_at("move: dropped");
}

/* The rest on another server is given up for lost. */
static void
forget(AucShardMove *move)
{
	AucCaller	caller;
	bool		swapped = move->phase == AUC_MOVE_REMOVING;
	const char *server = NameStr(swapped ? move->source : move->target);

	auc_procedure_begin(&caller);
	if (swapped)
		auc_move_drop_source_here(move);
	auc_move_row_delete(move);
	auc_procedure_commit(&caller);
	ereport(WARNING,
			(errmsg("what is left of the move of shard %d on server \"%s\" is forgotten",
					move->shard, server),
			 errhint("Drop tables of schema auction_shard there that are in no row of auction.shards.")));
}

void
auc_move_abort(AucShardMove *move, bool force)
{
	MemoryContext context = CurrentMemoryContext;
	bool		there;
	AucCaller	caller;

	auc_procedure_begin(&caller);
	if (!auc_move_row_read(move->shard, move))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("shard %d is not being moved", move->shard)));
	auc_procedure_commit(&caller);
	there = NameStr(move->phase == AUC_MOVE_REMOVING ? move->source :
					move->target)[0] != '\0';
	if (move->phase == AUC_MOVE_ATTACHING ||
		(move->phase == AUC_MOVE_REMOVING && !(force && there)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the move of shard %d cannot be undone any more",
						move->shard),
				 errdetail("The shard has changed its place; what is left is to remove the source."),
				 errhint("Call the procedure that has moved it again.")));
	if (move->phase != AUC_MOVE_REMOVING && move->phase != AUC_MOVE_ABORTING)
		set_phase(move, AUC_MOVE_ABORTING);
	auc_stop_at("move: aborting");
	if (force && there)
	{
		forget(move);
		return;
	}
	auc_procedure_begin(&caller);
	open_places(move, context);
	auc_procedure_commit(&caller);
	insist(drop_and_end, move);
}

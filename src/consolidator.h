/*
 * consolidator.h: the consolidator's parts, and the protocol between them.
 *
 * It consolidates where shards of history are on other servers, or one is
 * being moved (shard_map.h: all_local is false); else the steward does
 * (shard.c).  A batch of verified auctions goes this way (rules 19, 20, 21):
 *
 *   send   consolidator_send.c.  One transaction here, which holds the map but
 *          no auction, reads the batch's journal rows under one snapshot and
 *          sends those of shards on other servers, one COPY a server.  Each
 *          server's transaction is committed.  Then each server is asked for
 *          rows and hash of every auction of the batch: they have to be those
 *          of the rows that were read.
 *   wait   until the onlookers of the last commit have ended (onlooker.h).
 *   mark   consolidator_mark.c.  One transaction here locks the auctions, as
 *          far as they are at rest and as they were sent (verified_at), and
 *          if the map is as it was; copies and compares the rows of local
 *          shards; deletes from the journal; marks as consolidated.
 *
 * So a reader finds each bid once: in the journal until "mark" commits, in
 * history from then on, and whoever reads history after that has no
 * transaction open on a shard server that is older than the rows.
 *
 * Nothing needs a two-phase commit.  What is on a shard and not marked here is
 * seen by nobody, and sending it again changes nothing: a batch that dies
 * anywhere before the commit of "mark" is simply sent again.  The first
 * attempt is a plain COPY into the shards; where that meets rows that are
 * there, the next one goes through a temporary table and adds what is missing.
 *
 * A retraction between "send" and "mark" makes the auction unverified; it is
 * sent again when it is verified again, and the shard's row is corrected then.
 *
 * A server that fails is left alone for a while, and with it the auctions that
 * need it; so are those that need a shard that is being moved.
 */
#ifndef AUC_CONSOLIDATOR_H
#define AUC_CONSOLIDATOR_H

#include "postgres.h"

#include "finish.h"
#include "nodes/pg_list.h"
#include "onlooker.h"
#include "remote.h"
#include "shard_map.h"
#include "shard_sum.h"

/* ---- shard servers: consolidator_server.c ---- */

typedef struct AucShardServer
{
	Oid			serverid;
	NameData	name;
	AucRemote  *remote;			/* NULL: not connected */
	MemoryContext context;		/* of the connection */
	uint64		generation;		/* of the options it was opened with */
	bool		careful;		/* rows may be there already */
	int			failures;		/* in a row */
	bool		told;			/* that it works; a new process does not know */
	TimestampTz retry_at;		/* 0: not failing */
} AucShardServer;

/* By the map's server; made when it is first asked for. */
extern AucShardServer *auc_shard_servers_get(Oid serverid);
/* It has failed not long ago. */
extern bool auc_shard_servers_failing(const AucShardServer *server,
									  TimestampTz now);
/* The server that what follows speaks to; NULL: none. */
extern void auc_shard_servers_use(AucShardServer *server);
/* Connected, and its home is here. In a transaction. */
extern AucRemote *auc_shard_servers_connect(AucShardServer *server);
/*
 * After an ERROR while a server was used: ends what is open on all of them,
 * and notes the failure.  false: none was used.  Not in a transaction.
 */
extern bool auc_shard_servers_failed(const ErrorData *error, TimestampTz now);
/* All went well with it: forgets earlier failures. Not in a transaction. */
extern void auc_shard_servers_succeeded(AucShardServer *server);
/* When the next failing one may be tried; DT_NOEND: none is failing. */
extern TimestampTz auc_shard_servers_next(TimestampTz now);

/* ---- a batch ---- */

typedef struct AucBatchItem
{
	AucClosed	auction;
	TimestampTz verified_at;
	int64		sent;			/* bids, to shards that are elsewhere */
	char	   *wrong;			/* why it is to be quarantined; NULL */
} AucBatchItem;

typedef struct AucBatch
{
	MemoryContext context;		/* all of it lives there */
	int			n;
	AucBatchItem *items;		/* by auction_id */
	uint64		map;			/* fingerprint of the map it was sent by */
	List	   *servers;		/* AucShardServer: that were asked */
	AucOnlookers *onlookers;	/* NULL: nothing was sent */
} AucBatch;

/*
 * Sends the next page of auctions that are in none of the batches given; NULL:
 * nothing was to be sent.  *last says that no more follow now, *local that the
 * steward can do it all.
 */
extern AucBatch *auc_consolidator_send(AucFinishCursor *cursor, List *batches,
									   bool *last, bool *local);
/* Marks what can be marked; frees the batch. */
extern void auc_consolidator_mark(AucBatch *batch);

#endif							/* AUC_CONSOLIDATOR_H */

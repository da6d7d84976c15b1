/*
 * shard_server.h: shard servers: databases that hold shards of this history.
 *
 * A shard server is a server of postgres_fdw that add_shard_server() has
 * looked at.  It has a schema auction_shard, and in that a table "identity"
 * with one row: the history it belongs to (a uuid that this database drew, and
 * keeps through dump and restore), the home that may write to it (the
 * cluster's system identifier and the database's OID), and the server's name
 * there.  A restored copy of the home reads its shards, but must be told with
 * add_shard_server() that it is the home now: from then on the one before is
 * refused.  So a copy made for tests does not write into the original's
 * history.  A physical copy is the same home, as a promoted standby has to be.
 */
#ifndef AUC_SHARD_SERVER_H
#define AUC_SHARD_SERVER_H

#include "postgres.h"

#include "remote.h"

typedef struct AucShardIdentity
{
	const char *history;		/* uuid */
	const char *home;
	const char *server;			/* its name there */
} AucShardIdentity;

/*
 * Inside a transaction on the other side that is going to write: locks the
 * identity against a change of home, to that transaction's end.  ERROR
 * (55000) if this database is not its home, or the server's options point at
 * another shard server; (42P01) if there is no identity.  With the rights of
 * the extension's owner.
 */
extern void auc_shard_server_claim(AucRemote *remote);
/* Whose user mappings count: the extension's owner. */
extern Oid	auc_shard_server_user(void);

/* What the identity of that server has to be; palloc'd. */
extern void auc_shard_identity_get(AucShardIdentity *identity,
								   const char *server);
/* Columns history, home, server of the remote's last result; palloc'd. */
extern void auc_shard_identity_read(const AucRemote *remote,
									AucShardIdentity *there);
/* ERROR: the identity that is there is another history's. */
extern void auc_shard_identity_refuse(const AucShardIdentity *there,
									  const AucShardIdentity *ours);

/* Are partitions of auction.history on it?  For DROP SERVER. */
extern bool auc_shard_server_has_shards(Oid serverid);
/* Removes rows of auction.shard_servers whose server does not exist. */
extern void auc_shard_server_forget_dropped(void);

#endif							/* AUC_SHARD_SERVER_H */

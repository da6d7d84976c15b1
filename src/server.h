/*
 * server.h: the foreign data wrapper auction_redis and its options.
 *
 * Options are a table in server.c: name, object they belong to, parse
 * function, default.  Credentials only in the user mapping: that of the
 * server's owner, else the one FOR PUBLIC.
 */
#ifndef AUC_SERVER_H
#define AUC_SERVER_H

#include "postgres.h"

#include "redis_conn.h"
#include "redis_script.h"

/* What durability "replica" asks for. */
typedef struct AucReplicaOptions
{
	int			count;
	int			timeout;		/* ms */
	int			fsync;			/* 1: synced by them, not only received */
} AucReplicaOptions;

typedef struct AucServerOptions
{
	char		host[256];		/* name, numeric address, or /path */
	char		prefix[AUC_PREFIX_MAX];
	AucRedisTarget target;		/* address is "" if host is a name */
	AucReplicaOptions replica;	/* last: not of the connection that bids use */
} AucServerOptions;

/* In a transaction.  false: there is no such server any more. */
extern bool auc_server_options(Oid serverid, AucServerOptions *options);
/* Path or numeric address: needs no resolving. */
extern bool auc_server_host_is_numeric(const char *host);
/* Grows when a server or user mapping may have changed (syscache callback). */
extern uint64 auc_server_options_generation(void);

#endif							/* AUC_SERVER_H */

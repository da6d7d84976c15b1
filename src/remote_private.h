/*
 * remote_private.h: a connection to a shard server, as its parts see it.
 *
 *   remote_target.c   where it goes
 *   remote_connect.c  until it is there: host after host
 *   remote.c          what is said on it, and its end
 *
 * A connection is memory of one process: this struct, in the context it was
 * opened in, and what libpq has allocated for it.  A reset callback of that
 * context closes it, which an ERROR causes in time, whoever raised it.  The
 * result of the last statement stays with the connection, so that no ERROR
 * can leave one behind either.
 *
 * Nothing of libpq's that waits by itself is used: not PQexec(), not
 * PQcancel(), whose connection would be a second one to wait for.  Who goes
 * away in the middle of a statement closes the socket, and the other side
 * notices by client_connection_check_interval.  The one exception is the
 * look-up of a host name, for which libpq knows no other way.
 */
#ifndef AUC_REMOTE_PRIVATE_H
#define AUC_REMOTE_PRIVATE_H

#include "postgres.h"

#include "libpq-fe.h"
#include "remote.h"
#include "utils/timestamp.h"

/* So much of a statement is shown in an error's context. */
#define AUC_REMOTE_SHOWN	200

struct AucRemote
{
	PGconn	   *conn;			/* NULL: closed */
	PGresult   *result;			/* of the last statement; NULL: none */
	char	   *piece;			/* of a COPY to us; NULL: none */
	bool		busy;			/* an answer, or the end of a COPY, is due */
	int			unsent;			/* bytes of a COPY, since the last flush */
	int			patience;		/* ms, of the current statement */
	TimestampTz deadline;		/* moves with every sign of life */
	MemoryContextCallback at_reset;
	char		name[NAMEDATALEN];
	char		statement[AUC_REMOTE_SHOWN + 4];
};

/* Where a connection goes, and who we are there. */
typedef struct AucRemoteTarget
{
	const char *name;			/* of the foreign server */
	const char **names;			/* options of libpq; NULL: the end */
	const char **values;
	int			hosts;			/* 1: as libpq finds it in the options */
	int			connect_timeout;	/* ms, for each of them; 0: not set */
	bool		password_required;
} AucRemoteTarget;

/* ---- remote_target.c ---- */

/* The ERRORs of auc_remote_open() that need no connection. */
extern void auc_remote_target(AucRemoteTarget *target, Oid serverid,
							  Oid userid);
/* Options for one of several hosts, from 0; NULL: the end.  palloc'd. */
extern const char **auc_remote_target_values(const AucRemoteTarget *target,
											 int host);

/* ---- remote.c ---- */

/* The clock starts anew: "patience" ms, 0: auction.shard_timeout. */
extern void auc_remote_be_patient(AucRemote *remote, int patience);
/*
 * Until the socket, which is valid, is ready for some of the events, which are
 * returned; 0: it is too late.
 */
extern int	auc_remote_wait(AucRemote *remote, int events);
/* What libpq said last, palloc'd, and closed. */
extern char *auc_remote_give_up(AucRemote *remote);

#endif							/* AUC_REMOTE_PRIVATE_H */

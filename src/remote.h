/*
 * remote.h: connections to shard servers, for what the engine does there
 * itself: looking, creating, writing, verifying, removing.
 *
 * Users' queries go through postgres_fdw, as whose servers shard servers are
 * declared.  The engine needs what postgres_fdw does not offer: DDL, COPY, a
 * transaction on the other side that ends before its own does, and an end to
 * the wait for an answer, also that of a COMMIT.  So it speaks libpq, with the
 * options of the foreign server and the user mapping of the extension's owner.
 *
 * A connection belongs to the memory context it was opened in, and is closed
 * with it; an ERROR leaves none behind.  Every wait can be cancelled, and ends
 * after auction.shard_timeout without a sign of life; after either the
 * connection is of no more use.  What the other side says is an ERROR with its
 * SQLSTATE, the server and the statement in its context; the connection is
 * still usable then, as is its transaction for a ROLLBACK.  A lost connection,
 * or one that is silent for too long, is 08006.
 *
 * A session there is pinned as a worker's is (worker.c): search_path
 * pg_catalog, READ COMMITTED, synchronous_commit as the server has it or
 * higher, a lock_timeout of 5 s, and timeouts that free its locks if we die.
 * Its own default_transaction_read_only counts.
 */
#ifndef AUC_REMOTE_H
#define AUC_REMOTE_H

#include "postgres.h"

typedef struct AucRemote AucRemote;

/*
 * Connects, in the current memory context and in a transaction; "userid" is
 * whose user mapping counts.  ERROR: 42704 no user mapping; 2F003 no password
 * used though userid or the server's owner is no superuser; 08001 no
 * connection; 0A000 a PostgreSQL that is too old.
 */
extern AucRemote *auc_remote_open(Oid serverid, Oid userid);
extern void auc_remote_close(AucRemote *remote);
extern const char *auc_remote_name(const AucRemote *remote);
/* PostgreSQL's version there, as server_version_num. */
extern int	auc_remote_version(const AucRemote *remote);
/* false: the connection broke, or was given up. */
extern bool auc_remote_usable(const AucRemote *remote);

/*
 * Runs one statement, whose rows are kept until the next one; returns how many
 * rows came back, or were changed.  Parameters are text, NULL: none.  After
 * "patience" milliseconds without a byte it is given up; 0: the setting
 * auction.shard_timeout.
 */
extern uint64 auc_remote_run(AucRemote *remote, const char *sql, int nparams,
							 const char *const *params, int patience);
/* For what the other side does with so many rows, without a sign of life. */
extern int	auc_remote_patience(uint64 rows);
/* Of the last statement; NULL: null. */
extern const char *auc_remote_value(const AucRemote *remote, uint64 row,
									int column);
extern int64 auc_remote_int64(const AucRemote *remote, uint64 row, int column);

/*
 * COPY ... TO STDOUT: begin, then pieces of data until there are no more
 * (false), each kept until the next one.
 */
extern void auc_remote_copy_out(AucRemote *remote, const char *sql);
extern bool auc_remote_copy_get(AucRemote *remote, const char **data,
								int *len);
/*
 * COPY ... FROM STDIN: begin, put as often as needed, end.  "end" returns the
 * number of rows.  A failure of the other side may show in any of them, that
 * of a row at "end".  Pieces need not end with a row; small ones are collected.
 */
extern void auc_remote_copy_begin(AucRemote *remote, const char *sql);
extern void auc_remote_copy_put(AucRemote *remote, const char *data, int len);
extern uint64 auc_remote_copy_end(AucRemote *remote);

#endif							/* AUC_REMOTE_H */

/*
 * steward_resolve.c: names of hosts.
 *
 * getaddrinfo() blocks, and the router must not; so the steward calls it, and
 * leaves the address in the AucServer, under its spinlock.  When: the server
 * is new or names another host, the router asks (resolve_request, after a
 * connection failed), and every RESOLVE_MS.  Numeric addresses and paths are
 * no business of ours: the router takes them from the options.
 *
 * A name that cannot be resolved leaves the last address that could, if the
 * name is the same: a name server that is away must not take Redis with it.
 */
#include "postgres.h"

#include <netdb.h>
#include <sys/socket.h>

#include "miscadmin.h"
#include "server.h"
#include "shm_lane.h"
#include "steward.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker.h"
#include "worker_start.h"

#define RESOLVE_MS		60000
/* A router that keeps asking is answered at most so often. */
#define REQUEST_MS		2000

/* By AucServer index; "generation" tells when the entry became another's. */
typedef struct Resolving
{
	uint32		generation;
	uint64		options_generation;
	bool		by_name;
	char		host[256];
	TimestampTz last;			/* 0: never */
} Resolving;

static Resolving *resolving = NULL;

/* Numeric form of the first address; false, with the reason, if none. */
static bool
resolve(const char *host, char *address, size_t size, const char **reason)
{
	struct addrinfo hints = {0};
	struct addrinfo *result;
	int			ret;

	hints.ai_socktype = SOCK_STREAM;
	ret = getaddrinfo(host, NULL, &hints, &result);
	if (ret == 0)
	{
		ret = getnameinfo(result->ai_addr, result->ai_addrlen, address, size,
						  NULL, 0, NI_NUMERICHOST);
		freeaddrinfo(result);
	}
	*reason = ret == 0 ? "" : gai_strerror(ret);
	return ret == 0;
}

static void
resolve_server(AucServer *server, Resolving *entry, uint32 request,
			   TimestampTz now)
{
	char		address[256] = "";
	const char *reason;
	bool		resolved;
	bool		changed;

	resolved = resolve(entry->host, address, sizeof(address), &reason);
	entry->last = now;
	SpinLockAcquire(&server->lock);
	changed = strcmp(server->host, entry->host) != 0;
	if (changed)
		strlcpy(server->host, entry->host, sizeof(server->host));
	if ((resolved || changed) && strcmp(server->address, address) != 0)
	{
		strlcpy(server->address, address, sizeof(server->address));
		changed = true;
	}
	server->resolved_request = request;
	SpinLockRelease(&server->lock);
	auc_server_wake_router(server);
	if (!resolved && auc_worker_log_limit(now))
		ereport(LOG,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("could not resolve host \"%s\" of server \"%s\": %s",
						entry->host, NameStr(server->name), reason),
				 errhint("Check the option \"host\" of the server.")));
}

/* Reads the host's name where the options may have changed. */
static void
refresh(AucServer *server, Resolving *entry)
{
	uint64		options_generation = auc_server_options_generation();
	AucServerOptions options;

	if (entry->generation == server->generation &&
		entry->options_generation == options_generation)
		return;
	auc_worker_xact_begin("reading server options");
	if (!auc_server_options(server->serverid, &options))
		options.host[0] = '\0';
	auc_worker_xact_commit();
	if (entry->generation != server->generation ||
		strcmp(entry->host, options.host) != 0)
		entry->last = 0;
	entry->generation = server->generation;
	entry->options_generation = options_generation;
	strlcpy(entry->host, options.host, sizeof(entry->host));
	entry->by_name = options.host[0] != '\0' &&
		!auc_server_host_is_numeric(options.host);
}

void
auc_steward_resolve_run(TimestampTz now)
{
	if (resolving == NULL)
		resolving = MemoryContextAllocZero(TopMemoryContext,
										   auc_server_count() * sizeof(Resolving));
	for (int i = 0; i < auc_server_count(); i++)
	{
		AucServer  *server = auc_server(i);
		Resolving  *entry = &resolving[i];
		uint32		request;
		uint32		answered;

		/* only this steward binds and releases entries of its database */
		if (!server->bound || server->dboid != MyDatabaseId)
			continue;
		refresh(server, entry);
		if (!entry->by_name)
			continue;
		SpinLockAcquire(&server->lock);
		request = server->resolve_request;
		answered = server->resolved_request;
		SpinLockRelease(&server->lock);
		if (entry->last == 0 ||
			TimestampDifferenceExceeds(entry->last, now, RESOLVE_MS) ||
			(request != answered &&
			 TimestampDifferenceExceeds(entry->last, now, REQUEST_MS)))
			resolve_server(server, entry, request, now);
	}
}

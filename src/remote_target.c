/*
 * remote_target.c: where a connection to a shard server goes, and who we are
 * there: the options of the foreign server and of a user mapping.
 *
 * They are postgres_fdw's, which has checked their names and values; those
 * that libpq knows are handed to it.
 */
#include "postgres.h"

#include <limits.h>

#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "libpq-fe.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "remote_private.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

/* What libpq knows and does not set by itself. */
static bool
is_connection_option(const PQconninfoOption *known, const char *name)
{
	for (; known->keyword != NULL; known++)
		if (strcmp(known->keyword, name) == 0)
			return strchr(known->dispchar, 'D') == NULL &&
				strcmp(name, "client_encoding") != 0 &&
				strcmp(name, "fallback_application_name") != 0;
	return false;
}

static int
add_options(List *options, const PQconninfoOption *known,
			const char **names, const char **values, int n)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *def = lfirst(cell);

		if (!is_connection_option(known, def->defname))
			continue;
		names[n] = def->defname;
		values[n++] = defGetString(def);
	}
	names[n] = NULL;
	values[n] = NULL;
	return n;
}

static void
make_options(ForeignServer *server, UserMapping *mapping,
			 const char ***names, const char ***values)
{
	PQconninfoOption *known = PQconndefaults();
	int			most = list_length(server->options) +
	list_length(mapping->options) + 3;
	int			n = 0;

	if (known == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	*names = palloc(most * sizeof(char *));
	*values = palloc(most * sizeof(char *));
	PG_TRY();
	{
		n = add_options(server->options, known, *names, *values, n);
		n = add_options(mapping->options, known, *names, *values, n);
	}
	PG_FINALLY();
	{
		PQconninfoFree(known);
	}
	PG_END_TRY();
	(*names)[n] = "fallback_application_name";
	(*values)[n++] = "auction";
	(*names)[n] = "client_encoding";
	(*values)[n++] = GetDatabaseEncodingName();
	(*names)[n] = NULL;
	(*values)[n] = NULL;
}

static DefElem *
find_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
		if (strcmp(((DefElem *) lfirst(cell))->defname, name) == 0)
			return lfirst(cell);
	return NULL;
}

/* GetUserMapping() says the same, but not what to do. */
static UserMapping *
get_mapping(ForeignServer *server, Oid userid)
{
	if (!SearchSysCacheExists2(USERMAPPINGUSERSERVER,
							   ObjectIdGetDatum(userid),
							   ObjectIdGetDatum(server->serverid)) &&
		!SearchSysCacheExists2(USERMAPPINGUSERSERVER,
							   ObjectIdGetDatum(InvalidOid),
							   ObjectIdGetDatum(server->serverid)))
	{
		char	   *user = GetUserNameFromId(userid, false);

		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("user mapping not found for \"%s\" on server \"%s\"",
						user, server->servername),
				 errdetail("Shard servers are written to with the user mapping of the extension's owner."),
				 errhint("Create one with CREATE USER MAPPING FOR %s SERVER %s OPTIONS (user ..., password ...).",
						 quote_identifier(user),
						 quote_identifier(server->servername))));
	}
	return GetUserMapping(userid, server->serverid);
}

/*
 * The rule of postgres_fdw: whoever is no superuser may not come in as the
 * operating system's user that PostgreSQL runs as, or with a password that it
 * keeps.  Here it holds for the server's owner, too, who says where we go
 * without having to be the one who goes there.
 */
static bool
password_required(ForeignServer *server, UserMapping *mapping)
{
	DefElem    *option = find_option(mapping->options, "password_required");

	if (superuser_arg(mapping->userid) && superuser_arg(server->owner))
		return false;
	return option == NULL || defGetBoolean(option);
}

static void
check_password_given(ForeignServer *server, UserMapping *mapping)
{
	DefElem    *password = find_option(mapping->options, "password");

	if (!password_required(server, mapping) ||
		(password != NULL && defGetString(password)[0] != '\0'))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED),
			 errmsg("password is required for server \"%s\"",
					server->servername),
			 errdetail("The owner of the server or of the extension is no superuser, so the user mapping must have a password."),
			 errhint("Add one with ALTER USER MAPPING ... OPTIONS (ADD password ...); a superuser can set password_required 'false' instead.")));
}

/* ---- hosts ---- */

/* Options of which a list, with commas, has an element for each host. */
static const char *const per_host[] = {"host", "hostaddr", "port"};

static int
count_elements(const char *list)
{
	int			n = 1;

	for (; *list != '\0'; list++)
		n += *list == ',';
	return n;
}

/* palloc'd.  An only port is that of every host. */
static char *
get_element(const char *list, int i)
{
	if (count_elements(list) == 1)
		return pstrdup(list);
	for (; i > 0; i--)
		list = strchr(list, ',') + 1;
	return pnstrdup(list, strcspn(list, ","));
}

/* NULL: it is not there; also if it is empty, as for libpq. */
static const char *
find_value(const AucRemoteTarget *target, const char *name)
{
	for (int i = 0; target->names[i] != NULL; i++)
		if (strcmp(target->names[i], name) == 0 &&
			target->values[i][0] != '\0')
			return target->values[i];
	return NULL;
}

/* Lists that do not go together are for libpq to complain about. */
static int
count_hosts(const AucRemoteTarget *target)
{
	const char *host = find_value(target, "host");
	const char *hostaddr = find_value(target, "hostaddr");
	const char *port = find_value(target, "port");
	int			n;

	if (host == NULL && hostaddr == NULL)
		return 1;
	n = count_elements(host != NULL ? host : hostaddr);
	if (hostaddr != NULL && count_elements(hostaddr) != n)
		return 1;
	if (port != NULL && count_elements(port) != n && count_elements(port) != 1)
		return 1;
	return n;
}

const char **
auc_remote_target_values(const AucRemoteTarget *target, int host)
{
	int			n = 0;
	const char **values;

	while (target->names[n] != NULL)
		n++;
	values = palloc((n + 1) * sizeof(char *));
	memcpy(values, target->values, (n + 1) * sizeof(char *));
	for (int i = 0; i < n && target->hosts > 1; i++)
		for (int k = 0; k < lengthof(per_host); k++)
			if (strcmp(target->names[i], per_host[k]) == 0)
				values[i] = get_element(values[i], host);
	return values;
}

/* In seconds there; what is no number is for libpq to complain about. */
static int
get_connect_timeout(const AucRemoteTarget *target)
{
	const char *value = find_value(target, "connect_timeout");
	long		seconds = value == NULL ? 0 : strtol(value, NULL, 10);

	return (int) Min(Max(seconds, 0), INT_MAX / 1000) * 1000;
}

/* ---- all of it ---- */

void
auc_remote_target(AucRemoteTarget *target, Oid serverid, Oid userid)
{
	ForeignServer *server = GetForeignServer(serverid);
	UserMapping *mapping = get_mapping(server, userid);

	check_password_given(server, mapping);
	target->name = server->servername;
	target->password_required = password_required(server, mapping);
	make_options(server, mapping, &target->names, &target->values);
	target->hosts = count_hosts(target);
	target->connect_timeout = get_connect_timeout(target);
}

/*
 * server.c: the foreign data wrapper auction_redis.
 *
 * It has a validator and no handler: its servers and user mappings say where
 * a Redis is and who we are there, and cannot be misused as tables.  Each
 * option is one row of the table "options" below: the object it belongs to,
 * how its text is parsed, where it goes.  A new option is a new row.
 *
 * The validator sees one object at a time, so nothing here depends on two of
 * them.  What it has let in is parsed again, by the same functions, when a
 * worker reads it.  No message ever quotes a secret.
 */
#include "postgres.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "access/htup_details.h"
#include "access/reloptions.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "server.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

typedef struct Option Option;

struct Option
{
	const char *name;
	Oid			catalog;		/* of the object that has it */
	bool		(*parse) (const Option *option, const char *value, void *to);
	size_t		offset;			/* in AucServerOptions */
	int			min;			/* of the number, or of the text's length */
	int			max;
	const char *preset;			/* NULL: "" */
	bool		secret;
	const char *allowed;
};

#define AT(field)		offsetof(AucServerOptions, field)
#define ROOM(field)		(sizeof(((AucServerOptions *) 0)->field) - 1)
#define PREFIX_LENGTH	40		/* keeps every key below AUC_KEY_MAX */
#define TIMEOUT_MAX		3600000 /* ms */

static bool parse_text(const Option *option, const char *value, void *to);
static bool parse_host(const Option *option, const char *value, void *to);
static bool parse_prefix(const Option *option, const char *value, void *to);
static bool parse_number(const Option *option, const char *value, void *to);
static bool parse_timeout(const Option *option, const char *value, void *to);
static bool parse_boolean(const Option *option, const char *value, void *to);

static const Option options[] = {
	{"host", ForeignServerRelationId, parse_host, AT(host),
		1, ROOM(host), "127.0.0.1", false,
	"a host name, a numeric address, or the absolute path of a unix socket."},
	{"port", ForeignServerRelationId, parse_number, AT(target.port),
	1, 65535, "6379", false, "an integer from 1 to 65535."},
	{"db", ForeignServerRelationId, parse_number, AT(target.db),
	0, 65535, "0", false, "an integer from 0 to 65535."},
	{"prefix", ForeignServerRelationId, parse_prefix, AT(prefix),
		1, PREFIX_LENGTH, "auction", false,
	"1 to 40 letters, digits, and characters of \"_.:-\"."},
	{"connect_timeout", ForeignServerRelationId, parse_timeout,
		AT(target.connect_timeout), 1, TIMEOUT_MAX, "2000", false,
	"a time from 1 ms to 1 h; without a unit, milliseconds."},
	{"command_timeout", ForeignServerRelationId, parse_timeout,
		AT(target.command_timeout), 1, TIMEOUT_MAX, "1000", false,
	"a time from 1 ms to 1 h; without a unit, milliseconds."},
	{"replicas", ForeignServerRelationId, parse_number, AT(replica.count),
	1, 1000, "1", false, "an integer from 1 to 1000."},
	{"replica_timeout", ForeignServerRelationId, parse_timeout,
		AT(replica.timeout), 1, TIMEOUT_MAX, "100", false,
	"a time from 1 ms to 1 h; without a unit, milliseconds."},
	{"replica_fsync", ForeignServerRelationId, parse_boolean,
		AT(replica.fsync), 0, 1, "false", false, "true or false."},
	{"username", UserMappingRelationId, parse_text, AT(target.username),
	1, ROOM(target.username), NULL, false, "1 to 127 bytes."},
	{"password", UserMappingRelationId, parse_text, AT(target.password),
	1, ROOM(target.password), NULL, true, "1 to 511 bytes."},
};

static uint64 generation = 1;

/* ---- values ---- */

static bool
parse_text(const Option *option, const char *value, void *to)
{
	size_t		len = strlen(value);

	if (len < option->min || len > option->max)
		return false;
	memcpy(to, value, len + 1);
	return true;
}

static bool
parse_host(const Option *option, const char *value, void *to)
{
	if (value[0] == '/' &&
		strlen(value) >= sizeof(((struct sockaddr_un *) 0)->sun_path))
		return false;
	for (const char *c = value; *c; c++)
	{
		if ((unsigned char) *c <= ' ' || *c == 0x7f)
			return false;
		/* a name or an address has no slash; a relative path is none */
		if (*c == '/' && value[0] != '/')
			return false;
	}
	return parse_text(option, value, to);
}

/* No braces: they would move the keys' hash tag. */
static bool
parse_prefix(const Option *option, const char *value, void *to)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-";

	if (value[strspn(value, allowed)] != '\0')
		return false;
	return parse_text(option, value, to);
}

static bool
in_range(const Option *option, long number, void *to)
{
	if (number < option->min || number > option->max)
		return false;
	*(int *) to = (int) number;
	return true;
}

/* Digits only: parse_int() would take 6379.4 and 0x10, too. */
static bool
parse_number(const Option *option, const char *value, void *to)
{
	size_t		len = strlen(value);

	if (len < 1 || len > 9 || strspn(value, "0123456789") != len)
		return false;
	return in_range(option, strtol(value, NULL, 10), to);
}

static bool
parse_timeout(const Option *option, const char *value, void *to)
{
	int			number;

	if (!parse_int(value, &number, GUC_UNIT_MS, NULL))
		return false;
	return in_range(option, number, to);
}

static bool
parse_boolean(const Option *option, const char *value, void *to)
{
	bool		on;

	if (!parse_bool(value, &on))
		return false;
	return in_range(option, on, to);
}

static void
apply(const Option *option, const char *value, AucServerOptions *to)
{
	if (option->parse(option, value, (char *) to + option->offset))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
			 option->secret
			 ? errmsg("invalid value for option \"%s\"", option->name)
			 : errmsg("invalid value for option \"%s\": \"%s\"",
					  option->name, value),
			 errhint("Allowed: %s", option->allowed)));
}

/* ---- the validator ---- */

static const Option *
find_option(const char *name, Oid catalog)
{
	for (int i = 0; i < lengthof(options); i++)
		if (strcmp(options[i].name, name) == 0 &&
			(!OidIsValid(catalog) || options[i].catalog == catalog))
			return &options[i];
	return NULL;
}

/* The option that was probably meant, NULL if none is near. */
static const char *
nearest_option(const char *name, Oid catalog)
{
	const char *nearest = NULL;
	int			least = 4;		/* this far is another word */

	if (strlen(name) > NAMEDATALEN)
		return NULL;
	for (int i = 0; i < lengthof(options); i++)
	{
		const char *other = options[i].name;
		int			distance;

		if (options[i].catalog != catalog)
			continue;
		distance = varstr_levenshtein_less_equal(name, strlen(name),
												 other, strlen(other),
												 1, 1, 1, least, true);
		if (distance < least && distance < strlen(name))
		{
			least = distance;
			nearest = other;
		}
	}
	return nearest;
}

static char *
option_list(Oid catalog)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < lengthof(options); i++)
		if (options[i].catalog == catalog)
			appendStringInfo(&buf, "%s%s", buf.len > 0 ? ", " : "",
							 options[i].name);
	return buf.data;
}

static void
refuse_option(const char *name, Oid catalog)
{
	const Option *elsewhere = find_option(name, InvalidOid);
	const char *nearest = nearest_option(name, catalog);
	char	   *list = option_list(catalog);

	if (elsewhere != NULL && elsewhere->catalog == UserMappingRelationId)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("option \"%s\" is not allowed here", name),
				 errhint("It belongs to the user mapping: CREATE USER MAPPING FOR ... SERVER ... OPTIONS (%s ...).",
						 name)));
	if (elsewhere != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("option \"%s\" is not allowed here", name),
				 errhint("It belongs to the server: CREATE SERVER ... FOREIGN DATA WRAPPER auction_redis OPTIONS (%s ...).",
						 name)));
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("invalid option \"%s\"", name),
			 list[0] == '\0'
			 ? errhint("There are no options here; those of a Redis belong to its server and user mapping.")
			 : nearest != NULL
			 ? errhint("Perhaps you meant \"%s\". Options here are: %s.",
					   nearest, list)
			 : errhint("Options here are: %s.", list)));
}

PG_FUNCTION_INFO_V1(auction__redis_validator);

Datum
auction__redis_validator(PG_FUNCTION_ARGS)
{
	List	   *list = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	AucServerOptions ignored;
	ListCell   *cell;

	if (catalog == ForeignTableRelationId)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("foreign-data wrapper \"auction_redis\" has no foreign tables"),
				 errhint("Attach the server with auction.attach_redis().")));
	foreach(cell, list)
	{
		DefElem    *def = lfirst(cell);
		const Option *option = find_option(def->defname, catalog);

		if (option == NULL)
			refuse_option(def->defname, catalog);
		else
			apply(option, defGetString(def), &ignored);
	}
	PG_RETURN_VOID();
}

/* ---- for workers ---- */

static void
apply_presets(AucServerOptions *to)
{
	memset(to, 0, sizeof(*to));
	for (int i = 0; i < lengthof(options); i++)
		if (options[i].preset != NULL)
			apply(&options[i], options[i].preset, to);
}

static void
apply_list(List *list, Oid catalog, AucServerOptions *to)
{
	ListCell   *cell;

	foreach(cell, list)
	{
		DefElem    *def = lfirst(cell);
		const Option *option = find_option(def->defname, catalog);

		if (option != NULL)
			apply(option, defGetString(def), to);
	}
}

/* false: that user has no mapping. */
static bool
apply_mapping(Oid serverid, Oid userid, AucServerOptions *to)
{
	HeapTuple	tuple;
	Datum		datum;
	bool		isnull;

	tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(userid),
							ObjectIdGetDatum(serverid));
	if (!HeapTupleIsValid(tuple))
		return false;
	datum = SysCacheGetAttr(USERMAPPINGUSERSERVER, tuple,
							Anum_pg_user_mapping_umoptions, &isnull);
	if (!isnull)
		apply_list(untransformRelOptions(datum), UserMappingRelationId, to);
	ReleaseSysCache(tuple);
	return true;
}

bool
auc_server_options(Oid serverid, AucServerOptions *to)
{
	ForeignServer *server = GetForeignServerExtended(serverid,
													 FSV_MISSING_OK);

	if (server == NULL)
		return false;
	apply_presets(to);
	apply_list(server->options, ForeignServerRelationId, to);
	if (!apply_mapping(serverid, server->owner, to))
		(void) apply_mapping(serverid, InvalidOid, to);
	if (auc_server_host_is_numeric(to->host))
		strlcpy(to->target.address, to->host, sizeof(to->target.address));
	return true;
}

bool
auc_server_host_is_numeric(const char *host)
{
	struct addrinfo hints = {0};
	struct addrinfo *result;

	if (host[0] == '/')
		return true;
	/* AI_NUMERICHOST: asks no name server, so it does not wait */
	hints.ai_flags = AI_NUMERICHOST;
	if (getaddrinfo(host, NULL, &hints, &result) != 0)
		return false;
	freeaddrinfo(result);
	return true;
}

static void
options_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	generation++;
}

uint64
auc_server_options_generation(void)
{
	static bool registered = false;

	if (!registered)
	{
		CacheRegisterSyscacheCallback(FOREIGNSERVEROID, options_changed,
									  (Datum) 0);
		CacheRegisterSyscacheCallback(USERMAPPINGOID, options_changed,
									  (Datum) 0);
		registered = true;
	}
	return generation;
}

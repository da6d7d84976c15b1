/*
 * rules_name.c: the values of rules.h as words.
 *
 * Names as SQL shows them.  The switches have no default, so that a compiler
 * names the one that lacks a new value.  A value that is none of its enum's
 * can only come from a damaged row; it is shown as "unknown".  A level is also
 * read: of a damaged row, as the one that promises most.
 */
#include <stddef.h>
#include <string.h>

#include "rules.h"

/* NULL for an accepted bid: bid_result.reason is null then. */
const char *
auc_reason_name(AucReason reason)
{
	switch (reason)
	{
		case AUC_REASON_NONE:
			return NULL;
		case AUC_REASON_UNKNOWN_AUCTION:
			return "unknown_auction";
		case AUC_REASON_NOT_STARTED:
			return "not_started";
		case AUC_REASON_CLOSED:
			return "closed";
		case AUC_REASON_CANCELLED:
			return "cancelled";
		case AUC_REASON_QUARANTINED:
			return "quarantined";
		case AUC_REASON_SELLER:
			return "seller";
		case AUC_REASON_TOO_LOW:
			return "too_low";
		case AUC_REASON_ALREADY_LEADING:
			return "already_leading";
		case AUC_REASON_NOT_AVAILABLE:
			return "not_available";
	}
	return "unknown";
}

const char *
auc_status_name(AucStatus status)
{
	switch (status)
	{
		case AUC_STATUS_OPEN:
			return "open";
		case AUC_STATUS_CLOSED:
			return "closed";
		case AUC_STATUS_CONSOLIDATED:
			return "consolidated";
		case AUC_STATUS_CANCELLED:
			return "cancelled";
		case AUC_STATUS_QUARANTINED:
			return "quarantined";
	}
	return "unknown";
}

const char *
auc_route_name(AucRoute route)
{
	switch (route)
	{
		case AUC_ROUTE_TABLE:
			return "table";
		case AUC_ROUTE_REDIS:
			return "redis";
	}
	return "unknown";
}

static const struct
{
	AucLevel	level;
	char		letter;
	const char *name;
}			levels[] = {
	{AUC_LEVEL_REDIS, 'r', "redis"},
	{AUC_LEVEL_REPLICA, 'p', "replica"},
	{AUC_LEVEL_JOURNAL, 'j', "journal"},
};

#define NLEVELS		(sizeof(levels) / sizeof(levels[0]))

const char *
auc_level_name(AucLevel level)
{
	for (size_t i = 0; i < NLEVELS; i++)
		if (levels[i].level == level)
			return levels[i].name;
	return "unknown";
}

AucLevel
auc_level_of_name(const char *name)
{
	for (size_t i = 0; i < NLEVELS; i++)
		if (strcmp(levels[i].name, name) == 0)
			return levels[i].level;
	return AUC_LEVEL_JOURNAL;
}

char
auc_level_letter(AucLevel level)
{
	for (size_t i = 0; i < NLEVELS; i++)
		if (levels[i].level == level)
			return levels[i].letter;
	return 'j';
}

AucLevel
auc_level_of_letter(char letter)
{
	for (size_t i = 0; i < NLEVELS; i++)
		if (levels[i].letter == letter)
			return levels[i].level;
	return AUC_LEVEL_JOURNAL;
}

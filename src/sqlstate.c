/*
 * sqlstate.c
 *		The HTTP status that an error of the database amounts to.
 */
#include "sqlstate.h"

#include <stddef.h>
#include <string.h>

#define STATUS_MIN		100
#define STATUS_MAX		599
#define STATUS_DEFAULT	400
#define STATUS_INTERNAL	500

/* By the longest beginning: whole codes before their class */
static const struct
{
	const char *begin;
	int			status;
}			statuses[] =
{
	{"08", 503},				/* connection */
	{"09", 500},				/* triggered action */
	{"0L", 403},				/* grantor */
	{"0P", 403},				/* role specification */
	{"23503", 409},				/* foreign key */
	{"23505", 409},				/* unique */
	{"25006", 405},				/* READ ONLY */
	{"25", 500},				/* transaction state */
	{"28", 403},				/* authorization */
	{"2D", 500},				/* transaction termination */
	{"38", 500},				/* external routine */
	{"39", 500},
	{"3B", 500},				/* savepoint */
	{"40", 500},				/* serialization failure, deadlock */
	{"42501", 403},				/* privilege */
	{"42883", 404},				/* no such function */
	{"42P01", 404},				/* no such table */
	{"42P17", 500},				/* recursion in policies, and the like */
	{"53400", 500},				/* a limit of the configuration */
	{"53", 503},				/* resources */
	{"54", 500},				/* program limits */
	{"55", 500},				/* object state */
	{"57P01", 503},				/* shut down */
	{"57", 500},				/* cancelled, timeout */
	{"58", 500},				/* system */
	{"F0", 500},				/* configuration file */
	{"HV", 500},				/* foreign data */
	{"P0001", 400},				/* RAISE */
	{"P0", 500},				/* PL/pgSQL */
	{"XX", 500},				/* internal */
};

static int
digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : -1;
}

/*
 * Three digits as a status; -1 if it is none.
 */
static int
status_of_digits(const char *text)
{
	int			status = 0;

	for (int i = 0; i < 3; i++)
	{
		if (digit(text[i]) < 0)
			return -1;
		status = status * 10 + digit(text[i]);
	}
	return status >= STATUS_MIN && status <= STATUS_MAX ? status : -1;
}

/*
 * The number behind "status": in a JSON object.  No parser: whatever it is,
 * it may only be misread, not fail.
 */
static int
status_in_json(const char *json)
{
	const char *p = json != NULL ? strstr(json, "\"status\"") : NULL;
	int			status;

	if (p == NULL)
		return STATUS_INTERNAL;
	p += strlen("\"status\"");
	p += strspn(p, " \t\r\n:");
	status = status_of_digits(p);
	return status > 0 && digit(p[3]) < 0 ? status : STATUS_INTERNAL;
}

int
apikey_sqlstate_status(const char *sqlstate, const char *detail)
{
	if (strcmp(sqlstate, "PGRST") == 0)
		return status_in_json(detail);
	if (strncmp(sqlstate, "PT", 2) == 0 || strncmp(sqlstate, "KA", 2) == 0)
	{
		int			status = status_of_digits(sqlstate + 2);

		return status > 0 ? status : STATUS_INTERNAL;
	}
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
	{
		if (strncmp(sqlstate, statuses[i].begin,
					strlen(statuses[i].begin)) == 0)
			return statuses[i].status;
	}
	return STATUS_DEFAULT;
}

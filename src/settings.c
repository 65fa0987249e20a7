/*
 * settings.c
 *		All settings (GUCs), in alphabetical order, and their checks.
 *
 * The prefix is reserved: a setting apikey.x that is not defined here cannot
 * be made up by a session.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "settings.h"

char	   *apikey_actor = NULL;
bool		apikey_notify = true;
char	   *apikey_pepper_file = NULL;

void
apikey_settings_init(void)
{
	DefineCustomStringVariable("apikey.actor",
							   "Who performs management actions, as the application names people.",
							   "Default of every argument called actor.",
							   &apikey_actor, "", PGC_USERSET, 0,
							   NULL, NULL, NULL);
	DefineCustomBoolVariable("apikey.notify",
							 "Announce committed changes with NOTIFY on channel apikey.",
							 NULL,
							 &apikey_notify, true, PGC_USERSET, 0,
							 NULL, NULL, NULL);
	DefineCustomStringVariable("apikey.pepper_file",
							   "File with the peppers that key the hashes, kept outside the database.",
							   "One pepper a line: its id and 64 hexadecimal digits.",
							   &apikey_pepper_file, "", PGC_SIGHUP,
							   GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	MarkGUCPrefixReserved("apikey");
}

/*
 * settings.c
 *		All settings (GUCs), in alphabetical order, and their checks.
 *
 * The prefix is reserved: a setting apikey.x that is not defined here cannot
 * be made up by a session.
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/guc.h"

#include "settings.h"

#define MINUTES_A_DAY	(24 * 60)

char	   *apikey_actor = NULL;
int			apikey_flush_interval = 1000;
bool		apikey_notify = true;
char	   *apikey_pepper_file = NULL;
int			apikey_usage_buffer_size = 8 * 1024;
int			apikey_usage_daily_retention = 800 * MINUTES_A_DAY;
int			apikey_usage_hourly_retention = 90 * MINUTES_A_DAY;

void
apikey_settings_init(void)
{
	DefineCustomStringVariable("apikey.actor",
							   "Who performs management actions, as the application names people.",
							   "Default of every argument called actor.",
							   &apikey_actor, "", PGC_USERSET, 0,
							   NULL, NULL, NULL);
	DefineCustomIntVariable("apikey.flush_interval",
							"Time between writes of counted usage to the tables.",
							"A crash loses at most what was counted since.",
							&apikey_flush_interval, 1000, 10, 60 * 60 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS,
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
	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable("apikey.usage_buffer_size",
								"Shared memory for usage that is counted but not yet written.",
								NULL,
								&apikey_usage_buffer_size,
								8 * 1024, 64, 1024 * 1024,
								PGC_POSTMASTER, GUC_UNIT_KB,
								NULL, NULL, NULL);
	DefineCustomIntVariable("apikey.usage_daily_retention",
							"How long usage per day is kept; 0 keeps it for good.",
							NULL,
							&apikey_usage_daily_retention, 800 * MINUTES_A_DAY,
							0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MIN,
							NULL, NULL, NULL);
	DefineCustomIntVariable("apikey.usage_hourly_retention",
							"How long usage per hour is kept; 0 keeps it for good.",
							NULL,
							&apikey_usage_hourly_retention, 90 * MINUTES_A_DAY,
							0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MIN,
							NULL, NULL, NULL);
	MarkGUCPrefixReserved("apikey");
}

/*
 * settings.h
 *		All settings (GUCs) of the module.
 */
#ifndef APIKEY_SETTINGS_H
#define APIKEY_SETTINGS_H

#include "postgres.h"

extern char *apikey_actor;		/* default of every actor argument */
extern int	apikey_flush_interval;	/* milliseconds */
extern bool apikey_notify;		/* announce changes on channel apikey */
extern char *apikey_pepper_file;	/* key ring outside the database */
extern int	apikey_usage_buffer_size;	/* kB */
extern int	apikey_usage_daily_retention;	/* minutes; 0: keep */
extern int	apikey_usage_hourly_retention;	/* minutes; 0: keep */

extern void apikey_settings_init(void);

#endif							/* APIKEY_SETTINGS_H */

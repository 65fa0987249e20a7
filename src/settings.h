/*
 * settings.h
 *		All settings (GUCs) of the module.
 */
#ifndef APIKEY_SETTINGS_H
#define APIKEY_SETTINGS_H

#include "postgres.h"

extern char *apikey_actor;		/* default of every actor argument */
extern bool apikey_notify;		/* announce changes on channel apikey */
extern char *apikey_pepper_file;	/* key ring outside the database */

extern void apikey_settings_init(void);

#endif							/* APIKEY_SETTINGS_H */

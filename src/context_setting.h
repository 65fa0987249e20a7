/*
 * context_setting.h
 *		The setting apikey.context, as far as this transaction set it.
 */
#ifndef APIKEY_CONTEXT_SETTING_H
#define APIKEY_CONTEXT_SETTING_H

#include "postgres.h"

extern void apikey_context_setting_init(void);

/*
 * Its value if it was set in this transaction and is not empty, else NULL.
 * *version is another one after each change of the value, and in each
 * transaction.
 */
extern const char *apikey_context_setting(uint64 *version);

#endif							/* APIKEY_CONTEXT_SETTING_H */

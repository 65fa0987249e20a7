/*
 * usage_key.h
 *		Whose the keys are that are counted, and whether they are still there.
 */
#ifndef APIKEY_USAGE_KEY_H
#define APIKEY_USAGE_KEY_H

#include "postgres.h"

#include "utils/uuid.h"

#include "usage_period.h"

/* Looks keys up by their ids, with the active snapshot */
typedef struct ApikeyKeyFinder ApikeyKeyFinder;

extern ApikeyKeyFinder *apikey_key_finder_begin(void);
extern void apikey_key_finder_end(ApikeyKeyFinder *finder);

/*
 * The account of a key, a text in the current context; 0 if it is gone.  It is
 * looked for first where its row may lie, if there is such a hint.
 */
extern Datum apikey_key_account(ApikeyKeyFinder *finder,
								const pg_uuid_t *key_id,
								const ApikeyPlace *hint);

/*
 * While keys are being removed: note with all counts whose they are, or that
 * the key may be gone when this transaction ends.  Needs SPI.
 */
extern void apikey_ask_for_accounts(ApikeyCounts *counts);

#endif							/* APIKEY_USAGE_KEY_H */

/*
 * apikey.c
 *		Module magic and start-up; each part of the module sets itself up.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "apikey.h"
#include "catalog.h"
#include "compat.h"
#include "crypto.h"
#include "notify.h"
#include "settings.h"
#include "verify.h"

APIKEY_MODULE_MAGIC;

bool		apikey_preloaded = false;

void		_PG_init(void);

void
_PG_init(void)
{
	if (!apikey_crypto_init())
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not initialize libsodium"),
				 errdetail("No safe source of random numbers was found."),
				 errhint("Check that the system provides getrandom() or /dev/urandom.")));

	apikey_preloaded = process_shared_preload_libraries_in_progress;
	apikey_settings_init();
	apikey_catalog_init();
	apikey_notify_init();
	apikey_verify_init();
}

/*
 * apikey.c
 *		Module magic and start-up; each part of the module sets itself up.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "apikey.h"
#include "catalog.h"
#include "compat.h"
#include "context.h"
#include "context_setting.h"
#include "crypto.h"
#include "failure.h"
#include "identity.h"
#include "notify.h"
#include "settings.h"
#include "shmem.h"
#include "verdict_scan.h"
#include "verdict.h"
#include "worker.h"

APIKEY_MODULE_MAGIC;

bool		apikey_preloaded = false;

void
apikey_require_preload(const char *function)
{
	if (!apikey_preloaded)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s needs the library \"apikey\" to be preloaded",
						function),
				 errdetail("Keys are not verified by a server that has not loaded it at its start."),
				 errhint("Add \"apikey\" to shared_preload_libraries and restart the server.")));
}

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
	apikey_context_setting_init();
	apikey_settings_init();
	apikey_catalog_init();
	apikey_notify_init();
	apikey_verdict_init();
	apikey_verdict_scan_init();
	apikey_identity_init();
	apikey_context_init();
	if (apikey_preloaded)
	{
		apikey_shmem_init();
		apikey_worker_init();
		apikey_failure_init();
	}
}

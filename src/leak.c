/*
 * leak.c
 *		apikey.find_keys: keys of ours in any text.
 *
 * One pass over the document; what looks like a key text is hashed and looked
 * up.  The document is neither stored nor logged nor quoted in an error.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "apikey.h"
#include "catalog.h"
#include "compat.h"
#include "keystore.h"
#include "policy.h"
#include "request.h"
#include "token.h"

/* Columns of apikey.found_key */
enum
{
	FOUND_KEY_ID, FOUND_DISPLAY, FOUND_ACCOUNT, FOUND_STATUS, FOUND_NCOLUMNS
};

static void
return_key(ReturnSetInfo *result, const ApikeyKey *key)
{
	Datum		values[FOUND_NCOLUMNS];
	bool		nulls[FOUND_NCOLUMNS] = {false};

	values[FOUND_KEY_ID] = key->value[KEY_KEY_ID];
	values[FOUND_DISPLAY] = key->value[KEY_DISPLAY];
	values[FOUND_ACCOUNT] = key->value[KEY_ACCOUNT];
	values[FOUND_STATUS] =
		CStringGetTextDatum(apikey_key_status(key, GetCurrentTimestamp()));
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * Look up every text that looks like a key, each key once.
 */
static void
scan_document(const char *text, size_t len, ReturnSetInfo *result)
{
	const ApikeyKind *kinds;
	const ApikeyFormat *formats;
	int			nkinds = apikey_policy_kinds(apikey_policy(), &kinds, &formats);
	HASHCTL		ctl = {
		.keysize = UUID_LEN,
		.entrysize = UUID_LEN,
		.hcxt = CurrentMemoryContext,
	};
	HTAB	   *seen = hash_create("apikey found keys", 64, &ctl,
								   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	MemoryContext per_find = AllocSetContextCreate(CurrentMemoryContext,
												   "apikey find",
												   ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(per_find);
	size_t		start = 0;
	size_t		pos;
	int			which;

	while (apikey_token_find(formats, nkinds, text, len, start, &pos, &which))
	{
		size_t		token_len = apikey_token_length(&formats[which]);
		ApikeyKey	key;
		bool		known_already;

		CHECK_FOR_INTERRUPTS();
		if (apikey_find(text + pos, token_len, &key) == APIKEY_FOUND)
		{
			hash_search(seen, DatumGetUUIDP(key.value[KEY_KEY_ID]),
						HASH_ENTER, &known_already);
			if (!known_already)
				return_key(result, &key);
		}
		MemoryContextReset(per_find);
		start = pos + token_len;
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(per_find);
}

PG_FUNCTION_INFO_V1(apikey_sql_find_keys);

/*
 * apikey.find_keys(document) returns setof apikey.found_key
 *		Errors: 22023 for a document of more than 64 MB.
 */
Datum
apikey_sql_find_keys(PG_FUNCTION_ARGS)
{
	ApikeyText	document = apikey_text_argument(fcinfo, 0,
												APIKEY_DOCUMENT_MAX);

	InitMaterializedSRF(fcinfo, 0);
	if (document.too_long)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"document\" is too large"),
				 errdetail("At most 64 MB are searched at a time."),
				 errhint("Pass it in parts that overlap by 512 bytes.")));
	if (document.data != NULL)
		scan_document(document.data, document.len,
					  (ReturnSetInfo *) fcinfo->resultinfo);
	PG_RETURN_NULL();
}

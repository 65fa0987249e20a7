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

/* How much is searched between looks whether to cancel */
#define PART_SIZE	(1024 * 1024)

/* A search under way */
typedef struct Search
{
	const char *text;
	size_t		len;
	const ApikeyFormat *formats;
	int			nformats;
	HTAB	   *seen;			/* key_ids that were returned */
	bool		incomplete;		/* a pepper is missing */
	ReturnSetInfo *result;
} Search;

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
 * Is one of our keys at this place?  Where several formats fit, the one that
 * looks best is tried first.
 */
static ApikeyFind
find_at(Search *search, size_t pos, int best, ApikeyKey *room,
		const ApikeyKey **key, size_t *found_len)
{
	ApikeyFind	result = APIKEY_UNKNOWN;

	for (int i = -1; i < search->nformats && result != APIKEY_FOUND; i++)
	{
		const ApikeyFormat *format = &search->formats[i < 0 ? best : i];
		ApikeyFind	found;

		if (i == best ||
			(i >= 0 && !apikey_token_fits(format, search->text, search->len, pos)))
			continue;
		*found_len = apikey_token_length(format);
		found = apikey_find(search->text + pos, *found_len, room, key);
		if (found != APIKEY_UNKNOWN)
			result = found;
	}
	return result;
}

static void
note_key(Search *search, const ApikeyKey *key)
{
	bool		known_already;

	hash_search(search->seen, DatumGetUUIDP(key->value[KEY_KEY_ID]),
				HASH_ENTER, &known_already);
	if (!known_already)
		return_key(search->result, key);
}

/*
 * Look up every text that looks like a key, from start up to limit; returns
 * where to go on.  What looks like one and is none may overlap one: then the
 * search goes on with the next character.
 */
static size_t
search_part(Search *search, size_t start, size_t limit)
{
	size_t		end = Min(search->len, limit + APIKEY_TOKEN_MAX + 1);
	size_t		pos;
	int			which;

	while (start < limit &&
		   apikey_token_find(search->formats, search->nformats, search->text,
							 end, start, &pos, &which) && pos < limit)
	{
		ApikeyKey	room;
		const ApikeyKey *key;
		size_t		found_len;

		CHECK_FOR_INTERRUPTS();
		start = pos + 1;
		switch (find_at(search, pos, which, &room, &key, &found_len))
		{
			case APIKEY_FOUND:
				note_key(search, key);
				start = pos + found_len;
				break;
			case APIKEY_CANNOT_TELL:
			case APIKEY_TOO_BUSY:
				search->incomplete = true;
				break;
			case APIKEY_UNKNOWN:
				break;
		}
		MemoryContextReset(CurrentMemoryContext);
	}
	return Max(start, limit);
}

/*
 * Search the whole document, in parts: so that it can be cancelled.
 */
static void
search_document(Search *search)
{
	const ApikeyKind *kinds;
	HASHCTL		ctl = {
		.keysize = UUID_LEN,
		.entrysize = UUID_LEN,
		.hcxt = CurrentMemoryContext,
	};
	MemoryContext per_find = AllocSetContextCreate(CurrentMemoryContext,
												   "apikey find",
												   ALLOCSET_SMALL_SIZES);
	MemoryContext old;

	search->nformats = apikey_policy_kinds(apikey_policy(), &kinds,
										   &search->formats);
	search->seen = hash_create("apikey found keys", 64, &ctl,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	old = MemoryContextSwitchTo(per_find);
	for (size_t at = 0; at < search->len;)
	{
		CHECK_FOR_INTERRUPTS();
		at = search_part(search, at, Min(at + PART_SIZE, search->len));
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(per_find);
	if (search->incomplete)
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("keys stored under a missing pepper could not be recognised"),
				 errdetail("The document has texts that may be such keys."),
				 errhint("Look at apikey.pepper_status and at apikey.pepper_file.")));
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
	{
		Search		search = {
			.text = document.data,
			.len = document.len,
			.result = (ReturnSetInfo *) fcinfo->resultinfo,
		};

		search_document(&search);
	}
	PG_RETURN_NULL();
}

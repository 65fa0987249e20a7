/*
 * slowhash.c
 *		Trying texts against salted hashes, which are slow on purpose, without
 *		letting strangers keep the server busy.
 *
 * A few are tried at a time on the whole server, on half of its processors at
 * most; others wait a moment for their turn, and then get none.  Who presents
 * wrong texts for a key again and again, from one address, has to pause
 * longer and longer, and a wrong text that is repeated is not tried again.
 * Other addresses are not affected: nobody locks a key out by guessing.
 *
 * crypt() is that of the extension pgcrypto, wherever its schema is: found by
 * its membership, never by a search_path.  It can be cancelled; Argon2 can't,
 * therefore its cost is small (hashtext.c).
 */
#include "postgres.h"

#include <unistd.h>

#include "access/htup_details.h"
#include "catalog/dependency.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "crypto.h"
#include "shmem.h"
#include "slowhash.h"

#define AT_ONCE_MAX			4
#define WAIT_MS				1000L
#define FREE_FAILURES		5
#define PAUSE_SECONDS_MIN	8
#define PAUSE_SECONDS_MAX	64

/* Of crypt(): cheap, and only such a scheme answers with its own label */
#define SHA256_CRYPT_PROBE	"$5$rounds=1000$probe"
#define SHA512_CRYPT_PROBE	"$6$rounds=1000$probe"

/*
 * pgcrypto's crypt(text, text); InvalidOid if it is not there.
 */
static Oid
crypt_function(void)
{
	Oid			extension = get_extension_oid("pgcrypto", true);
	CatCList   *candidates;
	Oid			result = InvalidOid;

	if (!OidIsValid(extension))
		return InvalidOid;
	candidates = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum("crypt"));
	for (int i = 0; i < candidates->n_members; i++)
	{
		Form_pg_proc proc = (Form_pg_proc)
			GETSTRUCT(&candidates->members[i]->tuple);

		if (proc->pronargs == 2 && proc->prorettype == TEXTOID &&
			proc->proargtypes.values[0] == TEXTOID &&
			proc->proargtypes.values[1] == TEXTOID &&
			getExtensionOfObject(ProcedureRelationId, proc->oid) == extension)
			result = proc->oid;
	}
	ReleaseSysCacheList(candidates);
	return result;
}

/*
 * Does crypt() of the text with this setting begin with that?
 */
static bool
crypt_begins_with(Oid function, const char *text, size_t len,
				  const char *setting, const char *wanted, size_t wanted_len)
{
	struct varlena *key = (struct varlena *) cstring_to_text_with_len(text, len);
	struct varlena *result = (struct varlena *)
		DatumGetPointer(OidFunctionCall2(function, PointerGetDatum(key),
										 CStringGetTextDatum(setting)));
	bool		matches = VARSIZE_ANY_EXHDR(result) >= wanted_len &&
		apikey_equal(VARDATA_ANY(result), wanted, wanted_len);

	apikey_wipe(VARDATA_ANY(key), len);
	pfree(key);
	return matches;
}

static bool
try_hash(const ApikeyHash *hash, const char *text, size_t len)
{
	Oid			function;

	if (hash->algorithm == APIKEY_HASH_ARGON2ID)
		return apikey_argon2_verify(hash->u.string, text, len);
	function = crypt_function();
	return OidIsValid(function) &&
		crypt_begins_with(function, text, len, hash->u.string,
						  hash->u.string, hash->len);
}

bool
apikey_slow_available(ApikeyHashAlgorithm algorithm)
{
	static Oid	probed = InvalidOid;	/* the function that was asked */
	static bool has_sha_crypt = false;
	Oid			function;

	if (!apikey_hash_is_salted(algorithm) || algorithm == APIKEY_HASH_ARGON2ID)
		return true;
	function = crypt_function();
	if (!OidIsValid(function) || (algorithm != APIKEY_HASH_SHA256_CRYPT &&
								  algorithm != APIKEY_HASH_SHA512_CRYPT))
		return OidIsValid(function);
	if (probed != function)
	{
		has_sha_crypt =
			crypt_begins_with(function, "", 0, SHA256_CRYPT_PROBE,
							  SHA256_CRYPT_PROBE, strlen(SHA256_CRYPT_PROBE)) &&
			crypt_begins_with(function, "", 0, SHA512_CRYPT_PROBE,
							  SHA512_CRYPT_PROBE, strlen(SHA512_CRYPT_PROBE));
		probed = function;
	}
	return has_sha_crypt;
}

/*
 * Half of the processors, but one at least and not many.
 */
static int
at_once(void)
{
	static int	result = 0;

	if (result == 0)
		result = Max(1, Min(AT_ONCE_MAX,
							(int) sysconf(_SC_NPROCESSORS_ONLN) / 2));
	return result;
}

/*
 * A key and an address: where failures are counted.  IPv6 by /64, as whoever
 * has one address there has them all.
 */
static uint64
hash_of_source(const pg_uuid_t *key_id, const ApikeyNet *address)
{
	unsigned char data[UUID_LEN + 1 + 8] = {0};

	memcpy(data, key_id->data, UUID_LEN);
	if (address != NULL)
	{
		data[UUID_LEN] = address->family;
		memcpy(data + UUID_LEN + 1, address->addr,
			   address->family == 4 ? 4 : 8);
	}
	return apikey_short_hash(data, sizeof(data), apikey_shared->slow.secret);
}

/*
 * May it be tried?  A match stands for yes.
 */
static ApikeySlowResult
may_try(uint64 source, uint64 text)
{
	ApikeySlowSlot *slot = &apikey_shared->slow.slot[source % APIKEY_SLOW_SLOTS];
	TimestampTz now = GetCurrentTimestamp();
	ApikeySlowResult result = APIKEY_SLOW_MATCH;

	SpinLockAcquire(&apikey_shared->slow.mutex);
	if (slot->source == source && slot->failures > 0)
	{
		if (slot->text == text)
			result = APIKEY_SLOW_MISMATCH;
		else if (now < slot->pause_until &&
				 slot->pause_until - now <= PAUSE_SECONDS_MAX * USECS_PER_SEC)
			result = APIKEY_SLOW_BUSY;
	}
	SpinLockRelease(&apikey_shared->slow.mutex);
	return result;
}

static void
note_success(uint64 source)
{
	ApikeySlowSlot *slot = &apikey_shared->slow.slot[source % APIKEY_SLOW_SLOTS];

	SpinLockAcquire(&apikey_shared->slow.mutex);
	if (slot->source == source)
		slot->failures = 0;
	SpinLockRelease(&apikey_shared->slow.mutex);
}

static bool
take_turn(void)
{
	bool		taken = false;

	SpinLockAcquire(&apikey_shared->slow.mutex);
	if (apikey_shared->slow.running < at_once())
	{
		apikey_shared->slow.running++;
		taken = true;
	}
	SpinLockRelease(&apikey_shared->slow.mutex);
	return taken;
}

/*
 * Wait for a turn, but not for long.
 */
static bool
wait_for_turn(void)
{
	TimestampTz end = GetCurrentTimestamp() + WAIT_MS * 1000;
	bool		taken;

	(void) at_once();			/* not while a spinlock is held */
	if (take_turn())
		return true;
	ConditionVariablePrepareToSleep(&apikey_shared->slow.turn_ended);
	while (!(taken = take_turn()))
	{
		long		left = (end - GetCurrentTimestamp()) / 1000;

		if (left <= 0 || left > WAIT_MS ||
			ConditionVariableTimedSleep(&apikey_shared->slow.turn_ended, left,
										PG_WAIT_EXTENSION))
			break;
	}
	ConditionVariableCancelSleep();
	return taken;
}

/*
 * End a turn; on an error and at the end of the process, too.
 */
static void
end_turn(int code, Datum arg)
{
	SpinLockAcquire(&apikey_shared->slow.mutex);
	apikey_shared->slow.running--;
	SpinLockRelease(&apikey_shared->slow.mutex);
	ConditionVariableSignal(&apikey_shared->slow.turn_ended);
}

ApikeySlowResult
apikey_slow_verify(const pg_uuid_t *key_id, const ApikeyNet *address,
				   const ApikeyHash *hash, const char *text, size_t len)
{
	uint64		source = hash_of_source(key_id, address);
	uint64		text_hash = apikey_short_hash(text, len,
											  apikey_shared->slow.secret);
	ApikeySlowResult result = may_try(source, text_hash);
	bool		matched;

	if (result != APIKEY_SLOW_MATCH)
		return result;
	if (!wait_for_turn())
		return APIKEY_SLOW_BUSY;
	PG_ENSURE_ERROR_CLEANUP(end_turn, (Datum) 0);
	{
		matched = try_hash(hash, text, len);
	}
	PG_END_ENSURE_ERROR_CLEANUP(end_turn, (Datum) 0);
	end_turn(0, (Datum) 0);
	if (!matched)
		return APIKEY_SLOW_MISMATCH;
	note_success(source);
	return APIKEY_SLOW_MATCH;
}

void
apikey_slow_failed(const pg_uuid_t *key_id, const ApikeyNet *address,
				   const char *text, size_t len)
{
	uint64		source = hash_of_source(key_id, address);
	uint64		text_hash = apikey_short_hash(text, len,
											  apikey_shared->slow.secret);
	ApikeySlowSlot *slot = &apikey_shared->slow.slot[source % APIKEY_SLOW_SLOTS];
	TimestampTz now = GetCurrentTimestamp();

	SpinLockAcquire(&apikey_shared->slow.mutex);
	/* a place is not taken from somebody who has to pause */
	if (slot->source != source && slot->pause_until <= now)
	{
		slot->source = source;
		slot->failures = 0;
		slot->pause_until = 0;
	}
	if (slot->source == source && (slot->failures == 0 || slot->text != text_hash))
	{
		slot->failures++;
		slot->text = text_hash;
		if (slot->failures >= FREE_FAILURES)
			slot->pause_until = now + USECS_PER_SEC *
				Min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_MIN <<
					Min(slot->failures - FREE_FAILURES, 10));
	}
	SpinLockRelease(&apikey_shared->slow.mutex);
}

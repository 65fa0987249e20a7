/*
 * pepper.c
 *		The secrets that key the hash of keys: read from the table
 *		apikey.pepper and from the file apikey.pepper_file.
 *
 * Kept per backend in memory that is locked and left out of core dumps; read
 * anew when the table or the setting changes and after a reload of the
 * configuration.  A pepper whose secret cannot be had is listed as missing:
 * nothing is ever hashed without one.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "apikey.h"
#include "catalog.h"
#include "compat.h"
#include "crypto.h"
#include "keyring.h"
#include "locks.h"
#include "pepper.h"
#include "record.h"
#include "settings.h"
#include "spi_plan.h"

/* Columns, as 40_keys.sql creates them */
enum
{
	PEPPER_ID = 1, PEPPER_SOURCE, PEPPER_SECRET, PEPPER_FINGERPRINT,
	PEPPER_IS_CURRENT, PEPPER_CREATED_AT
};

#define PEPPER_NCOLUMNS	PEPPER_CREATED_AT

/* One row as it was read, its secret still to be settled */
typedef struct PepperRow
{
	ApikeyPepper pepper;
	unsigned char secret[APIKEY_PEPPER_LEN];
	unsigned char fingerprint[APIKEY_DIGEST_LEN];
	bool		has_secret;
} PepperRow;

typedef struct PepperRows
{
	int			count;
	int			size;
	PepperRow  *row;
} PepperRows;

static MemoryContext pepper_context = NULL;
static ApikeyPeppers peppers;
static unsigned char *secrets = NULL;
static uint64 read_generation = 0;
static TimestampTz read_reload_time = 0;

static bool
read_pepper(TupleTableSlot *slot, void *arg)
{
	PepperRows *rows = arg;
	PepperRow  *row;
	bytea	   *bytes;

	slot_getallattrs(slot);
	if (rows->count == rows->size)
	{
		rows->size *= 2;
		rows->row = repalloc(rows->row, rows->size * sizeof(PepperRow));
	}
	row = &rows->row[rows->count++];
	memset(row, 0, sizeof(*row));
	row->pepper.id = DatumGetInt32(slot->tts_values[PEPPER_ID - 1]);
	row->pepper.is_current =
		DatumGetBool(slot->tts_values[PEPPER_IS_CURRENT - 1]);
	row->pepper.in_file = slot->tts_isnull[PEPPER_SECRET - 1];
	if (!row->pepper.in_file)
	{
		bytes = DatumGetByteaPP(slot->tts_values[PEPPER_SECRET - 1]);
		row->has_secret = VARSIZE_ANY_EXHDR(bytes) == APIKEY_PEPPER_LEN;
		if (row->has_secret)
			memcpy(row->secret, VARDATA_ANY(bytes), APIKEY_PEPPER_LEN);
	}
	bytes = DatumGetByteaPP(slot->tts_values[PEPPER_FINGERPRINT - 1]);
	memcpy(row->fingerprint, VARDATA_ANY(bytes),
		   Min(VARSIZE_ANY_EXHDR(bytes), APIKEY_DIGEST_LEN));
	return true;
}

/*
 * Complain about the file, once per process and reload: requests go on being
 * answered, closed where the missing pepper is needed.
 */
static void
pepper_file_is_bad(const char *why)
{
	ereport(LOG,
			(errcode(ERRCODE_CONFIG_FILE_ERROR),
			 errmsg("pepper file \"%s\" cannot be used: %s",
					apikey_pepper_file, why),
			 errhint("It must be a regular file, owned by the server's user or root, "
					 "without access for group and others, one \"id hexdigits\" a line.")));
}

/*
 * Read the file into entries.  Returns how many; none if it is no good.
 */
static int
read_pepper_file(ApikeyKeyringEntry *entries)
{
	FILE	   *file = AllocateFile(apikey_pepper_file, PG_BINARY_R);
	struct stat st;
	char	   *text;
	size_t		len;
	int			count = 0;
	int			faulty_line = 0;

	if (file == NULL)
	{
		pepper_file_is_bad(strerror(errno));
		return 0;
	}
	if (fstat(fileno(file), &st) != 0 || !S_ISREG(st.st_mode) ||
		(st.st_uid != geteuid() && st.st_uid != 0) ||
		(st.st_mode & (S_IRWXG | S_IRWXO)) != 0 ||
		st.st_size > APIKEY_KEYRING_BYTES_MAX)
	{
		FreeFile(file);
		pepper_file_is_bad("wrong type, owner, permissions or size");
		return 0;
	}
	setvbuf(file, NULL, _IONBF, 0); /* no copy in a buffer of stdio */
	text = palloc(APIKEY_KEYRING_BYTES_MAX);
	len = fread(text, 1, APIKEY_KEYRING_BYTES_MAX, file);
	if (ferror(file))
		pepper_file_is_bad("read error");
	else
		count = apikey_keyring_parse(text, len, entries, APIKEY_KEYRING_MAX,
									 &faulty_line);
	FreeFile(file);
	apikey_wipe(text, len);
	pfree(text);
	if (count < 0)
	{
		char		why[64];

		snprintf(why, sizeof(why), "line %d is malformed", faulty_line);
		pepper_file_is_bad(why);
		return 0;
	}
	return count;
}

void
apikey_pepper_file_check(void)
{
	ApikeyKeyringEntry *entries;

	if (apikey_pepper_file == NULL || apikey_pepper_file[0] == '\0')
		return;
	entries = palloc(APIKEY_KEYRING_MAX * sizeof(ApikeyKeyringEntry));
	(void) read_pepper_file(entries);
	apikey_wipe(entries, APIKEY_KEYRING_MAX * sizeof(ApikeyKeyringEntry));
	pfree(entries);
}

/*
 * Give the rows that point into the file their secrets, if the file has them
 * and they are the ones that were registered.
 */
static void
resolve_from_file(PepperRows *rows)
{
	ApikeyKeyringEntry *entries;
	int			count;

	if (apikey_pepper_file == NULL || apikey_pepper_file[0] == '\0')
		return;
	entries = palloc(APIKEY_KEYRING_MAX * sizeof(ApikeyKeyringEntry));
	count = read_pepper_file(entries);
	for (int i = 0; i < rows->count; i++)
	{
		PepperRow  *row = &rows->row[i];

		for (int j = 0; row->pepper.in_file && j < count; j++)
		{
			unsigned char fingerprint[APIKEY_DIGEST_LEN];

			if (entries[j].id != row->pepper.id)
				continue;
			apikey_fingerprint(fingerprint, entries[j].secret);
			if (!apikey_equal(fingerprint, row->fingerprint,
							  APIKEY_DIGEST_LEN))
			{
				pepper_file_is_bad("a pepper is not the one registered under its id");
				continue;
			}
			memcpy(row->secret, entries[j].secret, APIKEY_PEPPER_LEN);
			row->has_secret = true;
		}
	}
	apikey_wipe(entries, APIKEY_KEYRING_MAX * sizeof(ApikeyKeyringEntry));
	pfree(entries);
}

static void
forget_peppers(void)
{
	read_generation = 0;
	peppers.count = 0;
	if (secrets != NULL)
		apikey_secret_free(secrets);
	secrets = NULL;
	if (pepper_context == NULL)
		pepper_context = AllocSetContextCreate(TopMemoryContext,
											   "apikey peppers",
											   ALLOCSET_SMALL_SIZES);
	MemoryContextReset(pepper_context);
}

/*
 * Move what was read to where it stays, the current one first.
 */
static void
keep_peppers(PepperRows *rows)
{
	peppers.serial = 0;
	peppers.pepper = MemoryContextAllocZero(pepper_context,
											Max(rows->count, 1) * sizeof(ApikeyPepper));
	secrets = apikey_secret_alloc(Max(rows->count, 1) * APIKEY_PEPPER_LEN);
	if (secrets == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("No protected memory for the peppers of keys.")));
	for (int current = 1; current >= 0; current--)
	{
		for (int i = 0; i < rows->count; i++)
		{
			PepperRow  *row = &rows->row[i];
			unsigned char *secret = secrets + peppers.count * APIKEY_PEPPER_LEN;

			if (row->pepper.is_current != (current == 1))
				continue;
			if (row->has_secret)
			{
				memcpy(secret, row->secret, APIKEY_PEPPER_LEN);
				row->pepper.secret = secret;
			}
			peppers.pepper[peppers.count++] = row->pepper;
		}
	}
	apikey_secret_seal(secrets);
}

const ApikeyPeppers *
apikey_peppers(void)
{
	PepperRows	rows = {.size = 8};
	Relation	rel;
	uint64		generation;
	TimestampTz reload_time = PgReloadTime;
	static uint64 serial = 0;
	bool		keep;

	(void) apikey_relation(APIKEY_REL_PEPPER);
	AcceptInvalidationMessages();
	if (read_generation == apikey_pepper_generation() &&
		read_reload_time == reload_time)
		return &peppers;

	forget_peppers();
	generation = apikey_pepper_generation();
	rows.row = palloc(rows.size * sizeof(PepperRow));
	rel = table_open(apikey_relation(APIKEY_REL_PEPPER), AccessShareLock);
	keep = apikey_relation_is_coherent(rel);
	apikey_scan(rel, InvalidOid, NULL, 0, read_pepper, &rows);
	table_close(rel, AccessShareLock);
	resolve_from_file(&rows);
	keep_peppers(&rows);
	apikey_wipe(rows.row, rows.size * sizeof(PepperRow));
	pfree(rows.row);
	if (keep)
	{
		read_generation = generation;
		read_reload_time = reload_time;
		peppers.serial = ++serial;
	}
	return &peppers;
}

uint64
apikey_peppers_serial(void)
{
	return read_generation == apikey_pepper_generation() &&
		read_reload_time == PgReloadTime ? peppers.serial : 0;
}

/*
 * Choose a pepper of the file that is not registered yet: the newest, that is
 * of the highest id, to begin with, later the next one.  Returns its id.
 */
static int32
choose_from_file(unsigned char *secret)
{
	const ApikeyPeppers *known = apikey_peppers();
	ApikeyKeyringEntry *entries = palloc(APIKEY_KEYRING_MAX *
										 sizeof(ApikeyKeyringEntry));
	int			count = read_pepper_file(entries);
	int32		chosen = 0;

	for (int i = 0; i < count; i++)
	{
		bool		registered = false;
		bool		better;

		for (int j = 0; j < known->count; j++)
			registered |= known->pepper[j].id == entries[i].id;
		better = chosen == 0 || (known->count == 0 ? entries[i].id > chosen :
								 entries[i].id < chosen);
		if (registered || !better)
			continue;
		chosen = entries[i].id;
		memcpy(secret, entries[i].secret, APIKEY_PEPPER_LEN);
	}
	apikey_wipe(entries, APIKEY_KEYRING_MAX * sizeof(ApikeyKeyringEntry));
	pfree(entries);
	if (chosen == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the pepper file has no pepper that is not in use yet"),
				 errdetail("apikey.pepper_file is set, so peppers are taken from it."),
				 errhint("Append a line with a new id and 64 random hexadecimal digits "
						 "to the file and see that the server's user alone can read it.")));
	return chosen;
}

static bytea *
make_bytea(const unsigned char *data, size_t len)
{
	bytea	   *value = palloc(VARHDRSZ + len);

	SET_VARSIZE(value, VARHDRSZ + len);
	memcpy(VARDATA(value), data, len);
	return value;
}

/*
 * Store a new pepper, a random one unless there is a file.  The first one
 * becomes current.  Without SQL, which a server told to log the parameters of
 * nested statements would write to its log.
 */
static int32
register_pepper(void)
{
	const ApikeyPeppers *known = apikey_peppers();
	bool		use_file = apikey_pepper_file != NULL &&
		apikey_pepper_file[0] != '\0';
	bool		is_first = known->count == 0;
	int32		id = 1;
	unsigned char secret[APIKEY_PEPPER_LEN];
	unsigned char fingerprint[APIKEY_DIGEST_LEN];
	Datum		values[PEPPER_NCOLUMNS + 1];
	bool		nulls[PEPPER_NCOLUMNS + 1] = {false};
	bytea	   *stored;
	Relation	rel;

	for (int i = 0; i < known->count; i++)
		id = Max(id, known->pepper[i].id + 1);
	if (use_file)
		id = choose_from_file(secret);
	else
		apikey_random(secret, sizeof(secret));
	apikey_fingerprint(fingerprint, secret);
	stored = make_bytea(secret, sizeof(secret));

	values[PEPPER_ID] = Int32GetDatum(id);
	values[PEPPER_SOURCE] = CStringGetTextDatum(use_file ? "file" : "table");
	values[PEPPER_SECRET] = PointerGetDatum(stored);
	nulls[PEPPER_SECRET] = use_file;
	values[PEPPER_FINGERPRINT] =
		PointerGetDatum(make_bytea(fingerprint, sizeof(fingerprint)));
	values[PEPPER_IS_CURRENT] = BoolGetDatum(is_first);
	values[PEPPER_CREATED_AT] = TimestampTzGetDatum(GetCurrentTimestamp());
	rel = table_open(apikey_relation(APIKEY_REL_PEPPER), RowExclusiveLock);
	(void) apikey_insert(rel, values + 1, nulls + 1, PEPPER_NCOLUMNS);
	table_close(rel, NoLock);

	apikey_wipe(secret, sizeof(secret));
	apikey_wipe(VARDATA(stored), APIKEY_PEPPER_LEN);
	return id;
}

const ApikeyPepper *
apikey_current_pepper(void)
{
	const ApikeyPeppers *known = apikey_peppers();

	if (known->count == 0)
	{
		/* one of several first calls makes it, the others wait and find it */
		apikey_lock(APIKEY_LOCK_PEPPER, 0);
		known = apikey_peppers();
		if (known->count == 0)
		{
			(void) register_pepper();
			known = apikey_peppers();
		}
	}
	if (known->count == 0 || !known->pepper[0].is_current ||
		known->pepper[0].secret == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the current pepper of keys is missing"),
				 errdetail("No key can be hashed without it."),
				 errhint("Look at apikey.pepper_status and the setting apikey.pepper_file.")));
	return &known->pepper[0];
}

PG_FUNCTION_INFO_V1(apikey_sql_add_pepper);

/*
 * apikey.add_pepper() returns integer
 *		Adds a pepper and returns its id.  Errors: 25006 on a standby, 55000
 *		when the file has no new one.
 */
Datum
apikey_sql_add_pepper(PG_FUNCTION_ARGS)
{
	static ApikeyPlan audit = {
		.query = "INSERT INTO apikey.audit_log (action, actor, object)"
		" VALUES ('add_pepper', apikey.actor(), 'pepper ' || $1)",
		.nargs = 1,
		.types = {INT4OID},
	};
	ApikeyPrivileges saved;
	int32		id;
	Datum		value;

	apikey_require_writable("apikey.add_pepper()");
	apikey_enter(&saved, NULL);
	apikey_lock(APIKEY_LOCK_PEPPER, 0);
	id = register_pepper();
	SPI_connect();
	value = Int32GetDatum(id);
	apikey_plan_execute(&audit, &value, NULL, SPI_OK_INSERT);
	SPI_finish();
	apikey_leave(&saved);
	PG_RETURN_INT32(id);
}

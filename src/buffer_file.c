/*
 * buffer_file.c
 *		The buffer of events over a clean stop.
 *
 * The file is written by the postmaster when everybody else is gone, removed
 * as soon as it is read, and used only by the same cluster: a base backup or
 * a clone that carries it along must not count its events again.  Events of
 * batches that were in flight come first, so that the flush worker can find
 * out from the batch's number whether they are in the tables already.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

#include "buffer.h"
#include "compat.h"
#include "shmem.h"

#define EVENTS_FILE		PGSTAT_STAT_PERMANENT_DIRECTORY "/apikey.events"
#define EVENTS_FILE_TMP	EVENTS_FILE ".tmp"
#define EVENTS_MAGIC	0x41504b33	/* changes with the layout of the file */

typedef struct FileHead
{
	uint32		magic;
	uint32		server_version;
	uint64		system_identifier;
	int64		number;			/* grows from file to file */
	uint64		nin_flight;		/* events of batches in flight, */
	uint64		nothers;		/* and after them the others */
	ApikeyDatabase database[APIKEY_DATABASES_MAX];
} FileHead;

typedef struct EventsFile
{
	FILE	   *file;			/* NULL: only count */
	pg_crc32c	crc;
	uint64		count;
	bool		failed;
} EventsFile;

static void
write_data(EventsFile *out, const void *data, size_t len)
{
	COMP_CRC32C(out->crc, data, len);
	out->failed |= fwrite(data, 1, len, out->file) != len;
}

static ApikeyDatabase *
find_database(Oid oid)
{
	for (int i = 0; i < APIKEY_DATABASES_MAX; i++)
	{
		if (apikey_shared->database[i].oid == oid)
			return &apikey_shared->database[i];
	}
	return NULL;
}

/*
 * Write, or count, the events that belong to a batch in flight, or the
 * others.
 */
static void
write_events(EventsFile *out, bool in_flight)
{
	ApikeyEvent event;

	for (int ring = 0; ring < APIKEY_RINGS; ring++)
	{
		uint64		head = apikey_shared->ring[ring].head;
		uint64		at = apikey_shared->ring[ring].tail;

		for (; at < head; at += event.head.nunits)
		{
			ApikeyDatabase *database;

			apikey_event_read(ring, at, &event);
			database = find_database(event.head.database);
			if ((event.head.flags & APIKEY_EVENT_DONE) != 0 ||
				database == NULL ||
				(database->in_flight && at < database->limit[ring]) != in_flight)
				continue;
			out->count++;
			if (out->file != NULL)
				write_data(out, event.bytes,
						   event.head.nunits * APIKEY_UNIT_SIZE);
		}
	}
}

static void
write_file(EventsFile *out)
{
	FileHead	head = {.magic = EVENTS_MAGIC, .server_version = APIKEY_SERVER_VERSION};
	EventsFile	counter = {0};

	write_events(&counter, true);
	head.nin_flight = counter.count;
	counter.count = 0;
	write_events(&counter, false);
	head.nothers = counter.count;
	head.system_identifier = GetSystemIdentifier();
	/* greater than that of any before, though the time of day may be set back */
	head.number = Max(GetCurrentTimestamp(), apikey_shared->file_number + 1);
	memcpy(head.database, apikey_shared->database, sizeof(head.database));

	INIT_CRC32C(out->crc);
	write_data(out, &head, sizeof(head));
	write_events(out, true);
	write_events(out, false);
	FIN_CRC32C(out->crc);
	out->failed |= fwrite(&out->crc, sizeof(out->crc), 1, out->file) != 1;
}

/*
 * At the end of the postmaster: save what is left.
 */
static void
save_buffer(int code, Datum arg)
{
	EventsFile	out = {0};

	if (code != 0 || apikey_shared == NULL || apikey_buffer_pending(NULL) == 0)
		return;
	out.file = AllocateFile(EVENTS_FILE_TMP, PG_BINARY_W);
	if (out.file != NULL)
	{
		write_file(&out);
		out.failed |= FreeFile(out.file) != 0;
		if (!out.failed &&
			durable_rename(EVENTS_FILE_TMP, EVENTS_FILE, LOG) == 0)
			return;
	}
	ereport(LOG,
			(errcode_for_file_access(),
			 errmsg("could not write file \"%s\": %m", EVENTS_FILE),
			 errdetail("Usage counted since the last flush is lost.")));
	unlink(EVENTS_FILE_TMP);
}

static void
read_data(EventsFile *in, void *data, size_t len)
{
	if (!in->failed)
		in->failed = fread(data, 1, len, in->file) != len;
	if (!in->failed)
		COMP_CRC32C(in->crc, data, len);
}

/*
 * Read events: check them, or put them into the rings, one after the other.
 */
static void
read_events(EventsFile *in, uint64 count, bool keep)
{
	ApikeyEvent event;
	uint64		used;

	for (uint64 i = 0; i < count && !in->failed; i++)
	{
		ApikeyDatabase *database;

		read_data(in, event.bytes, APIKEY_UNIT_SIZE);
		if (in->failed || event.head.nunits < 1 ||
			event.head.nunits > APIKEY_EVENT_UNITS_MAX)
		{
			in->failed = true;
			break;
		}
		read_data(in, event.bytes + APIKEY_UNIT_SIZE,
				  (event.head.nunits - 1) * APIKEY_UNIT_SIZE);
		if (in->failed || !keep)
			continue;
		database = find_database(event.head.database);
		if (database == NULL ||
			!apikey_event_write(i % APIKEY_RINGS, database, &event, &used))
			pg_atomic_fetch_add_u64(&apikey_shared->events_lost, 1);
	}
}

/*
 * Read the whole file.  Nothing is kept of one that is not ours or damaged.
 */
static void
read_file(EventsFile *in, bool keep)
{
	FileHead	head;
	pg_crc32c	crc;
	char		beyond;

	INIT_CRC32C(in->crc);
	read_data(in, &head, sizeof(head));
	if (in->failed || head.magic != EVENTS_MAGIC ||
		head.server_version != APIKEY_SERVER_VERSION ||
		head.system_identifier != GetSystemIdentifier())
	{
		in->failed = true;
		return;
	}
	for (int i = 0; keep && i < APIKEY_DATABASES_MAX; i++)
	{
		ApikeyDatabase *database = &apikey_shared->database[i];

		database->oid = head.database[i].oid;
		database->in_flight = head.database[i].in_flight;
		database->batch = head.database[i].batch;
	}
	read_events(in, head.nin_flight, keep);
	for (int i = 0; keep && i < APIKEY_DATABASES_MAX; i++)
		apikey_buffer_limits(apikey_shared->database[i].limit);
	read_events(in, head.nothers, keep);
	for (int i = 0; keep && i < APIKEY_DATABASES_MAX; i++)
	{
		apikey_shared->database[i].restored = head.number;
		apikey_buffer_limits(apikey_shared->database[i].restored_limit);
	}
	if (keep)
		apikey_shared->file_number = head.number;
	FIN_CRC32C(in->crc);
	in->failed |= fread(&crc, sizeof(crc), 1, in->file) != 1 ||
		!EQ_CRC32C(crc, in->crc) || fread(&beyond, 1, 1, in->file) == 1;
}

void
apikey_buffer_restore(void)
{
	EventsFile	in = {0};

	on_shmem_exit(save_buffer, (Datum) 0);
	in.file = AllocateFile(EVENTS_FILE, PG_BINARY_R);
	if (in.file == NULL)
		return;
	read_file(&in, false);
	if (!in.failed)
	{
		rewind(in.file);
		read_file(&in, true);
	}
	if (in.failed)
		ereport(LOG,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("ignoring file \"%s\"", EVENTS_FILE),
				 errdetail("It is damaged, or was not written by this cluster and version.")));
	FreeFile(in.file);
	unlink(EVENTS_FILE);
}

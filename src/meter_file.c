/*
 * meter_file.c
 *		The windows of rate limits over a clean stop.
 *
 * As the file of events (buffer_file.c): written by the postmaster when
 * everybody else is gone, removed as soon as it is read, and used only by the
 * same cluster.  Counters are not saved; they are loaded from the tables and
 * the events.
 *
 * The time between is what the real clock says has passed.  If the machine was
 * not restarted its monotonic clock knows as well, and the shorter time
 * counts: nothing is forgotten too early.
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

#include "compat.h"
#include "meter_slots.h"

#define LIMITS_FILE		PGSTAT_STAT_PERMANENT_DIRECTORY "/apikey.limits"
#define LIMITS_FILE_TMP	LIMITS_FILE ".tmp"
#define LIMITS_MAGIC	0x41504c31	/* changes with the layout of the file */

/* The real clock may be set; downtime longer than any window is all the same */
#define DOWNTIME_MAX	((int64) 366 * USECS_PER_DAY)

typedef struct FileHead
{
	uint32		magic;
	uint32		server_version;
	uint64		system_identifier;
	unsigned char secret[APIKEY_SHORT_KEY_LEN];
	int64		clock;			/* the monotonic one */
	int64		now;			/* that of the windows */
	TimestampTz stopped_at;
	int32		npartitions;
	int32		nslots;
	int64		count;			/* of windows with a slot; overflow windows follow */
} FileHead;

typedef struct SavedWindow
{
	ApikeyMeterKey key;
	ApikeyWindow window;
} SavedWindow;

typedef struct LimitsFile
{
	FILE	   *file;
	pg_crc32c	crc;
	bool		failed;
} LimitsFile;

static void
write_data(LimitsFile *out, const void *data, size_t len)
{
	COMP_CRC32C(out->crc, data, len);
	out->failed |= fwrite(data, 1, len, out->file) != len;
}

static void
read_data(LimitsFile *in, void *data, size_t len)
{
	if (!in->failed)
		in->failed = fread(data, 1, len, in->file) != len;
	if (!in->failed)
		COMP_CRC32C(in->crc, data, len);
}

/*
 * Write the windows that are not empty, or (out is NULL) only count them.
 */
static int64
write_windows(LimitsFile *out, int64 now)
{
	int64		count = 0;

	for (int i = 0; i < apikey_meters->npartitions; i++)
	{
		const ApikeyMeterPartition *partition = &apikey_meters->partition[i];

		for (int32 j = 0; j < partition->nslots; j++)
		{
			const ApikeyMeterSlot *slot = apikey_meter_slot(partition, j);
			SavedWindow saved;

			if (slot->state != APIKEY_SLOT_WINDOW ||
				apikey_window_is_empty(&slot->u.window, now))
				continue;
			count++;
			if (out == NULL)
				continue;
			memset(&saved, 0, sizeof(saved));
			saved.key = slot->key;
			saved.window = slot->u.window;
			write_data(out, &saved, sizeof(saved));
		}
	}
	return count;
}

static void
write_file(LimitsFile *out)
{
	FileHead	head;

	memset(&head, 0, sizeof(head));
	head.magic = LIMITS_MAGIC;
	head.server_version = APIKEY_SERVER_VERSION;
	head.system_identifier = GetSystemIdentifier();
	memcpy(head.secret, apikey_meters->secret, sizeof(head.secret));
	head.clock = apikey_meter_clock();
	head.now = head.clock + apikey_meters->clock_offset;
	head.stopped_at = GetCurrentTimestamp();
	head.npartitions = apikey_meters->npartitions;
	head.nslots = apikey_meters->nslots;
	head.count = write_windows(NULL, head.now);

	INIT_CRC32C(out->crc);
	write_data(out, &head, sizeof(head));
	(void) write_windows(out, head.now);
	for (int i = 0; i < apikey_meters->npartitions; i++)
		write_data(out, apikey_meters->partition[i].overflow,
				   sizeof(apikey_meters->partition[i].overflow));
	FIN_CRC32C(out->crc);
	out->failed |= fwrite(&out->crc, sizeof(out->crc), 1, out->file) != 1;
}

/*
 * At the end of the postmaster: save what is used.
 */
static void
save_windows(int code, Datum arg)
{
	LimitsFile	out = {0};

	if (code != 0 || apikey_meters == NULL || apikey_meters_slots_used() == 0)
		return;
	out.file = AllocateFile(LIMITS_FILE_TMP, PG_BINARY_W);
	if (out.file != NULL)
	{
		write_file(&out);
		out.failed |= FreeFile(out.file) != 0;
		if (!out.failed &&
			durable_rename(LIMITS_FILE_TMP, LIMITS_FILE, LOG) == 0)
			return;
	}
	ereport(LOG,
			(errcode_for_file_access(),
			 errmsg("could not write file \"%s\": %m", LIMITS_FILE),
			 errdetail("What is used of rate limits is forgotten.")));
	unlink(LIMITS_FILE_TMP);
}

/*
 * Let the time of the windows go on where it was, later by the time between.
 */
static void
restore_clock(const FileHead *head)
{
	int64		clock = apikey_meter_clock();
	TimestampTz now = GetCurrentTimestamp();
	int64		between = Min(Max(now - head->stopped_at, 0), DOWNTIME_MAX) *
		APIKEY_TICKS_PER_USEC;

	if (clock >= head->clock)
		between = Min(between, clock - head->clock);
	apikey_meters->clock_offset = head->now + between - clock;
}

/*
 * Overflow windows go where they were.  If there are more or fewer partitions
 * now nobody knows where that is, so all of them go everywhere.
 */
static void
restore_overflow(const FileHead *head, int number, const ApikeyWindow *saved)
{
	int64		now = apikey_meter_now();

	for (int i = 0; i < apikey_meters->npartitions; i++)
	{
		for (int j = 0; j < APIKEY_METER_OVERFLOWS; j++)
		{
			ApikeyWindow *window = &apikey_meters->partition[i].overflow[j];
			ApikeyWindow moved;

			if (saved[j].used == 0 ||
				(head->npartitions == apikey_meters->npartitions && i != number))
				continue;
			moved = saved[j];
			apikey_window_move(&moved, moved.per, now);
			apikey_window_move(window, Max(window->per, moved.per), now);
			apikey_window_merge(window, &moved, now);
		}
	}
}

/*
 * A window that somebody else has written must not crash us.
 */
static bool
is_sane(const ApikeyWindow *window)
{
	uint64		sum = 0;

	if (window->per == 0)
		return window->used == 0;
	for (int i = 0; i < APIKEY_WINDOW_PARTS; i++)
		sum += window->part[i];
	return window->per > 0 && window->newest >= 0 && window->used >= 0 &&
		(uint64) window->used == sum &&
		window->newest < PG_INT64_MAX / window->per - APIKEY_WINDOW_PARTS;
}

/*
 * Read the whole file.  Nothing is kept of one that is not ours or damaged.
 */
static void
read_file(LimitsFile *in, bool keep)
{
	FileHead	head;
	pg_crc32c	crc;
	char		beyond;

	INIT_CRC32C(in->crc);
	read_data(in, &head, sizeof(head));
	if (in->failed || head.magic != LIMITS_MAGIC ||
		head.server_version != APIKEY_SERVER_VERSION ||
		head.system_identifier != GetSystemIdentifier() ||
		head.npartitions < 1 || head.npartitions > APIKEY_METER_PARTITIONS)
	{
		in->failed = true;
		return;
	}
	if (keep)
	{
		memcpy(apikey_meters->secret, head.secret, sizeof(head.secret));
		restore_clock(&head);
	}
	for (int64 i = 0; i < head.count && !in->failed; i++)
	{
		SavedWindow saved;

		read_data(in, &saved, sizeof(saved));
		in->failed |= !is_sane(&saved.window);
		if (keep && !in->failed)
			apikey_meter_put(&saved.key, &saved.window);
	}
	for (int i = 0; i < head.npartitions && !in->failed; i++)
	{
		ApikeyWindow overflow[APIKEY_METER_OVERFLOWS];

		read_data(in, overflow, sizeof(overflow));
		for (int j = 0; j < APIKEY_METER_OVERFLOWS; j++)
			in->failed |= !is_sane(&overflow[j]);
		if (keep && !in->failed)
			restore_overflow(&head, i, overflow);
	}
	FIN_CRC32C(in->crc);
	in->failed |= fread(&crc, sizeof(crc), 1, in->file) != 1 ||
		!EQ_CRC32C(crc, in->crc) || fread(&beyond, 1, 1, in->file) == 1;
}

void
apikey_meters_restore(void)
{
	LimitsFile	in = {0};

	on_shmem_exit(save_windows, (Datum) 0);
	in.file = AllocateFile(LIMITS_FILE, PG_BINARY_R);
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
				 errmsg("ignoring file \"%s\"", LIMITS_FILE),
				 errdetail("It is damaged, or was not written by this cluster and version.")));
	FreeFile(in.file);
	unlink(LIMITS_FILE);
}

/*
 * buffer.h
 *		The buffer of events: what was verified and what was recorded, on its
 *		way from backends to the flush worker of their database.
 */
#ifndef APIKEY_BUFFER_H
#define APIKEY_BUFFER_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/uuid.h"

#include "crypto.h"
#include "keyrow.h"
#include "shmem.h"

/* Longest texts kept of an error, in bytes */
#define APIKEY_EVENT_CODE_MAX		64
#define APIKEY_EVENT_METHOD_MAX		16
#define APIKEY_EVENT_PATH_MAX		128
#define APIKEY_EVENT_REQUEST_ID_MAX	64

/* Flags of an event */
#define APIKEY_EVENT_DONE			0x01	/* flushed, or of no use any more */
#define APIKEY_EVENT_VERIFY			0x02	/* a call of verify, else of record */
#define APIKEY_EVENT_REFUSED		0x04
#define APIKEY_EVENT_HAS_ADDRESS	0x08
#define APIKEY_EVENT_REHASH			0x10	/* ApikeyRehash instead of texts */
#define APIKEY_EVENT_SESSION		0x20	/* a session's id behind ApikeyEventPass */
#define APIKEY_EVENT_PASS			0x40	/* ApikeyEventPass instead of texts */
#define APIKEY_EVENT_ROTATED		0x80	/* the key had a successor */

/* What precedes the texts; fixed, and the same in the file of a clean stop */
typedef struct ApikeyEventHead
{
	uint8		nunits;
	uint8		flags;
	uint16		status:15;		/* HTTP */
	uint16		has_place:1;	/* ApikeyEventPass: it, and no epochs */
	Oid			database;
	pg_uuid_t	key_id;
	TimestampTz at;
	uint32		address_hash;
	union
	{
		struct
		{
			uint8		code;
			uint8		method;
			uint8		path;
			uint8		request_id;
		}			len;		/* of the texts */
		int32		cost;		/* of what passed */
	}			of;
} ApikeyEventHead;

/*
 * What a call that passed has used.  Where it is no credits, there is room for
 * a hint where the key's row lies.
 */
typedef struct ApikeyEventPass
{
	uint64		account_hash;
	union
	{
		struct
		{
			uint64		key;	/* 0: no credits */
			uint64		account;
		}			epoch;
		ApikeyPlace place;
	}			of;
} ApikeyEventPass;

#define APIKEY_EVENT_MAX \
	(sizeof(ApikeyEventHead) + APIKEY_EVENT_CODE_MAX + \
	 APIKEY_EVENT_METHOD_MAX + APIKEY_EVENT_PATH_MAX + \
	 APIKEY_EVENT_REQUEST_ID_MAX)
#define APIKEY_EVENT_UNITS_MAX \
	((APIKEY_EVENT_MAX + APIKEY_UNIT_SIZE - 1) / APIKEY_UNIT_SIZE)

/* A key's digest under the current pepper, to be stored instead */
typedef struct ApikeyRehash
{
	int32		pepper_id;
	int32		algorithm;		/* of the digest, as in apikey.key */
	unsigned char digest[APIKEY_DIGEST_LEN];
} ApikeyRehash;

/* An event with its texts behind it: code, method, path, request id */
typedef union ApikeyEvent
{
	ApikeyEventHead head;
	char		bytes[APIKEY_EVENT_UNITS_MAX * APIKEY_UNIT_SIZE];
} ApikeyEvent;

/* Append a text to an event whose texts so far have *len bytes. */
extern uint8 apikey_event_append(ApikeyEvent *event, size_t *len,
								 const char *text, size_t text_len,
								 size_t max);

/*
 * Put an event of this database into the buffer; nunits is set here.  When
 * the buffer is full, waits a moment for the flush; what finds no place is
 * counted as lost, and false.
 */
extern bool apikey_buffer_put(ApikeyEvent *event, size_t texts_len);

/* The same where nothing may be waited for. */
extern bool apikey_buffer_put_now(ApikeyEvent *event, size_t texts_len);

/* The slot of this database; NULL if there are too many databases. */
extern ApikeyDatabase *apikey_buffer_database(void);

/* Events that are buffered, of a database or (NULL) of all; when the oldest
 * came, or 0. */
extern uint64 apikey_buffer_pending(const ApikeyDatabase *database);
extern TimestampTz apikey_buffer_oldest(void);

/* The fullest ring; how full a ring is, in quarters */
extern int	apikey_buffer_fullest(void);
extern int	apikey_buffer_quarters(int number);

/*
 * For the flush worker of a database: where the rings end now, a walk over
 * its events before these limits, and marking them as done.  The callback
 * returns false to stop before an event; the limits then say where.
 */
extern void apikey_buffer_limits(uint64 limit[APIKEY_RINGS]);
typedef bool (*ApikeyEventCallback) (const ApikeyEvent *event, void *arg);
extern void apikey_buffer_walk(Oid database, uint64 limit[APIKEY_RINGS],
							   ApikeyEventCallback callback, void *arg);

/* A walk over its events from these numbers up to now; from anywhere. */
extern void apikey_buffer_walk_from(Oid database,
									const uint64 from[APIKEY_RINGS],
									ApikeyEventCallback callback, void *arg);
extern uint64 apikey_buffer_done(ApikeyDatabase *database,
								 const uint64 limit[APIKEY_RINGS]);

/*
 * Let the processor fetch where the next event of this process goes, some time
 * before it is put there.
 */
extern void apikey_buffer_prefetch(void);

/*
 * One event of a ring, out and in (false: no room; *used: units that were in
 * use before); for the two below.
 */
extern void apikey_event_read(int ring, uint64 number, ApikeyEvent *event);
extern bool apikey_event_write(int ring, const ApikeyDatabase *database,
							   const ApikeyEvent *event, uint64 *used);

/* buffer_file.c, in the postmaster: load what a clean stop has saved. */
extern void apikey_buffer_restore(void);

#endif							/* APIKEY_BUFFER_H */

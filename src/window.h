/*
 * window.h
 *		A sliding window: how much was used in the time that counts.
 *
 * Pure: no server headers, and no clock; the time is an argument.
 *
 * Time is divided into parts of a sixteenth of the window's length, and each
 * part counts what was used in it.  The current part and the 16 before it
 * count; so no use is forgotten before the length has passed, and none is
 * remembered for more than 17/16 of it.
 */
#ifndef APIKEY_WINDOW_H
#define APIKEY_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Times are in ticks of 1/16 microsecond, so that a part of a window of n
 * microseconds has just n ticks.
 */
#define APIKEY_TICKS_PER_USEC	16
#define APIKEY_TICKS_PER_SEC	(INT64_C(1000000) * APIKEY_TICKS_PER_USEC)
#define APIKEY_WINDOW_PARTS		17

typedef struct ApikeyWindow
{
	int64_t		per;			/* length in microseconds; 0: never used */
	int64_t		newest;			/* number of the newest part */
	int64_t		used;			/* sum of parts */
	uint32_t	part[APIKEY_WINDOW_PARTS];	/* by number modulo their count */
} ApikeyWindow;

/*
 * Forget what does not count any more at this time.  Must precede what
 * follows, at the same time.  Another length than before keeps what was used,
 * as far as it is still known.
 */
extern void apikey_window_move(ApikeyWindow *window, int64_t per, int64_t now);

/* Ticks until cost can be used; 0: now, -1: never. */
extern int64_t apikey_window_wait(const ApikeyWindow *window, int64_t max,
								  int64_t cost, int64_t now);

/* Ticks until nothing counts any more. */
extern int64_t apikey_window_reset(const ApikeyWindow *window, int64_t now);

extern void apikey_window_use(ApikeyWindow *window, int64_t cost);

/* Add what another one has used; both were moved to this time. */
extern void apikey_window_merge(ApikeyWindow *window,
								const ApikeyWindow *other, int64_t now);

/* Does nothing count any more?  Needs no move. */
extern bool apikey_window_is_empty(const ApikeyWindow *window, int64_t now);

#endif							/* APIKEY_WINDOW_H */

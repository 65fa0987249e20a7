/*
 * window.c
 *		A sliding window: how much was used in the time that counts.
 */
#include <string.h>

#include "window.h"

/* The part of this number has the use of its time forgotten after that */
#define END_OF_PART(window, number) \
	(((number) + APIKEY_WINDOW_PARTS) * (window)->per)

static uint32_t *
part_of(ApikeyWindow *window, int64_t number)
{
	return &window->part[number % APIKEY_WINDOW_PARTS];
}

/*
 * Add to a part; what does not fit is as good as infinite.
 */
static void
add_to_part(ApikeyWindow *window, int64_t number, int64_t amount)
{
	uint32_t   *part = part_of(window, number);

	if (amount > (int64_t) (UINT32_MAX - *part))
		amount = UINT32_MAX - *part;
	*part += (uint32_t) amount;
	window->used += amount;
}

/*
 * Oldest part that counts; there is none before the beginning of time.
 */
static int64_t
oldest_part(const ApikeyWindow *window)
{
	return window->newest < APIKEY_WINDOW_PARTS ? 0 :
		window->newest - (APIKEY_WINDOW_PARTS - 1);
}

static void
start(ApikeyWindow *window, int64_t per, int64_t now)
{
	memset(window, 0, sizeof(*window));
	window->per = per;
	window->newest = now / per;
}

void
apikey_window_merge(ApikeyWindow *window, const ApikeyWindow *other,
					int64_t now)
{
	for (int64_t i = oldest_part(other); i <= other->newest; i++)
	{
		uint32_t	amount = other->part[i % APIKEY_WINDOW_PARTS];
		int64_t		last = (i + 1) * other->per - 1;
		int64_t		number;

		if (amount == 0)
			continue;
		/* as if all of it had been used at the end of its part */
		number = (last < now ? last : now) / window->per;
		if (number > window->newest)
			number = window->newest;
		if (number >= oldest_part(window))
			add_to_part(window, number, amount);
	}
}

void
apikey_window_move(ApikeyWindow *window, int64_t per, int64_t now)
{
	int64_t		number;

	if (window->per != per)
	{
		ApikeyWindow old = *window;

		start(window, per, now);
		if (old.used > 0)
			apikey_window_merge(window, &old, now);
		return;
	}
	number = now / per;
	if (number - window->newest >= APIKEY_WINDOW_PARTS)
	{
		start(window, per, now);
		return;
	}
	/* a time before that of the newest use is taken for the latter's */
	while (window->newest < number)
	{
		uint32_t   *part = part_of(window, ++window->newest);

		window->used -= *part;
		*part = 0;
	}
}

int64_t
apikey_window_wait(const ApikeyWindow *window, int64_t max, int64_t cost,
				   int64_t now)
{
	int64_t		excess = window->used + cost - max;

	if (cost > max)
		return -1;
	if (excess <= 0)
		return 0;
	for (int64_t i = oldest_part(window); i <= window->newest; i++)
	{
		excess -= window->part[i % APIKEY_WINDOW_PARTS];
		if (excess <= 0)
			return END_OF_PART(window, i) - now;
	}
	return -1;					/* not reached: used is the sum of parts */
}

int64_t
apikey_window_reset(const ApikeyWindow *window, int64_t now)
{
	if (window->used == 0)
		return 0;
	for (int64_t i = window->newest; i >= oldest_part(window); i--)
	{
		if (window->part[i % APIKEY_WINDOW_PARTS] > 0)
			return END_OF_PART(window, i) - now;
	}
	return 0;
}

void
apikey_window_use(ApikeyWindow *window, int64_t cost)
{
	add_to_part(window, window->newest, cost);
}

bool
apikey_window_is_empty(const ApikeyWindow *window, int64_t now)
{
	return apikey_window_reset(window, now) <= 0;
}

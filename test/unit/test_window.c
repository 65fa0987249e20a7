/*
 * test_window.c
 *		Sliding windows against a slow reference that remembers every use.
 */
#include "../../src/window.h"
#include "unit.h"

#define USES_MAX	4000

/* Every use that was let through */
typedef struct Reference
{
	int			count;
	int64_t		at[USES_MAX];
	int64_t		cost[USES_MAX];
} Reference;

/* What was used after a time */
static int64_t
used_since(const Reference *reference, int64_t from)
{
	int64_t		sum = 0;

	for (int i = reference->count - 1; i >= 0 && reference->at[i] >= from; i--)
		sum += reference->cost[i];
	return sum;
}

static void
remember(Reference *reference, int64_t at, int64_t cost)
{
	if (reference->count == USES_MAX)
	{
		memmove(reference->at, reference->at + USES_MAX / 2, USES_MAX / 2 * sizeof(int64_t));
		memmove(reference->cost, reference->cost + USES_MAX / 2, USES_MAX / 2 * sizeof(int64_t));
		reference->count = USES_MAX / 2;
	}
	reference->at[reference->count] = at;
	reference->cost[reference->count++] = cost;
}

/* As it would be at another time */
static ApikeyWindow
moved(const ApikeyWindow *window, int64_t per, int64_t now)
{
	ApikeyWindow copy = *window;

	apikey_window_move(&copy, per, now);
	return copy;
}

/*
 * What is said about waiting: then it passes, and not a tick before.
 */
static bool
wait_is_right(const ApikeyWindow *window, int64_t per, int64_t max,
			  int64_t cost, int64_t now)
{
	int64_t		wait = apikey_window_wait(window, max, cost, now);
	ApikeyWindow then;

	if (cost > max)
		return wait == -1;
	if (wait <= 0 || wait > APIKEY_WINDOW_PARTS * per)
		return false;
	then = moved(window, per, now + wait);
	if (apikey_window_wait(&then, max, cost, now + wait) != 0)
		return false;
	then = moved(window, per, now + wait - 1);
	return apikey_window_wait(&then, max, cost, now + wait - 1) == 1;
}

static bool
reset_is_right(const ApikeyWindow *window, int64_t per, int64_t now)
{
	int64_t		reset = apikey_window_reset(window, now);
	ApikeyWindow then = moved(window, per, now + reset);

	if (then.used != 0 || !apikey_window_is_empty(window, now + reset))
		return false;
	if (reset == 0)
		return window->used == 0;
	then = moved(window, per, now + reset - 1);
	return then.used > 0 && !apikey_window_is_empty(window, now + reset - 1);
}

/* A random step of time: often none, rarely longer than the window */
static int64_t
step(uint64_t *seed, int64_t per)
{
	switch (unit_below(seed, 6))
	{
		case 0:
			return 0;
		case 1:
			return unit_below(seed, 3);
		case 2:
			return (int64_t) (unit_random(seed) % (uint64_t) (20 * per)) + 1;
		case 3:
			return per * unit_below(seed, 18);
		default:
			return (int64_t) (unit_random(seed) % (uint64_t) (per / 2 + 1));
	}
}

/*
 * One window, used at random times, with a max that changes.
 */
static void
test_sequence(uint64_t number)
{
	uint64_t	seed = number;
	static const int64_t lengths[] = {1000, 1001, 60 * INT64_C(1000000), 3600 * INT64_C(1000000), 31 * 86400 * INT64_C(1000000), 1234567};
	ApikeyWindow window = {0};
	Reference	reference = {0};
	int64_t		per = lengths[unit_below(&seed, LENGTH_OF(lengths))];
	int64_t		now = (int64_t) (unit_random(&seed) % (INT64_C(1) << 50));
	int			max = 1 + unit_below(&seed, 50);
	bool		within = true;
	bool		exact = true;
	bool		waits = true;
	bool		resets = true;

	for (int i = 0; i < 2000; i++)
	{
		int64_t		cost = unit_below(&seed, 4) == 0 ? unit_below(&seed, max + 3) : 1;
		int64_t		least;
		int64_t		most;

		now += step(&seed, per);
		if (unit_below(&seed, 200) == 0)
			max = 1 + unit_below(&seed, 50);
		apikey_window_move(&window, per, now);

		/* not even the stretch with both its ends has more than max */
		least = used_since(&reference, now - APIKEY_TICKS_PER_USEC * per);
		most = used_since(&reference, now - APIKEY_WINDOW_PARTS * per + 1);
		within &= window.used >= least && window.used <= most;
		resets &= reset_is_right(&window, per, now);
		if (apikey_window_wait(&window, max, cost, now) == 0)
		{
			exact &= least + cost <= max;
			apikey_window_use(&window, cost);
			remember(&reference, now, cost);
		}
		else
		{
			exact &= most + cost > max;
			waits &= wait_is_right(&window, per, max, cost, now);
		}
	}
	CHECK(within, "seed %llu: what counts", (unsigned long long) number);
	CHECK(exact, "seed %llu: never more than max, never refused without need", (unsigned long long) number);
	CHECK(waits, "seed %llu: how long to wait", (unsigned long long) number);
	CHECK(resets, "seed %llu: when all is free", (unsigned long long) number);
}

/*
 * A window whose length changes forgets nothing that it knew and that counts.
 */
static void
test_lengths(uint64_t number)
{
	uint64_t	seed = number;
	ApikeyWindow window = {0};
	Reference	reference = {0};
	int64_t		per = 1000 + unit_below(&seed, 1000);
	int64_t		known = 0;		/* what was used before may be forgotten */
	int64_t		now = 1;
	bool		kept = true;

	for (int i = 0; i < 1000; i++)
	{
		now += step(&seed, per);
		if (unit_below(&seed, 10) == 0)
		{
			int64_t		longest = now - APIKEY_TICKS_PER_USEC * per;

			if (longest > known)
				known = longest;
			per = 1000 + unit_below(&seed, 100000);
		}
		apikey_window_move(&window, per, now);
		if (now - APIKEY_TICKS_PER_USEC * per > known)
			known = now - APIKEY_TICKS_PER_USEC * per;
		kept &= window.used >= used_since(&reference, known);
		apikey_window_use(&window, 1);
		remember(&reference, now, 1);
	}
	CHECK(kept, "seed %llu: lengths", (unsigned long long) number);
}

/*
 * Two that become one hold at least what both held.
 */
static void
test_merge(uint64_t number)
{
	uint64_t	seed = number;
	ApikeyWindow one = {0};
	ApikeyWindow other = {0};
	Reference	reference = {0};
	int64_t		per = 5000;
	int64_t		other_per = 1000 + unit_below(&seed, 10000);
	int64_t		shorter = per < other_per ? per : other_per;
	int64_t		now = 123456;
	int64_t		least;

	for (int i = 0; i < 50; i++)
	{
		now += unit_below(&seed, 2000);
		apikey_window_move(&one, per, now);
		apikey_window_move(&other, other_per, now);
		apikey_window_use(unit_below(&seed, 2) ? &one : &other, 1);
		remember(&reference, now, 1);
	}
	least = used_since(&reference, now - APIKEY_TICKS_PER_USEC * shorter);
	apikey_window_merge(&one, &other, now);
	CHECK(one.used >= least, "seed %llu: merged", (unsigned long long) number);
	CHECK(reset_is_right(&one, per, now), "seed %llu: merged, and reset", (unsigned long long) number);
}

/* Small cases by hand */
static void
test_cases(void)
{
	ApikeyWindow window = {0};
	int64_t		per = 1600;		/* microseconds; a part is 1600 ticks */
	int64_t		now = 1000000 * per;

	CHECK(apikey_window_is_empty(&window, now), "never used");
	apikey_window_move(&window, per, now);
	CHECK(apikey_window_wait(&window, 1, 1, now) == 0, "first");
	CHECK(apikey_window_wait(&window, 1, 2, now) == -1, "never");
	apikey_window_use(&window, 1);
	CHECK(apikey_window_wait(&window, 1, 1, now) == 17 * per, "at the start of a part: 17/16");
	CHECK(apikey_window_wait(&window, 1, 0, now) == 0, "what costs nothing");
	CHECK(apikey_window_wait(&window, 2, 1, now) == 0, "a higher max");
	now += 17 * per - 1;
	apikey_window_move(&window, per, now);
	CHECK(window.used == 1, "until the last tick");
	apikey_window_move(&window, per, now + 1);
	CHECK(window.used == 0, "and no longer");

	/* a clock that goes back frees nothing and breaks nothing */
	apikey_window_use(&window, 3);
	apikey_window_move(&window, per, now - 100 * per);
	CHECK(window.used == 3, "back");
	apikey_window_use(&window, UINT32_MAX);
	apikey_window_use(&window, UINT32_MAX);
	CHECK(window.used == UINT32_MAX, "as good as infinite");
}

int
main(void)
{
	test_cases();
	for (uint64_t seed = 1; seed <= 300; seed++)
	{
		test_sequence(seed);
		test_lengths(seed);
		test_merge(seed);
	}
	return unit_finish("test_window");
}

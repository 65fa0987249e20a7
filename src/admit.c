/*
 * admit.c
 *		Admission: limits, quota and credits of a request that passed all
 *		other checks.
 *
 * They are gathered as meters, which are looked at and used all together.
 * What a counter begins with is read from the tables by whoever needs it
 * first; meanwhile others wait.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "admit.h"
#include "compat.h"
#include "consumed.h"
#include "decide.h"
#include "meter.h"
#include "settings.h"

/* Room for so many meters on the stack */
#define METERS_MAX		8

/* How long to wait for a counter that somebody else is loading */
#define WAIT_USECS		1000
#define WAITS_MAX		10000

#define SECS_PER_QUOTA	(24 * 60 * 60)

/* All that limits one call; windows first, then what is there of the rest */
typedef struct Gauges
{
	ApikeyDecision *decision;
	const ApikeyLimit *const *limits;
	int			nlimits;
	int			quota;			/* number of the meter, -1: none */
	int			key_credits;
	int			account_credits;
	TimestampTz key_refill;		/* when it will suffice; DT_NOEND: never */
	TimestampTz account_refill;
	int			count;
	ApikeyMeter *meters;
	ApikeyMeter stack[METERS_MAX];
} Gauges;

static ApikeyText
text_of(Datum value)
{
	text	   *data = DatumGetTextPP(value);

	return (ApikeyText) {VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data), false};
}

int64
apikey_limit_max_here(const ApikeyLimit *limit)
{
	if (apikey_node_share >= 1.0)
		return limit->max;
	return Max(1, (int64) (limit->max * apikey_node_share));
}

static ApikeyMeter *
add_meter(Gauges *gauges, ApikeyMeterSort sort, int64 max, int64 cost)
{
	ApikeyMeter *meter = &gauges->meters[gauges->count++];

	meter->sort = sort;
	meter->max = max;
	meter->cost = cost;
	meter->per = 0;
	meter->period = 0;
	meter->hash = 0;
	return meter;
}

/*
 * Limits and the hashes of their meters may have been remembered with the key.
 */
static void
add_windows(Gauges *gauges, const pg_uuid_t *lineage, const ApikeyText *account,
			ApikeyLimitsMemo *memo)
{
	ApikeyMeterKey of_account = {0};
	bool		known = memo != NULL && memo->number != 0;
	bool		hashed = false;

	for (int i = 0; i < gauges->nlimits; i++)
	{
		const ApikeyLimit *limit = gauges->limits[i];
		ApikeyMeter *meter = add_meter(gauges, APIKEY_METER_WINDOW,
									   apikey_limit_max_here(limit),
									   limit->weighted ?
									   gauges->decision->request->cost : 1);

		if (limit->shared && !hashed)
		{
			apikey_meter_of_account(&of_account, account->data, account->len);
			hashed = true;
		}
		if (limit->shared)
			meter->key = of_account;
		else
			apikey_meter_of_key(&meter->key, lineage);
		meter->key.name = limit->meter;
		meter->per = limit->per;
		if (known)
			meter->hash = memo->hash[i];
		else
		{
			meter->hash = apikey_meter_hash(&meter->key);
			apikey_meter_prefetch(meter->hash);
		}
		if (memo != NULL)
			memo->hash[i] = meter->hash;
	}
}

static void
add_quota(Gauges *gauges, const ApikeyText *account)
{
	int64		max = gauges->decision->account->max_requests_per_day;
	ApikeyMeter *meter;

	gauges->quota = -1;
	if (max < 0)
		return;
	gauges->quota = gauges->count;
	meter = add_meter(gauges, APIKEY_METER_QUOTA, max, 1);
	apikey_meter_of_account(&meter->key, account->data, account->len);
	meter->key.name = apikey_meter_name("quota", "day", "");
	meter->period = gauges->decision->now / USECS_PER_DAY;
}

/*
 * Add a balance if there is one; returns its number.
 */
static int
add_credits(Gauges *gauges, const ApikeyCredit *credit, uint64 *epoch,
			TimestampTz *refill)
{
	int64		period;
	ApikeyMeter *meter;

	*epoch = 0;
	if (credit == NULL)
		return -1;
	period = apikey_credit_period(credit, gauges->decision->now, refill);
	if (credit->refill_amount < gauges->decision->request->cost)
		*refill = DT_NOEND;
	*epoch = credit->epoch + period;
	meter = add_meter(gauges, APIKEY_METER_CREDITS,
					  apikey_credit_granted(credit, period),
					  gauges->decision->request->cost);
	apikey_meter_of_epoch(&meter->key, *epoch);
	return gauges->count - 1;
}

static void
gather(Gauges *gauges, ApikeyDecision *d)
{
	ApikeyText	account = text_of(d->key->value[KEY_ACCOUNT]);
	ApikeyText	kind = text_of(d->key->value[KEY_KIND]);
	const pg_uuid_t *key_id = DatumGetUUIDP(d->key->value[KEY_KEY_ID]);
	const pg_uuid_t *lineage = d->key->null[KEY_LINEAGE] ? key_id :
		DatumGetUUIDP(d->key->value[KEY_LINEAGE]);
	ApikeyLimitsMemo *memo = d->memo != NULL ? &d->memo->limits : NULL;
	uint64		number = apikey_limits_number();
	const ApikeyCredit *credit;

	gauges->decision = d;
	gauges->count = 0;
	if (memo != NULL && number != 0 && memo->number == number)
	{
		gauges->limits = memo->limit;
		gauges->nlimits = memo->count;
	}
	else
	{
		gauges->nlimits = apikey_limits_of(key_id, account.data, account.len,
										   kind.data, kind.len,
										   &gauges->limits);
		if (memo != NULL)
			memo->number = 0;
		if (number == 0 || gauges->nlimits > APIKEY_MEMO_LIMITS)
			memo = NULL;
	}
	gauges->meters = gauges->nlimits + 3 <= METERS_MAX ? gauges->stack :
		palloc((gauges->nlimits + 3) * sizeof(ApikeyMeter));
	add_windows(gauges, lineage, &account, memo);
	if (memo != NULL && memo->number == 0)
	{
		memcpy(memo->limit, gauges->limits,
			   gauges->nlimits * sizeof(*gauges->limits));
		memo->count = gauges->nlimits;
		/* what was read meanwhile must not be read anew: it is in use */
		memo->number = apikey_limits_number_holds(number) ? number : 0;
	}
	add_quota(gauges, &account);
	credit = apikey_credit_of_key(lineage);
	gauges->key_credits = add_credits(gauges, credit, &d->admission.key_epoch,
									  &gauges->key_refill);
	credit = apikey_credit_of_account(account.data, account.len);
	gauges->account_credits = add_credits(gauges, credit,
										  &d->admission.account_epoch,
										  &gauges->account_refill);
}

/*
 * What a counter begins with.
 */
static int64
tally(Gauges *gauges, int number)
{
	ApikeyText	account;

	if (number == gauges->key_credits)
		return apikey_consumed_credits(gauges->decision->admission.key_epoch);
	if (number == gauges->account_credits)
		return apikey_consumed_credits(gauges->decision->admission.account_epoch);
	account = text_of(gauges->decision->key->value[KEY_ACCOUNT]);
	return apikey_consumed_quota(account.data, account.len,
							  gauges->meters[number].period);
}

static void
load_counter(Gauges *gauges, int number)
{
	int64		used;

	PG_TRY();
	{
		used = tally(gauges, number);
		apikey_meter_loaded(&gauges->meters[number], used);
	}
	PG_CATCH();
	{
		apikey_meter_not_loaded(&gauges->meters[number]);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/*
 * Use all meters, or none; false if that cannot be told.
 */
static bool
spend(Gauges *gauges, bool *refused)
{
	int			waits = 0;
	int			number;

	for (;;)
	{
		ApikeySpend result = apikey_meters_spend(gauges->meters, gauges->count,
												 &number);

		*refused = result == APIKEY_REFUSED;
		if (result == APIKEY_SPENT || result == APIKEY_REFUSED)
			return true;
		if (result == APIKEY_NO_ROOM || waits++ > WAITS_MAX)
			return false;
		CHECK_FOR_INTERRUPTS();
		if (result == APIKEY_LOAD)
			load_counter(gauges, number);
		else
			pg_usleep(WAIT_USECS);
	}
}

/*
 * Learn what other servers have spent of a counter.
 */
static void
refresh(Gauges *gauges)
{
	for (int i = gauges->nlimits; i < gauges->count; i++)
	{
		if (gauges->meters[i].stale)
			apikey_meter_refreshed(&gauges->meters[i], tally(gauges, i));
	}
}

/*
 * The same without using anything, for explain.
 */
static void
look(Gauges *gauges)
{
	apikey_meters_look(gauges->meters, gauges->count);
	for (int i = 0; i < gauges->count; i++)
	{
		ApikeyMeter *meter = &gauges->meters[i];

		if (meter->known)
			continue;
		meter->used = tally(gauges, i);
		meter->wait = meter->cost > 0 && meter->cost > meter->max - meter->used ? -1 : 0;
	}
}

static int32
clamp(int64 value)
{
	return (int32) Min(Max(value, 0), PG_INT32_MAX);
}

static int32
seconds(int64 ticks)
{
	return clamp((ticks + APIKEY_TICKS_PER_SEC - 1) / APIKEY_TICKS_PER_SEC);
}

static int64
usecs_to_seconds(int64 usecs)
{
	return (usecs + USECS_PER_SEC - 1) / USECS_PER_SEC;
}

/*
 * Seconds until a limit lets the call pass; -1: never.
 */
static int64
wait_of(const Gauges *gauges, int number)
{
	const ApikeyMeter *meter = &gauges->meters[number];
	TimestampTz now = gauges->decision->now;

	if (number != gauges->quota)
		return meter->wait <= 0 ? meter->wait : seconds(meter->wait);
	if (meter->wait == 0)
		return 0;
	return meter->max < meter->cost ? -1 :
		usecs_to_seconds((meter->period + 1) * USECS_PER_DAY - now);
}

/*
 * Longer to wait, where never is longest?
 */
static bool
waits_longer(int64 a, int64 b)
{
	return b != -1 && (a == -1 || a > b);
}

/*
 * Describe in the verdict the limit that refuses and waits longest, else the
 * one with the least left.
 */
static void
describe_limit(const Gauges *gauges)
{
	ApikeyAdmission *admission = &gauges->decision->admission;
	int			chosen = -1;
	int64		chosen_wait = 0;
	int64		left = 0;
	int			nlimits = gauges->nlimits + (gauges->quota >= 0);

	for (int i = 0; i < nlimits; i++)
	{
		const ApikeyMeter *meter = &gauges->meters[i];
		int64		wait = wait_of(gauges, i);
		int64		rest = Max(meter->max - meter->used, 0);

		if (chosen < 0 || waits_longer(wait, chosen_wait) ||
			(chosen_wait == 0 && rest < left))
		{
			chosen = i;
			chosen_wait = wait;
			left = rest;
		}
	}
	if (chosen < 0)
		return;
	admission->has_limit = true;
	admission->limit_max = clamp(gauges->meters[chosen].max);
	admission->limit_remaining = clamp(left);
	admission->limit = chosen == gauges->quota ? 0 :
		gauges->limits[chosen]->serial;
	if (chosen == gauges->quota)
	{
		strlcpy(admission->limit_name, APIKEY_QUOTA_NAME,
				sizeof(admission->limit_name));
		admission->limit_per = SECS_PER_QUOTA;
		admission->limit_reset =
			clamp(usecs_to_seconds((gauges->meters[chosen].period + 1) *
								   USECS_PER_DAY - gauges->decision->now));
	}
	else
	{
		strlcpy(admission->limit_name, gauges->limits[chosen]->name,
				sizeof(admission->limit_name));
		admission->limit_per =
			clamp(usecs_to_seconds(gauges->meters[chosen].per));
		admission->limit_reset = seconds(gauges->meters[chosen].reset);
	}
	admission->has_retry_after = chosen_wait > 0;
	admission->retry_after = clamp(chosen_wait);
}

static int64
balance(const Gauges *gauges, int number)
{
	if (number < 0)
		return PG_INT64_MAX;
	return Max(gauges->meters[number].max - gauges->meters[number].used, 0);
}

static bool
refuses(const Gauges *gauges, int number)
{
	return number >= 0 && gauges->meters[number].wait != 0;
}

/*
 * Credits are all that is missing: wait for their refill, if the call can be
 * paid then.
 */
static void
describe_refill(const Gauges *gauges)
{
	ApikeyAdmission *admission = &gauges->decision->admission;
	TimestampTz at = 0;

	if (refuses(gauges, gauges->key_credits))
		at = Max(at, gauges->key_refill);
	if (refuses(gauges, gauges->account_credits))
		at = Max(at, gauges->account_refill);
	admission->has_retry_after = at != DT_NOEND;
	if (at != DT_NOEND)
		admission->retry_after =
			clamp(usecs_to_seconds(at - gauges->decision->now));
}

/*
 * Fill in what the verdict says.
 */
static void
describe(const Gauges *gauges, bool refused)
{
	ApikeyDecision *d = gauges->decision;
	ApikeyAdmission *admission = &d->admission;
	bool		limited = false;

	describe_limit(gauges);
	admission->credits_remaining = Min(balance(gauges, gauges->key_credits),
									   balance(gauges, gauges->account_credits));
	admission->has_credits = gauges->key_credits >= 0 ||
		gauges->account_credits >= 0;
	if (!refused || d->code != APIKEY_VALID)
		return;
	for (int i = 0; i < gauges->nlimits; i++)
		limited |= refuses(gauges, i);
	if (limited)
		d->code = APIKEY_RATE_LIMITED;
	else if (refuses(gauges, gauges->quota))
		d->code = APIKEY_QUOTA_EXCEEDED;
	else
	{
		d->code = APIKEY_CREDITS_EXHAUSTED;
		describe_refill(gauges);
	}
}

/*
 * Tell the trace about each meter.
 */
static void
note_all(const Gauges *gauges, ApikeyTrace *trace)
{
	for (int i = 0; i < gauges->count; i++)
	{
		const ApikeyMeter *meter = &gauges->meters[i];
		char	   *step;
		StringInfoData detail;

		initStringInfo(&detail);
		if (meter->sort == APIKEY_METER_CREDITS)
		{
			step = i == gauges->key_credits ? "credits of the key" :
				"credits of the account";
			appendStringInfo(&detail, INT64_FORMAT " left, cost " INT64_FORMAT,
							 balance(gauges, i), meter->cost);
		}
		else
		{
			step = psprintf("limit %s", i == gauges->quota ? APIKEY_QUOTA_NAME :
							gauges->limits[i]->name);
			appendStringInfo(&detail, INT64_FORMAT " of " INT64_FORMAT " used",
							 meter->used, meter->max);
			if (meter->cost != 1)
				appendStringInfo(&detail, ", cost " INT64_FORMAT, meter->cost);
		}
		trace->note(trace, step, meter->wait == 0, detail.data);
		pfree(detail.data);
	}
}

void
apikey_admit(ApikeyDecision *d, ApikeyTrace *trace)
{
	Gauges		gauges;
	bool		refused = false;

	memset(&d->admission, 0, sizeof(d->admission));
	gather(&gauges, d);
	if (gauges.count == 0)
		return;
	if (trace)
	{
		look(&gauges);
		for (int i = 0; i < gauges.count; i++)
			refused |= refuses(&gauges, i);
		note_all(&gauges, trace);
	}
	else if (!spend(&gauges, &refused))
	{
		/* closed, never open */
		d->code = APIKEY_UNAVAILABLE;
		return;
	}
	describe(&gauges, refused);
	if (!trace)
		refresh(&gauges);
}

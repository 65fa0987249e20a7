/*
 * failure.c
 *		Notes errors of transactions that work for a key among the key's
 *		recent errors, without any doing of the application.
 *
 * Whoever is told of a transaction's abort is not told why; the hook below is
 * told of an error while that is on its way to the server's log, before the
 * abort.  So an error that log_min_messages hides is not noted.  An error in a
 * subtransaction is forgotten when that is rolled back and work goes on; one
 * that a function catches is never on its way to the log.
 *
 * Both run in the middle of error handling: nothing is allocated, raised or
 * waited for.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/elog.h"
#include "utils/timestamp.h"

#include "buffer.h"
#include "failure.h"
#include "identity.h"
#include "sqlstate.h"

/*
 * A backend writes so many of our refusals to the log: whoever tries keys must
 * not fill the disk.  They are counted in apikey.stats_by_code.
 */
#define REFUSAL_LOG_INTERVAL_MS	1000

static emit_log_hook_type next_hook = NULL;

/* The error on its way */
static bool has_failed = false;
static ApikeyEvent failure;
static size_t failure_len;

static void
note_failure(const ErrorData *edata, const ApikeyIdentity *identity)
{
	char	   *sqlstate = unpack_sql_state(edata->sqlerrcode);
	int			status = apikey_sqlstate_status(sqlstate, edata->detail);

	if (status < 400)
		return;
	failure = identity->failure;
	failure_len = identity->failure_len;
	failure.head.status = status;
	failure.head.at = GetCurrentTimestamp();
	memcpy(failure.bytes + sizeof(ApikeyEventHead), sqlstate,
		   APIKEY_SQLSTATE_LEN);
	has_failed = true;
}

static void
thin_out(ErrorData *edata)
{
	static TimestampTz last = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (now >= last && !TimestampDifferenceExceeds(last, now,
												   REFUSAL_LOG_INTERVAL_MS))
		edata->output_to_server = false;
	else
		last = now;
}

static void
on_log(ErrorData *edata)
{
	if (edata->elevel >= ERROR && edata->elevel < PANIC)
	{
		const ApikeyIdentity *identity = apikey_identity_bound();

		/* verify has counted it */
		if (edata->domain != NULL &&
			strcmp(edata->domain, APIKEY_REFUSAL_DOMAIN) == 0)
			thin_out(edata);
		else if (identity != NULL)
			note_failure(edata, identity);
	}
	if (next_hook)
		next_hook(edata);
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT && has_failed)
		(void) apikey_buffer_put_now(&failure, failure_len);
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_COMMIT ||
		event == XACT_EVENT_PREPARE)
		has_failed = false;
}

/*
 * After an error in a subtransaction, another one begins only once that is
 * rolled back: the transaction goes on.
 */
static void
at_subtransaction(SubXactEvent event, SubTransactionId id,
				  SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_START_SUB)
		has_failed = false;
}

void
apikey_failure_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction, NULL);
	next_hook = emit_log_hook;
	emit_log_hook = on_log;
}

/*
 * context_setting.c
 *		The setting apikey.context, as far as this transaction set it.
 *
 * A value that outlives its transaction, set by SET without LOCAL or with the
 * role or database, must not work for whoever uses the connection next.  So
 * each value remembers the transaction in which it came.  What remembers it
 * is the value's "extra", which the server puts back together with the value
 * when it restores an older one.
 *
 * The hooks read nothing and never fail: whatever it is, it is looked at when
 * somebody asks who we are.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/guc.h"

#include "compat.h"
#include "context_setting.h"

static char *context = NULL;
static uint64 context_transaction = 0;	/* in which it was set; 0: none */
static uint64 current_transaction = 1;	/* counted by this backend */
static uint64 changes = 0;

static bool
check_context(char **newval, void **extra, GucSource source)
{
	uint64	   *transaction;

	if ((*newval)[0] == '\0')
		return true;
	transaction = apikey_guc_alloc(sizeof(uint64));
	if (transaction == NULL)
		return false;
	*transaction = source == PGC_S_SESSION && IsTransactionState() ?
		current_transaction : 0;
	*extra = transaction;
	return true;
}

static void
assign_context(const char *newval, void *extra)
{
	context_transaction = extra == NULL ? 0 : *(uint64 *) extra;
	changes++;
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PREPARE:
			current_transaction++;
			changes++;
			break;
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			break;
	}
}

void
apikey_context_setting_init(void)
{
	DefineCustomStringVariable("apikey.context",
							   "Sealed identity that this transaction is to work for.",
							   "Made by apikey.open_context(); set it with SET LOCAL.",
							   &context, "", PGC_USERSET,
							   GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE |
							   GUC_DISALLOW_IN_FILE,
							   check_context, assign_context, NULL);
	RegisterXactCallback(at_transaction_end, NULL);
}

const char *
apikey_context_setting(uint64 *version)
{
	*version = changes;
	return context_transaction == current_transaction ? context : NULL;
}

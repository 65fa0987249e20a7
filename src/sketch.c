/*
 * sketch.c
 *		The SQL type apikey.sketch: an approximate set of addresses that can
 *		be merged and counted (HyperLogLog by the server's lib/hyperloglog.c).
 *
 * A value of few addresses is a list of the registers that are not zero
 * (registers.h), three bytes each; others have a byte a register.  Functions
 * work on the latter, and shorten what they return.  Who sees registers and can add addresses
 * of his choice can work out what an address does to them, so adding is for
 * auditors and the owner alone.
 */
#include "postgres.h"

#include <math.h>
#include <sys/socket.h>

#include "fmgr.h"
#include "lib/hyperloglog.h"
#include "libpq/pqformat.h"
#include "utils/inet.h"

#include "address.h"
#include "catalog.h"
#include "compat.h"
#include "netlist.h"
#include "record.h"
#include "secret.h"
#include "sketch.h"

#define SKETCH_BINARY_VERSION	1

/* Text form: \x and two digits a register */
#define TEXT_PREFIX				"\\x"
#define TEXT_PREFIX_LEN			2
#define TEXT_LEN				(TEXT_PREFIX_LEN + 2 * APIKEY_SKETCH_REGISTERS)
#define DIGIT_BITS				4
#define DIGIT_MASK				0xf

#define HASH_BYTES				4

/* Between these, in addresses, the server's estimate is replaced. */
#define MIDDLE_FROM				(1.5 * APIKEY_SKETCH_REGISTERS)
#define MIDDLE_TO				(4.0 * APIKEY_SKETCH_REGISTERS)

/* More cannot be told apart by hashes of 32 bits. */
#define CARDINALITY_MAX			4294967296.0

#define PG_GETARG_SKETCH(n)	open_sketch(PG_GETARG_DATUM(n))

static bool
is_short(const struct varlena *value)
{
	return VARSIZE_ANY_EXHDR(value) != APIKEY_SKETCH_REGISTERS;
}

static const uint8 *
bytes_of(const struct varlena *value)
{
	return (const uint8 *) VARDATA_ANY(value);
}

static void
require_good(const struct varlena *value)
{
	if (is_short(value) &&
		!apikey_sparse_check(bytes_of(value), VARSIZE_ANY_EXHDR(value)))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("value of type apikey.sketch is damaged"),
				 errdetail("Its %d bytes are neither %d registers nor a list of some.",
						   (int) VARSIZE_ANY_EXHDR(value),
						   APIKEY_SKETCH_REGISTERS),
				 errhint("Restore the row from a backup, or set the column to NULL.")));
}

static ApikeySketch *
new_sketch(void)
{
	ApikeySketch *sketch = palloc0(sizeof(ApikeySketch));

	SET_VARSIZE(sketch, sizeof(ApikeySketch));
	return sketch;
}

/*
 * A copy with all registers.
 */
static ApikeySketch *
expand(const struct varlena *value)
{
	ApikeySketch *sketch = new_sketch();

	if (is_short(value))
		apikey_sparse_expand(bytes_of(value), VARSIZE_ANY_EXHDR(value),
							 sketch->registers);
	else
		memcpy(sketch->registers, bytes_of(value), APIKEY_SKETCH_REGISTERS);
	return sketch;
}

/*
 * A value for reading.
 */
static const ApikeySketch *
open_sketch(Datum datum)
{
	struct varlena *value = PG_DETOAST_DATUM(datum);

	require_good(value);
	return is_short(value) ? expand(value) : (ApikeySketch *) value;
}

/*
 * The first argument, for writing: a new one for NULL, the state itself if it
 * is an aggregate's and plain, else a copy.  The first state may be a short or
 * toasted value, as it came.
 */
static ApikeySketch *
sketch_to_change(FunctionCallInfo fcinfo)
{
	struct varlena *value;

	if (PG_ARGISNULL(0))
		return new_sketch();
	value = (struct varlena *) PG_GETARG_POINTER(0);
	if (!VARATT_IS_EXTENDED(value) && !is_short(value) &&
		AggCheckCallContext(fcinfo, NULL))
		return (ApikeySketch *) value;
	value = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	require_good(value);
	return expand(value);
}

static struct varlena *
make_short(const uint8 *bytes, size_t len)
{
	struct varlena *value = palloc(VARHDRSZ + len);

	SET_VARSIZE(value, VARHDRSZ + len);
	memcpy(VARDATA(value), bytes, len);
	return value;
}

/*
 * A result: an aggregate's state stays as it is, to be changed again; others
 * are shortened if they can be.
 */
static Datum
result_of(FunctionCallInfo fcinfo, ApikeySketch *sketch)
{
	uint8		bytes[APIKEY_SPARSE_BYTES_MAX];
	size_t		len;

	if (AggCheckCallContext(fcinfo, NULL) ||
		!apikey_sparse_pack(sketch->registers, bytes, &len))
		PG_RETURN_POINTER(sketch);
	PG_RETURN_POINTER(make_short(bytes, len));
}

/*
 * What the server's functions work on.
 */
static hyperLogLogState
state_of(ApikeySketch *sketch)
{
	hyperLogLogState state = {
		.registerWidth = APIKEY_SKETCH_WIDTH,
		.nRegisters = APIKEY_SKETCH_REGISTERS,
		.hashesArr = sketch->registers,
		.arrSize = APIKEY_SKETCH_REGISTERS
	};

	return state;
}

/*
 * Value of a hexadecimal digit, or -1.
 */
static int
digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/*
 * Read the text form; NULL after a soft error.  The text is not repeated: the
 * place of the fault has to do.
 */
static ApikeySketch *
sketch_of_text(const char *text, Node *escontext)
{
	ApikeySketch *sketch;
	const char *digits = text + TEXT_PREFIX_LEN;

	if (strlen(text) != TEXT_LEN ||
		memcmp(text, TEXT_PREFIX, TEXT_PREFIX_LEN) != 0)
		ereturn(escontext, NULL,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type apikey.sketch"),
				 errdetail("It has \\x and %d hexadecimal digits.",
						   2 * APIKEY_SKETCH_REGISTERS),
				 errhint("Sketches are made by apikey.sketch_agg(inet).")));
	sketch = new_sketch();
	for (int i = 0; i < APIKEY_SKETCH_REGISTERS; i++)
	{
		int			high = digit_value(digits[2 * i]);
		int			low = digit_value(digits[2 * i + 1]);

		if (high < 0 || low < 0 ||
			(high << DIGIT_BITS | low) > APIKEY_SKETCH_RANK_MAX)
			ereturn(escontext, NULL,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("invalid input syntax for type apikey.sketch"),
					 errdetail("Register %d is no hexadecimal number up to %x.",
							   i + 1, APIKEY_SKETCH_RANK_MAX),
					 errhint("Sketches are made by apikey.sketch_agg(inet).")));
		sketch->registers[i] = high << DIGIT_BITS | low;
	}
	return sketch;
}

PG_FUNCTION_INFO_V1(apikey_sql_sketch_in);
Datum
apikey_sql_sketch_in(PG_FUNCTION_ARGS)
{
	ApikeySketch *sketch = sketch_of_text(PG_GETARG_CSTRING(0),
										  apikey_soft_context(fcinfo));

	if (sketch == NULL)
		PG_RETURN_NULL();
	return result_of(fcinfo, sketch);
}

PG_FUNCTION_INFO_V1(apikey_sql_sketch_out);
Datum
apikey_sql_sketch_out(PG_FUNCTION_ARGS)
{
	static const char digit[] = "0123456789abcdef";
	const ApikeySketch *sketch = PG_GETARG_SKETCH(0);
	char	   *text = palloc(TEXT_LEN + 1);
	char	   *end = text + TEXT_PREFIX_LEN;

	memcpy(text, TEXT_PREFIX, TEXT_PREFIX_LEN);
	for (int i = 0; i < APIKEY_SKETCH_REGISTERS; i++)
	{
		*end++ = digit[sketch->registers[i] >> DIGIT_BITS];
		*end++ = digit[sketch->registers[i] & DIGIT_MASK];
	}
	*end = '\0';
	PG_RETURN_CSTRING(text);
}

static void
bad_binary(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("invalid binary value of type apikey.sketch"),
			 errdetail("%s", detail),
			 errhint("Send what was received from this or an older version, or send the value as text.")));
}

PG_FUNCTION_INFO_V1(apikey_sql_sketch_recv);

/*
 * Binary form: a version byte, then the registers.
 */
Datum
apikey_sql_sketch_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buffer = (StringInfo) PG_GETARG_POINTER(0);
	ApikeySketch *sketch;

	if (buffer->len - buffer->cursor != 1 + APIKEY_SKETCH_REGISTERS)
		bad_binary("It has a version byte and 4096 registers.");
	if (pq_getmsgbyte(buffer) != SKETCH_BINARY_VERSION)
		bad_binary("Its version is unknown.");
	sketch = new_sketch();
	pq_copymsgbytes(buffer, (char *) sketch->registers,
					APIKEY_SKETCH_REGISTERS);
	for (int i = 0; i < APIKEY_SKETCH_REGISTERS; i++)
	{
		if (sketch->registers[i] > APIKEY_SKETCH_RANK_MAX)
			bad_binary("A register is too large.");
	}
	return result_of(fcinfo, sketch);
}

PG_FUNCTION_INFO_V1(apikey_sql_sketch_send);
Datum
apikey_sql_sketch_send(PG_FUNCTION_ARGS)
{
	const ApikeySketch *sketch = PG_GETARG_SKETCH(0);
	StringInfoData buffer;

	pq_begintypsend(&buffer);
	pq_sendbyte(&buffer, SKETCH_BINARY_VERSION);
	pq_sendbytes(&buffer, (char *) sketch->registers,
				 APIKEY_SKETCH_REGISTERS);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

/*
 * What zero registers weigh, by their share (Ertl, "New cardinality
 * estimation algorithms for HyperLogLog sketches", 2017, equation 12).
 */
static double
weight_of_zeros(double share)
{
	double		sum = share;
	double		factor = 1.0;
	double		before;

	Assert(share >= 0.0 && share < 1.0);
	do
	{
		before = sum;
		share *= share;
		sum += share * factor;
		factor *= 2.0;
	} while (sum != before);
	return sum;
}

/*
 * Ertl's estimate, without its term for hashes that are used up.
 */
static double
estimate_middle(const ApikeySketch *sketch)
{
	double		sum = 0.0;
	int			zeros = 0;

	for (int i = 0; i < APIKEY_SKETCH_REGISTERS; i++)
	{
		if (sketch->registers[i] == 0)
			zeros++;
		else
			sum += ldexp(1.0, -sketch->registers[i]);
	}
	sum += APIKEY_SKETCH_REGISTERS *
		weight_of_zeros((double) zeros / APIKEY_SKETCH_REGISTERS);
	return (double) APIKEY_SKETCH_REGISTERS * APIKEY_SKETCH_REGISTERS /
		(2.0 * log(2.0) * sum);
}

PG_FUNCTION_INFO_V1(apikey_sql_sketch_cardinality);

/*
 * apikey.cardinality(apikey.sketch) returns bigint
 *		The server's estimate, but for the middle, where it passes from one
 *		formula to another and both are off: at 10,000 addresses by 3 %,
 *		root mean square, half of it bias.
 */
Datum
apikey_sql_sketch_cardinality(PG_FUNCTION_ARGS)
{
	const ApikeySketch *sketch = PG_GETARG_SKETCH(0);
	hyperLogLogState state;
	double		estimate;

	initHyperLogLog(&state, APIKEY_SKETCH_WIDTH);
	memcpy(state.hashesArr, sketch->registers, APIKEY_SKETCH_REGISTERS);
	estimate = estimateHyperLogLog(&state);
	freeHyperLogLog(&state);
	if (estimate > MIDDLE_FROM && estimate < MIDDLE_TO)
		estimate = estimate_middle(sketch);
	/* forged registers can bring it to take logarithms of what has none */
	if (isnan(estimate) || estimate > CARDINALITY_MAX)
		estimate = CARDINALITY_MAX;
	PG_RETURN_INT64((int64) rint(estimate));
}

/*
 * The union of two short values, outside an aggregate; NULL if that is not
 * what is asked for, or the result is too long.
 */
static struct varlena *
union_of_short(FunctionCallInfo fcinfo)
{
	const struct varlena *a;
	const struct varlena *b;
	uint8		bytes[2 * APIKEY_SPARSE_BYTES_MAX];
	size_t		len;
	bool		changed;

	if (AggCheckCallContext(fcinfo, NULL) || PG_ARGISNULL(0))
		return NULL;
	a = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	b = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(1));
	require_good(a);
	require_good(b);
	if (!is_short(a) || !is_short(b))
		return NULL;
	len = apikey_sparse_merge(bytes_of(a), VARSIZE_ANY_EXHDR(a),
							  bytes_of(b), VARSIZE_ANY_EXHDR(b),
							  bytes, &changed);
	if (!changed)
		return (struct varlena *) a;
	return len > APIKEY_SPARSE_BYTES_MAX ? NULL : make_short(bytes, len);
}

PG_FUNCTION_INFO_V1(apikey_sql_sketch_union);

/*
 * apikey.sketch_union(apikey.sketch, apikey.sketch) returns apikey.sketch
 *		Also the step of apikey.sketch_union_agg and what combines the states
 *		of both aggregates.
 */
Datum
apikey_sql_sketch_union(PG_FUNCTION_ARGS)
{
	struct varlena *both = union_of_short(fcinfo);
	ApikeySketch *sketch;
	const ApikeySketch *other;
	bool		changed = false;

	if (both != NULL)
		PG_RETURN_POINTER(both);
	sketch = sketch_to_change(fcinfo);
	other = PG_GETARG_SKETCH(1);
	for (int i = 0; i < APIKEY_SKETCH_REGISTERS; i++)
	{
		if (other->registers[i] <= sketch->registers[i])
			continue;
		sketch->registers[i] = other->registers[i];
		changed = true;
	}

	/* what is stored already need not be compressed again */
	if (!changed && !PG_ARGISNULL(0) && !AggCheckCallContext(fcinfo, NULL))
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	return result_of(fcinfo, sketch);
}

PG_FUNCTION_INFO_V1(apikey_sql_sketch_add_hashes);

/*
 * apikey.sketch_add_hashes(apikey.sketch, hashes bytea)
 *		returns apikey.sketch
 *		NULL for the sketch is the empty one; NULL for the hashes changes
 *		nothing.
 */
Datum
apikey_sql_sketch_add_hashes(PG_FUNCTION_ARGS)
{
	ApikeySketch *sketch;
	hyperLogLogState state;
	bytea	   *hashes;
	const unsigned char *byte;
	int			len;

	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	hashes = PG_GETARG_BYTEA_PP(1);
	len = VARSIZE_ANY_EXHDR(hashes);
	if (len % HASH_BYTES != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for argument \"hashes\""),
				 errdetail("It has %d bytes, no multiple of %d.", len,
						   HASH_BYTES),
				 errhint("Pass hashes of four bytes each.")));
	sketch = sketch_to_change(fcinfo);
	state = state_of(sketch);
	byte = (const unsigned char *) VARDATA_ANY(hashes);
	for (int i = 0; i < len; i += HASH_BYTES)
		addHyperLogLog(&state, (uint32) byte[i] << 24 |
					   (uint32) byte[i + 1] << 16 |
					   (uint32) byte[i + 2] << 8 | byte[i + 3]);
	return result_of(fcinfo, sketch);
}

/*
 * Hash an address; its mask is left aside.
 */
static bool
hash_inet(const inet *value, uint32 *hash)
{
	ApikeyNet	addr = {0};

	addr.family = ip_family(value) == PGSQL_AF_INET ? 4 : 6;
	addr.bits = ip_maxbits(value);
	memcpy(addr.addr, ip_addr(value), ip_addrsize(value));
	apikey_net_unmap(&addr);
	return apikey_address_hash(&addr, hash);
}

static void
make_secret(void)
{
	ApikeyPrivileges saved;

	apikey_require_writable("apikey.sketch_agg()");
	apikey_enter(&saved, NULL);
	apikey_secrets_ensure();
	apikey_leave(&saved);
}

PG_FUNCTION_INFO_V1(apikey_sql_sketch_add);

/*
 * apikey.sketch_add(apikey.sketch, inet) returns apikey.sketch
 *		Step of apikey.sketch_agg.  The very first one makes the secret, if no
 *		key was issued yet.  Errors: 25006 where it would have to and cannot.
 */
Datum
apikey_sql_sketch_add(PG_FUNCTION_ARGS)
{
	ApikeySketch *sketch;
	hyperLogLogState state;
	const inet *address;
	uint32		hash;

	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	address = PG_GETARG_INET_PP(1);
	if (!hash_inet(address, &hash))
	{
		make_secret();
		if (!hash_inet(address, &hash))
			elog(ERROR, "secret of addresses is not found though it was made");
	}
	sketch = sketch_to_change(fcinfo);
	state = state_of(sketch);
	addHyperLogLog(&state, hash);
	return result_of(fcinfo, sketch);
}

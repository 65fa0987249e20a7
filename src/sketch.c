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
#include "port/pg_bswap.h"
#include "utils/inet.h"

#include "address.h"
#include "catalog.h"
#include "netlist.h"
#include "record.h"
#include "secret.h"
#include "sketch.h"

/* Between these, in addresses, the server's estimate is replaced. */
#define MIDDLE_FROM				(1.5 * APIKEY_SKETCH_REGISTERS)
#define MIDDLE_TO				(4.0 * APIKEY_SKETCH_REGISTERS)

/* More cannot be told apart by hashes of 32 bits. */
#define CARDINALITY_MAX			4294967296.0

#define PG_GETARG_SKETCH(n)	apikey_sketch_open(PG_GETARG_DATUM(n))

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

ApikeySketch *
apikey_sketch_new(void)
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
	ApikeySketch *sketch = apikey_sketch_new();

	if (is_short(value))
		apikey_sparse_expand(bytes_of(value), VARSIZE_ANY_EXHDR(value),
							 sketch->registers);
	else
		memcpy(sketch->registers, bytes_of(value), APIKEY_SKETCH_REGISTERS);
	return sketch;
}

const ApikeySketch *
apikey_sketch_open(Datum datum)
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
		return apikey_sketch_new();
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

struct varlena *
apikey_sketch_shorten(ApikeySketch *sketch)
{
	uint8		bytes[APIKEY_SPARSE_BYTES_MAX];
	size_t		len;

	return apikey_sparse_pack(sketch->registers, bytes, &len) ?
		make_short(bytes, len) : (struct varlena *) sketch;
}

/*
 * A result: an aggregate's state stays as it is, to be changed again; others
 * are shortened if they can be.
 */
static Datum
result_of(FunctionCallInfo fcinfo, ApikeySketch *sketch)
{
	if (AggCheckCallContext(fcinfo, NULL))
		PG_RETURN_POINTER(sketch);
	PG_RETURN_POINTER(apikey_sketch_shorten(sketch));
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
 * The union of a short value and a list; NULL if it is too long.
 */
static const struct varlena *
unite_short(const struct varlena *a, const uint8 *b, size_t blen)
{
	uint8		bytes[2 * APIKEY_SPARSE_BYTES_MAX];
	size_t		len;
	bool		changed;

	len = apikey_sparse_merge(bytes_of(a), VARSIZE_ANY_EXHDR(a), b, blen,
							  bytes, &changed);
	if (!changed)
		return a;
	return len > APIKEY_SPARSE_BYTES_MAX ? NULL : make_short(bytes, len);
}

/*
 * The union of two short values, outside an aggregate; NULL if that is not
 * what is asked for, or the result is too long.
 */
static const struct varlena *
union_of_short(FunctionCallInfo fcinfo)
{
	const struct varlena *a;
	const struct varlena *b;

	if (AggCheckCallContext(fcinfo, NULL) || PG_ARGISNULL(0))
		return NULL;
	a = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	b = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(1));
	require_good(a);
	require_good(b);
	return is_short(a) && is_short(b) ?
		unite_short(a, bytes_of(b), VARSIZE_ANY_EXHDR(b)) : NULL;
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
	const struct varlena *both = union_of_short(fcinfo);
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

const struct varlena *
apikey_sketch_unite(const struct varlena *stored, const struct varlena *other)
{
	if (stored == NULL)
		return other;
	return (struct varlena *) DatumGetPointer(DirectFunctionCall2(apikey_sql_sketch_union,
																  PointerGetDatum(stored),
																  PointerGetDatum(other)));
}

uint32 *
apikey_sketch_hashes(const bytea *bytes, int *count)
{
	int			len = VARSIZE_ANY_EXHDR(bytes);
	uint32	   *hashes = palloc(Max(len, 1));

	if (len % sizeof(uint32) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for argument \"hashes\""),
				 errdetail("It has %d bytes, no multiple of %d.", len,
						   (int) sizeof(uint32)),
				 errhint("Pass hashes of four bytes each.")));
	memcpy(hashes, VARDATA_ANY(bytes), len);
	*count = len / sizeof(uint32);
	for (int i = 0; i < *count; i++)
		hashes[i] = pg_ntoh32(hashes[i]);
	return hashes;
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
	uint32	   *hashes;
	int			count;

	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	hashes = apikey_sketch_hashes(PG_GETARG_BYTEA_PP(1), &count);
	sketch = sketch_to_change(fcinfo);
	state = state_of(sketch);
	for (int i = 0; i < count; i++)
		addHyperLogLog(&state, hashes[i]);
	return result_of(fcinfo, sketch);
}

static int
compare_hashes(const void *a, const void *b)
{
	uint32		x = *(const uint32 *) a;
	uint32		y = *(const uint32 *) b;

	return (x > y) - (x < y);
}

/*
 * The short form of these hashes, in ascending order; false if it would be too
 * long.  What a hash does to a register is for the server to say.
 */
static bool
list_of_hashes(const uint32 *hashes, int count, uint8 *out, size_t *len)
{
	static ApikeySketch scratch;	/* all zero between calls */
	hyperLogLogState state = state_of(&scratch);
	uint8	   *end = out;
	bool		fits = true;

	for (int i = 0; i < count; i++)
		addHyperLogLog(&state, hashes[i]);
	for (int i = 0; i < count; i++)
	{
		uint32		number = hashes[i] >> (32 - APIKEY_SKETCH_WIDTH);

		if (scratch.registers[number] == 0)
			continue;			/* that of the hash before */
		fits = fits && end < out + APIKEY_SPARSE_BYTES_MAX;
		if (fits)
			end = apikey_sparse_append(end, number, scratch.registers[number]);
		scratch.registers[number] = 0;
	}
	*len = end - out;
	return fits;
}

const struct varlena *
apikey_sketch_add(const struct varlena *stored, uint32 *hashes, int count)
{
	const struct varlena *old = NULL;
	uint8		list[APIKEY_SPARSE_BYTES_MAX];
	size_t		len;
	ApikeySketch *sketch;
	hyperLogLogState state;

	if (count > 1)
		qsort(hashes, count, sizeof(uint32), compare_hashes);
	if (stored != NULL)
	{
		old = PG_DETOAST_DATUM_PACKED(PointerGetDatum(stored));
		require_good(old);
	}
	if ((old == NULL || is_short(old)) &&
		list_of_hashes(hashes, count, list, &len))
	{
		const struct varlena *both = old == NULL ? make_short(list, len) :
			unite_short(old, list, len);

		if (both != NULL)
			return both == old ? stored : both;
	}
	sketch = old == NULL ? apikey_sketch_new() : expand(old);
	state = state_of(sketch);
	for (int i = 0; i < count; i++)
		addHyperLogLog(&state, hashes[i]);

	/* what is stored already need not be compressed again */
	if (old != NULL && !is_short(old) &&
		memcmp(sketch->registers, bytes_of(old), APIKEY_SKETCH_REGISTERS) == 0)
		return stored;
	return (struct varlena *) sketch;
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

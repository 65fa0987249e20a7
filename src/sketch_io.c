/*
 * sketch_io.c
 *		Text and binary form of the SQL type apikey.sketch: all registers,
 *		whatever the form in which a value is stored.
 */
#include "postgres.h"

#include "fmgr.h"
#include "libpq/pqformat.h"

#include "ascii.h"
#include "compat.h"
#include "sketch.h"

#define SKETCH_BINARY_VERSION	1

/* Text form: \x and two digits a register */
#define TEXT_PREFIX				"\\x"
#define TEXT_PREFIX_LEN			2
#define TEXT_LEN				(TEXT_PREFIX_LEN + 2 * APIKEY_SKETCH_REGISTERS)
#define DIGIT_BITS				4
#define DIGIT_MASK				0xf

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
	sketch = apikey_sketch_new();
	for (int i = 0; i < APIKEY_SKETCH_REGISTERS; i++)
	{
		int			high = ascii_hex_value(digits[2 * i]);
		int			low = ascii_hex_value(digits[2 * i + 1]);

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
	PG_RETURN_POINTER(apikey_sketch_shorten(sketch));
}

PG_FUNCTION_INFO_V1(apikey_sql_sketch_out);
Datum
apikey_sql_sketch_out(PG_FUNCTION_ARGS)
{
	static const char digit[] = "0123456789abcdef";
	const ApikeySketch *sketch = apikey_sketch_open(PG_GETARG_DATUM(0));
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
	sketch = apikey_sketch_new();
	pq_copymsgbytes(buffer, (char *) sketch->registers,
					APIKEY_SKETCH_REGISTERS);
	for (int i = 0; i < APIKEY_SKETCH_REGISTERS; i++)
	{
		if (sketch->registers[i] > APIKEY_SKETCH_RANK_MAX)
			bad_binary("A register is too large.");
	}
	PG_RETURN_POINTER(apikey_sketch_shorten(sketch));
}

PG_FUNCTION_INFO_V1(apikey_sql_sketch_send);
Datum
apikey_sql_sketch_send(PG_FUNCTION_ARGS)
{
	const ApikeySketch *sketch = apikey_sketch_open(PG_GETARG_DATUM(0));
	StringInfoData buffer;

	pq_begintypsend(&buffer);
	pq_sendbyte(&buffer, SKETCH_BINARY_VERSION);
	pq_sendbytes(&buffer, (char *) sketch->registers,
				 APIKEY_SKETCH_REGISTERS);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

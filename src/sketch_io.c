/*
 * sketch_io.c
 *		Text and binary form of the SQL type apikey.sketch: the bytes of the
 *		form in which a value is stored.
 */
#include "postgres.h"

#include "fmgr.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"

#include "ascii.h"
#include "compat.h"
#include "sketch.h"

/* First byte of the binary form: what follows is all registers, or the short form */
#define BINARY_REGISTERS		1
#define BINARY_SHORT			2

/* Text form: \x and two digits a byte */
#define TEXT_PREFIX				"\\x"
#define TEXT_PREFIX_LEN			2

/*
 * The bytes of a value: its short form if it has one, in the room given, else
 * its registers.  All values that mean the same have the same bytes.
 */
static const uint8 *
contents(const ApikeySketch *sketch, uint8 room[APIKEY_SPARSE_BYTES_MAX],
		 size_t *len)
{
	if (apikey_sparse_pack(sketch->registers, room, len))
		return room;
	*len = APIKEY_SKETCH_REGISTERS;
	return sketch->registers;
}

/*
 * The value with these bytes; NULL if there is none.
 */
static struct varlena *
value_of(const uint8 *bytes, size_t len)
{
	ApikeySketch *sketch = apikey_sketch_new();

	if (len == APIKEY_SKETCH_REGISTERS)
	{
		for (int i = 0; i < APIKEY_SKETCH_REGISTERS; i++)
		{
			if (bytes[i] > APIKEY_SKETCH_RANK_MAX)
				return NULL;
		}
		memcpy(sketch->registers, bytes, len);
	}
	else if (apikey_sparse_check(bytes, len))
		apikey_sparse_expand(bytes, len, sketch->registers);
	else
		return NULL;
	return apikey_sketch_shorten(sketch);
}

/*
 * The bytes that a text has in hexadecimal digits; false if it has not.
 */
static bool
bytes_of_text(const char *text, uint8 bytes[APIKEY_SKETCH_REGISTERS], size_t *len)
{
	size_t		digits = strlen(text) - TEXT_PREFIX_LEN;

	if (strncmp(text, TEXT_PREFIX, TEXT_PREFIX_LEN) != 0 || digits % 2 != 0 ||
		digits > 2 * APIKEY_SKETCH_REGISTERS)
		return false;
	*len = digits / 2;
	return ascii_hex_bytes(text + TEXT_PREFIX_LEN, bytes, *len);
}

PG_FUNCTION_INFO_V1(apikey_sql_sketch_in);

/*
 * The text is not repeated in the error: it may be long.
 */
Datum
apikey_sql_sketch_in(PG_FUNCTION_ARGS)
{
	uint8		bytes[APIKEY_SKETCH_REGISTERS];
	size_t		len;
	struct varlena *value = NULL;

	if (bytes_of_text(PG_GETARG_CSTRING(0), bytes, &len))
		value = value_of(bytes, len);
	if (value == NULL)
		ereturn(apikey_soft_context(fcinfo), (Datum) 0,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type apikey.sketch"),
				 errdetail("It has \\x and hexadecimal digits: two for each of %d registers, up to %x,"
						   " or six for each of up to %d that are not zero, in ascending order.",
						   APIKEY_SKETCH_REGISTERS, APIKEY_SKETCH_RANK_MAX,
						   APIKEY_SPARSE_MAX),
				 errhint("Sketches are made by apikey.sketch_agg(inet).")));
	PG_RETURN_POINTER(value);
}

PG_FUNCTION_INFO_V1(apikey_sql_sketch_out);
Datum
apikey_sql_sketch_out(PG_FUNCTION_ARGS)
{
	uint8		room[APIKEY_SPARSE_BYTES_MAX];
	size_t		len;
	const uint8 *bytes = contents(apikey_sketch_open(PG_GETARG_DATUM(0)), room, &len);
	char	   *text = palloc(TEXT_PREFIX_LEN + 2 * len + 1);
	char	   *end = text + TEXT_PREFIX_LEN;

	memcpy(text, TEXT_PREFIX, TEXT_PREFIX_LEN);
	end += hex_encode((const char *) bytes, len, end);
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
 * Binary form: a byte that says which form it is, then the bytes of that.
 */
Datum
apikey_sql_sketch_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buffer = (StringInfo) PG_GETARG_POINTER(0);
	size_t		len = buffer->len - buffer->cursor;
	struct varlena *value;
	int			form;

	if (len-- == 0)
		bad_binary("It is empty.");
	form = pq_getmsgbyte(buffer);
	if (form != BINARY_REGISTERS && form != BINARY_SHORT)
		bad_binary("Its version is unknown.");
	if ((form == BINARY_REGISTERS) != (len == APIKEY_SKETCH_REGISTERS))
		bad_binary("It has a version byte and 4096 registers, or a list of some.");
	value = value_of((const uint8 *) pq_getmsgbytes(buffer, len), len);
	if (value == NULL)
		bad_binary("A register is too large, or a list of registers is not in order.");
	PG_RETURN_POINTER(value);
}

PG_FUNCTION_INFO_V1(apikey_sql_sketch_send);
Datum
apikey_sql_sketch_send(PG_FUNCTION_ARGS)
{
	uint8		room[APIKEY_SPARSE_BYTES_MAX];
	size_t		len;
	const uint8 *bytes = contents(apikey_sketch_open(PG_GETARG_DATUM(0)), room, &len);
	StringInfoData buffer;

	pq_begintypsend(&buffer);
	pq_sendbyte(&buffer, len == APIKEY_SKETCH_REGISTERS ? BINARY_REGISTERS : BINARY_SHORT);
	pq_sendbytes(&buffer, (const char *) bytes, len);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

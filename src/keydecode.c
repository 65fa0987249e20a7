/*
 * keydecode.c
 *		Columns of stored keys, taken out of a row and decoded.
 */
#include "postgres.h"

#include <sys/socket.h>

#include "access/htup_details.h"
#include "access/tupmacs.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inet.h"

#include "keydecode.h"
#include "scopes.h"

void
apikey_key_deform(HeapTuple tuple, TupleDesc desc, ApikeyKey *key)
{
	int			room = Max(desc->natts, APIKEY_KEY_NCOLUMNS);
	Datum	   *values;
	bool	   *nulls;

	if (desc->natts == APIKEY_KEY_NCOLUMNS)
	{
		heap_deform_tuple(tuple, desc, key->value + 1, key->null + 1);
		return;
	}
	values = palloc0(room * sizeof(Datum));
	nulls = palloc(room * sizeof(bool));
	memset(nulls, true, room * sizeof(bool));
	heap_deform_tuple(tuple, desc, values, nulls);
	memcpy(key->value + 1, values, APIKEY_KEY_NCOLUMNS * sizeof(Datum));
	memcpy(key->null + 1, nulls, APIKEY_KEY_NCOLUMNS * sizeof(bool));
	pfree(values);
	pfree(nulls);
}

/*
 * Texts of a list, those that are not null.
 */
static int
texts_of(Datum array, Datum **elements)
{
	bool	   *nulls;
	int			count;
	int			kept = 0;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false,
					  TYPALIGN_INT, elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (!nulls[i])
			(*elements)[kept++] = (*elements)[i];
	}
	return kept;
}

static void
decode_nets(ApikeyKey *key)
{
	ArrayType  *array = DatumGetArrayTypeP(key->value[KEY_ALLOWED_IPS]);
	int			size = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	ApikeyNet  *nets = palloc0(Max(size, 1) * sizeof(ApikeyNet));
	const uint8 *present = ARR_NULLBITMAP(array);
	char	   *at = ARR_DATA_PTR(array);
	int			count = 0;

	/* a long list is worth more than deconstruct_array() and what it makes */
	for (int i = 0; i < size; i++)
	{
		inet	   *element;

		if (present != NULL && (present[i / 8] & (1 << i % 8)) == 0)
			continue;
		at = (char *) att_align_pointer(at, TYPALIGN_INT, -1, at);
		element = DatumGetInetPP(PointerGetDatum(at));
		at = att_addlength_pointer(at, -1, at);
		nets[count].family = ip_family(element) == PGSQL_AF_INET ? 4 : 6;
		nets[count].bits = ip_bits(element);
		memcpy(nets[count].addr, ip_addr(element),
			   nets[count].family == 4 ? 4 : 16);
		apikey_net_unmap(&nets[count++]);
	}
	key->nnets = apikey_netlist_normalize(nets, count);
	key->nets = nets;
}

static void
decode_origins(ApikeyKey *key)
{
	Datum	   *elements;
	int			count = texts_of(key->value[KEY_ALLOWED_ORIGINS], &elements);
	ApikeyOrigin *origins = palloc(Max(count, 1) * sizeof(ApikeyOrigin));

	key->norigins = 0;
	for (int i = 0; i < count; i++)
	{
		text	   *element = DatumGetTextPP(elements[i]);

		if (apikey_origin_rule_parse(VARDATA_ANY(element),
									 VARSIZE_ANY_EXHDR(element),
									 &origins[key->norigins]) == NULL)
			key->norigins++;
	}
	key->origins = origins;
}

/*
 * Make of a row what is said in the header; its columns are taken out already.
 */
void
apikey_key_decode_columns(TupleDesc desc, ApikeyKey *key)
{
	key->nnets = key->norigins = 0;
	key->nets = NULL;
	key->origins = NULL;
	key->kept = NULL;
	for (int i = 1; i <= APIKEY_KEY_NCOLUMNS; i++)
	{
		/* the lists are decoded instead */
		if (!key->null[i] && TupleDescAttr(desc, i - 1)->attlen == -1 &&
			i != KEY_ALLOWED_IPS && i != KEY_ALLOWED_ORIGINS)
			key->value[i] = PointerGetDatum(PG_DETOAST_DATUM_PACKED(key->value[i]));
	}
	key->grants = apikey_scopes_open((struct varlena *)
									 DatumGetPointer(key->value[KEY_SCOPES]));
	if (!key->null[KEY_ALLOWED_IPS])
		decode_nets(key);
	if (!key->null[KEY_ALLOWED_ORIGINS])
		decode_origins(key);
}

void
apikey_key_decode(HeapTuple tuple, TupleDesc desc, ApikeyKey *key)
{
	key->tuple = tuple;
	key->buffer = InvalidBuffer;
	apikey_key_deform(tuple, desc, key);
	apikey_key_decode_columns(desc, key);
}

/*
 * keydecode.h
 *		Columns of stored keys, taken out of a row and decoded.
 */
#ifndef APIKEY_KEYDECODE_H
#define APIKEY_KEYDECODE_H

#include "postgres.h"

#include "access/htup.h"
#include "access/tupdesc.h"

#include "keystore.h"

/*
 * Take the columns that we know out of a row; a table with others behind them
 * is no reason to fail.
 */
extern void apikey_key_deform(HeapTuple tuple, TupleDesc desc, ApikeyKey *key);

/*
 * Decode the columns that were taken out of a row: what keystore.h says of a
 * key that was found.
 */
extern void apikey_key_decode_columns(TupleDesc desc, ApikeyKey *key);

/* Both, for a row that the key keeps. */
extern void apikey_key_decode(HeapTuple tuple, TupleDesc desc, ApikeyKey *key);

#endif							/* APIKEY_KEYDECODE_H */

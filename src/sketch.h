/*
 * sketch.h
 *		The form of a value of the SQL type apikey.sketch.
 */
#ifndef APIKEY_SKETCH_H
#define APIKEY_SKETCH_H

#include "postgres.h"

/* Bits of a hash that choose the register; the rest give its value. */
#define APIKEY_SKETCH_WIDTH		12
#define APIKEY_SKETCH_REGISTERS	(1 << APIKEY_SKETCH_WIDTH)

/* One more than the bits that are left: all of them were zero. */
#define APIKEY_SKETCH_RANK_MAX	(32 - APIKEY_SKETCH_WIDTH + 1)

typedef struct ApikeySketch
{
	int32		vl_len_;		/* not to be touched */
	uint8		registers[APIKEY_SKETCH_REGISTERS];
} ApikeySketch;

#endif							/* APIKEY_SKETCH_H */

/*
 * sketch.h
 *		The form of a value of the SQL type apikey.sketch.
 */
#ifndef APIKEY_SKETCH_H
#define APIKEY_SKETCH_H

#include "postgres.h"

#include "registers.h"

/*
 * With all registers; a value of few addresses has the short form of
 * registers.h behind its length instead.
 */
typedef struct ApikeySketch
{
	int32		vl_len_;		/* not to be touched */
	uint8		registers[APIKEY_SKETCH_REGISTERS];
} ApikeySketch;

#endif							/* APIKEY_SKETCH_H */

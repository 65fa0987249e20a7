/*
 * sketch.h
 *		The form of a value of the SQL type apikey.sketch.
 */
#ifndef APIKEY_SKETCH_H
#define APIKEY_SKETCH_H

#include "postgres.h"

#include "compat.h"
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

extern ApikeySketch *apikey_sketch_new(void);

/* A value for reading.  Errors: XX001 if it is damaged. */
extern const ApikeySketch *apikey_sketch_open(Datum datum);

/* The value in its short form if it has one. */
extern struct varlena *apikey_sketch_shorten(ApikeySketch *sketch);

/* Hashes that stand in bytes, most significant first.  Errors: 22023. */
extern uint32 *apikey_sketch_hashes(const bytea *bytes, int *count);

/*
 * Add hashes of addresses, which get sorted, to a stored value, or to none
 * (NULL).  Returns that value itself if it has them already.
 */
extern const struct varlena *apikey_sketch_add(const struct varlena *stored,
											   uint32 *hashes, int count);

/* The union of a stored value, or none (NULL), and another one. */
extern const struct varlena *apikey_sketch_unite(const struct varlena *stored,
												 const struct varlena *other);

#endif							/* APIKEY_SKETCH_H */

/*
 * registers.h
 *		The registers of a HyperLogLog sketch, and a short form of those that
 *		are mostly zero.
 *
 * The short form is a list of the registers that are not zero, in ascending
 * order: two bytes for the number of the register, most significant first, and
 * one for its value.
 *
 * Pure: no server headers, no allocation, no global state.
 */
#ifndef APIKEY_REGISTERS_H
#define APIKEY_REGISTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bits of a hash that choose the register; the rest give its value. */
#define APIKEY_SKETCH_WIDTH		12
#define APIKEY_SKETCH_REGISTERS	(1 << APIKEY_SKETCH_WIDTH)

/* One more than the bits that are left: all of them were zero. */
#define APIKEY_SKETCH_RANK_MAX	(32 - APIKEY_SKETCH_WIDTH + 1)

/* Bytes of a register in the short form, and how many it has at most */
#define APIKEY_SPARSE_ENTRY		3
#define APIKEY_SPARSE_MAX		256
#define APIKEY_SPARSE_BYTES_MAX	(APIKEY_SPARSE_ENTRY * APIKEY_SPARSE_MAX)

/* Are these bytes the short form of anything? */
extern bool apikey_sparse_check(const uint8_t *bytes, size_t len);

/* Write what they say into registers that are zero. */
extern void apikey_sparse_expand(const uint8_t *bytes, size_t len,
								 uint8_t registers[APIKEY_SKETCH_REGISTERS]);

/*
 * Write the short form; false if there are too many registers.  out has room
 * for APIKEY_SPARSE_BYTES_MAX.
 */
extern bool apikey_sparse_pack(const uint8_t registers[APIKEY_SKETCH_REGISTERS],
							   uint8_t *out, size_t *len);

/*
 * Append a register to a short form; returns where the next one goes.
 */
extern uint8_t *apikey_sparse_append(uint8_t *end, unsigned number, uint8_t value);

/*
 * Write the short form of both, of each register the greater value; returns
 * its length, and whether it is another than that of a.  out has room for
 * both.
 */
extern size_t apikey_sparse_merge(const uint8_t *a, size_t alen,
								  const uint8_t *b, size_t blen,
								  uint8_t *out, bool *changed);

#endif							/* APIKEY_REGISTERS_H */

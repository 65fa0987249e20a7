/*
 * count.h
 *		Counting what is verified and recorded, in memory.
 */
#ifndef APIKEY_COUNT_H
#define APIKEY_COUNT_H

#include "postgres.h"

#include "decide.h"

/* Count a verdict, and the request of its key if that is known. */
extern void apikey_count_verify(const ApikeyDecision *decision);

#endif							/* APIKEY_COUNT_H */

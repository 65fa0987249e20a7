/*
 * failure.h
 *		Notes errors of transactions that work for a key.
 */
#ifndef APIKEY_FAILURE_H
#define APIKEY_FAILURE_H

#include "postgres.h"

extern void apikey_failure_init(void);

#endif							/* APIKEY_FAILURE_H */

/*
 * worker.h
 *		Background workers: one launcher, and a flush worker per database that
 *		has something to flush.
 */
#ifndef APIKEY_WORKER_H
#define APIKEY_WORKER_H

#include "postgres.h"

/* Registers the launcher; in shared_preload_libraries only. */
extern void apikey_worker_init(void);

#endif							/* APIKEY_WORKER_H */

/*
 * count.h
 *		Counting what is verified and recorded, in memory.
 */
#ifndef APIKEY_COUNT_H
#define APIKEY_COUNT_H

#include "postgres.h"

#include "buffer.h"
#include "decide.h"

/* Count a verdict, and the request of its key if that is known. */
extern void apikey_count_verify(const ApikeyDecision *decision);

/*
 * Append method, path and request id, cleaned and cut, to an event that has
 * its code.
 */
extern void apikey_event_append_request(ApikeyEvent *event, size_t *len,
										struct varlena *method,
										struct varlena *path,
										struct varlena *request_id);

#endif							/* APIKEY_COUNT_H */

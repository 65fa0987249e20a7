/*
 * recognize.h
 *		Which key, or session, a presented text stands for: the first steps of
 *		a decision.
 */
#ifndef APIKEY_RECOGNIZE_H
#define APIKEY_RECOGNIZE_H

#include "postgres.h"

#include "decide.h"

/*
 * Find what the request's text stands for: sets key, and session if it is one.
 * True if that already decides, and why stands in code.
 */
extern bool apikey_recognize(ApikeyDecision *decision, ApikeyTrace *trace);

#endif							/* APIKEY_RECOGNIZE_H */

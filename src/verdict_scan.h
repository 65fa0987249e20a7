/*
 * verdict_scan.h
 *		SELECT ... FROM apikey.verify(...) without a tuplestore.
 */
#ifndef APIKEY_VERDICT_SCAN_H
#define APIKEY_VERDICT_SCAN_H

/* Makes the planner know the scan. */
extern void apikey_verdict_scan_init(void);

#endif							/* APIKEY_VERDICT_SCAN_H */

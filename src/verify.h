/*
 * verify.h
 *		apikey.verify and apikey.explain: a decision as a row.
 */
#ifndef APIKEY_VERIFY_H
#define APIKEY_VERIFY_H

extern void apikey_verify_init(void);

#endif							/* APIKEY_VERIFY_H */

/*
 * sqlstate.h
 *		The HTTP status that an error of the database amounts to.
 *
 * Pure: no server headers.
 */
#ifndef APIKEY_SQLSTATE_H
#define APIKEY_SQLSTATE_H

#define APIKEY_SQLSTATE_LEN	5

/*
 * The status that PostgREST (from 12 on) answers for an error with this
 * SQLSTATE, of a request with valid credentials.  detail, which may be NULL,
 * is that of the error: SQLSTATE PGRST has its status in there.  Our own
 * class KA says it itself.
 */
extern int	apikey_sqlstate_status(const char *sqlstate, const char *detail);

#endif							/* APIKEY_SQLSTATE_H */

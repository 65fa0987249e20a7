/*
 * headerdoc.h
 *		The headers of a request, as a JSON document.
 */
#ifndef APIKEY_HEADERDOC_H
#define APIKEY_HEADERDOC_H

#include "postgres.h"

#include "scope.h"

#define APIKEY_HEADERDOC_MAX	(1024 * 1024)	/* bytes */
#define APIKEY_HEADER_LINES_MAX	2000

typedef struct ApikeyHeaderLine
{
	ApikeySlice name;
	ApikeySlice value;
} ApikeyHeaderLine;

typedef struct ApikeyHeaderDoc
{
	bool		bad;			/* no document of headers; lines are void */
	int			nlines;
	int			max;
	ApikeyHeaderLine *line;		/* in order; a name may come again */
} ApikeyHeaderDoc;

/*
 * Read an object whose values are strings or arrays of strings, or, as jsonb,
 * an array of pairs [name, value]; numbers and booleans are read as strings,
 * null as nothing.  What is none is bad, never
 * an error: an error of the server's would show the text.  What is read lives
 * in the current memory context; a jsonb value must stay where it is.
 */
extern void apikey_headerdoc_read_text(ApikeyHeaderDoc *doc, const char *text);
extern void apikey_headerdoc_read_jsonb(ApikeyHeaderDoc *doc, Datum jsonb);

/* Values of a header, its name in any letter case; how many there are. */
extern int	apikey_headerdoc_values(const ApikeyHeaderDoc *doc,
									const char *name, size_t name_len,
									ApikeySlice *values, int max);

/* The value of a header that must be there once; false if it is not. */
extern bool apikey_headerdoc_value(const ApikeyHeaderDoc *doc,
								   const char *name, ApikeySlice *value);

/* Write it as JSON again; values with NULL for data become "". */
extern char *apikey_headerdoc_print(const ApikeyHeaderDoc *doc);

#endif							/* APIKEY_HEADERDOC_H */

/*
 * cppcheck.h
 *		For cppcheck only, which does not read the server's headers: enough of
 *		their macros to follow the flow of control.
 */
#define PG_MODULE_MAGIC
#define PG_MODULE_MAGIC_EXT(...)
#define PG_FUNCTION_INFO_V1(name)
#define PG_FUNCTION_ARGS void *fcinfo
#define PGDLLEXPORT
#define PG_TRY(...) if (1)
#define PG_CATCH(...) else
#define PG_FINALLY(...)
#define PG_END_TRY(...)
#define PG_RE_THROW() abort()
#define ERROR 21
#define FATAL 22
#define PANIC 23
#define ereport(level, ...) do { if ((level) >= ERROR) abort(); } while (0)
#define elog(level, ...) do { if ((level) >= ERROR) abort(); } while (0)
#define pg_unreachable() abort()
#define foreach(cell, list) for (cell = list_head(list); cell != NULL; cell = lnext(list, cell))
#define Assert(condition) ((void) (condition))
#define StaticAssertDecl(condition, message)
#define StaticAssertStmt(condition, message)
#define UINT64CONST(x) (x##ULL)
#define INT64CONST(x) (x##LL)
#define APIKEY_VERSION "0"

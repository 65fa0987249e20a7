/*
 * test_sqlstate.c
 *		The HTTP status of an error.
 */
#include "../../src/sqlstate.h"
#include "unit.h"

static const struct
{
	const char *sqlstate;
	const char *detail;
	int			status;
}			cases[] =
{
	{"23505", NULL, 409}, {"23503", NULL, 409}, {"23502", NULL, 400},
	{"23514", NULL, 400}, {"22P02", NULL, 400}, {"22023", NULL, 400},
	{"22012", NULL, 400}, {"42501", NULL, 403}, {"42P01", NULL, 404},
	{"42883", NULL, 404}, {"42P17", NULL, 500}, {"42703", NULL, 400},
	{"P0001", NULL, 400}, {"P0002", NULL, 500}, {"ZZ000", NULL, 400},
	{"25006", NULL, 405}, {"25P03", NULL, 500}, {"28000", NULL, 403},
	{"0L000", NULL, 403}, {"0P000", NULL, 403}, {"08006", NULL, 503},
	{"09000", NULL, 500}, {"2D000", NULL, 500}, {"38000", NULL, 500},
	{"39000", NULL, 500}, {"3B001", NULL, 500}, {"40001", NULL, 500},
	{"40P01", NULL, 500}, {"53100", NULL, 503}, {"53400", NULL, 500},
	{"54000", NULL, 500}, {"55000", NULL, 500}, {"57014", NULL, 500},
	{"57P01", NULL, 503}, {"58030", NULL, 500}, {"F0000", NULL, 500},
	{"HV000", NULL, 500}, {"XX000", NULL, 500}, {"00000", NULL, 400},
	{"", NULL, 400},
	{"PT418", NULL, 418}, {"PT200", NULL, 200}, {"PTabc", NULL, 500},
	{"PT999", NULL, 500}, {"PT000", NULL, 500}, {"PT4", NULL, 500},
	{"KA404", NULL, 404}, {"KA429", NULL, 429}, {"KAxyz", NULL, 500},
	{"PGRST", NULL, 500}, {"PGRST", "", 500}, {"PGRST", "{}", 500},
	{"PGRST", "{\"status\": 402, \"headers\": {}}", 402},
	{"PGRST", "{\"headers\":{},\"status\":422}", 422},
	{"PGRST", "{\"status\" : 402}", 402}, {"PGRST", "{\"status\":4", 500},
	{"PGRST", "{\"status\":", 500}, {"PGRST", "\"status\"", 500},
	{"PGRST", "{\"status\":4000}", 500}, {"PGRST", "{\"status\":\"402\"}", 500},
	{"PGRST", "{\"status\":42", 500}, {"PGRST", "{\"status\":099}", 500},
};

int
main(void)
{
	for (int i = 0; i < LENGTH_OF(cases); i++)
	{
		char	   *sqlstate = unit_copy(cases[i].sqlstate,
										 strlen(cases[i].sqlstate) + 1);
		char	   *detail = cases[i].detail == NULL ? NULL :
			unit_copy(cases[i].detail, strlen(cases[i].detail) + 1);
		int			status = apikey_sqlstate_status(sqlstate, detail);

		CHECK(status == cases[i].status, "%s with %s: %d", cases[i].sqlstate,
			  cases[i].detail == NULL ? "no detail" : cases[i].detail, status);
		free(detail);
		free(sqlstate);
	}
	return unit_finish("test_sqlstate");
}

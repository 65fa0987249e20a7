/*
 * verdict_scan.c
 *		SELECT ... FROM apikey.verify(...) without a tuplestore.
 *
 * For a function in FROM the server copies the descriptor of its row type,
 * makes a tuplestore of 16 kB, stores the one row there and reads it again, at
 * every execution: a seventh of the work of a prepared call.  Where the function is
 * all that a query reads, the planner is given a custom scan in place of that:
 * it evaluates the very same expression, with the same checks of privileges,
 * and hands out those columns of the row that are asked for.
 *
 * The call is evaluated once in each execution, as by the server's own scan:
 * the query's outermost level has no parameters from other tables that could
 * change, and whoever scans again gets the same row.  Unlike that scan, this
 * one shows no call in EXPLAIN VERBOSE, since a key may be in it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/execExpr.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "nodes/extensible.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "optimizer/optimizer.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "optimizer/tlist.h"
#include "utils/lsyscache.h"

#include "catalog.h"
#include "identity.h"
#include "verdict_scan.h"
#include "verdict.h"
#include "verify.h"

#define SCAN_NAME	"apikey verdict"

typedef struct VerdictScanState
{
	CustomScanState scan;
	ExprState  *call;
	ApikeyVerdictColumns columns;	/* where the call may leave them */
	Datum	   *values;			/* of all columns, as long as the query runs; */
	bool	   *nulls;			/* NULL until the function was called */
	bool		done;
} VerdictScanState;

static Plan *make_plan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path,
					   List *tlist, List *clauses, List *custom_plans);
static Node *make_state(CustomScan *plan);
static void begin_scan(CustomScanState *node, EState *estate, int eflags);
static TupleTableSlot *exec_scan(CustomScanState *node);
static void end_scan(CustomScanState *node);
static void rescan(CustomScanState *node);

static const CustomPathMethods path_methods = {
	.CustomName = SCAN_NAME,
	.PlanCustomPath = make_plan,
};

static const CustomScanMethods scan_methods = {
	.CustomName = SCAN_NAME,
	.CreateCustomScanState = make_state,
};

static const CustomExecMethods exec_methods = {
	.CustomName = SCAN_NAME,
	.BeginCustomScan = begin_scan,
	.ExecCustomScan = exec_scan,
	.EndCustomScan = end_scan,
	.ReScanCustomScan = rescan,
};

static set_rel_pathlist_hook_type previous_hook = NULL;

/*
 * Is this a function of ours that returns a verdict?  One that somebody has
 * given a SET clause or made SECURITY DEFINER has another address.
 */
static bool
returns_verdict(Oid function)
{
	static const struct
	{
		const char *name;
		PGFunction	address;
	}			ours[] =
	{
		{"verify", apikey_sql_verify},
		{"verify", apikey_sql_verify_inet},
		{"authenticate", apikey_sql_authenticate},
	};
	char	   *name = get_func_name(function);

	for (int i = 0; name != NULL && i < lengthof(ours); i++)
	{
		FmgrInfo	info;

		/* so that other libraries are not loaded here */
		if (strcmp(name, ours[i].name) != 0)
			continue;
		fmgr_info(function, &info);
		if (info.fn_addr == ours[i].address)
			return true;
	}
	return false;
}

/*
 * The columns that the query needs of the function, in the order in which they
 * are asked for.
 */
static List *
needed_columns(const RelOptInfo *rel)
{
	List	   *exprs = list_concat_copy(rel->reltarget->exprs,
										 extract_actual_clauses(rel->baserestrictinfo,
																false));

	return pull_var_clause((Node *) exprs, PVC_RECURSE_PLACEHOLDERS);
}

/*
 * The call, if the query reads nothing else, and of it plain columns only.
 */
static FuncExpr *
call_of(PlannerInfo *root, RelOptInfo *rel, RangeTblEntry *rte)
{
	RangeTblFunction *function;
	ListCell   *cell;

	if (rte->rtekind != RTE_FUNCTION || rte->funcordinality ||
		list_length(rte->functions) != 1 ||
		root->query_level != 1 || root->parent_root != NULL ||
		bms_membership(root->all_baserels) != BMS_SINGLETON)
		return NULL;
	function = linitial_node(RangeTblFunction, rte->functions);
	if (!IsA(function->funcexpr, FuncExpr) ||
		!returns_verdict(((FuncExpr *) function->funcexpr)->funcid))
		return NULL;
	foreach(cell, needed_columns(rel))
	{
		/* 0: the whole row */
		if (lfirst_node(Var, cell)->varattno <= 0)
			return NULL;
	}
	return (FuncExpr *) function->funcexpr;
}

/*
 * Put ours in place of the server's scan.
 */
static void
plan_verdict_scan(PlannerInfo *root, RelOptInfo *rel, Index rti,
				  RangeTblEntry *rte)
{
	FuncExpr   *call;
	CustomPath *path;
	Path	   *other;

	if (previous_hook)
		previous_hook(root, rel, rti, rte);
	call = call_of(root, rel, rte);
	if (call == NULL || rel->pathlist == NIL)
		return;
	other = linitial(rel->pathlist);
	path = makeNode(CustomPath);
	path->path.pathtype = T_CustomScan;
	path->path.parent = rel;
	path->path.pathtarget = rel->reltarget;
	path->path.rows = other->rows;
	path->path.startup_cost = other->startup_cost;
	path->path.total_cost = other->total_cost;
	path->flags = CUSTOMPATH_SUPPORT_PROJECTION;
	path->custom_private = list_make1(call);
	path->methods = &path_methods;
	rel->pathlist = list_make1(path);
}

/*
 * The scan's own row has the columns in the order in which they are asked for:
 * then nothing is left to project.  What is in the end asked for may be put
 * into the plan later, so all that the query needs of the function is there.
 */
static Plan *
make_plan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist,
		  List *clauses, List *custom_plans)
{
	CustomScan *plan = makeNode(CustomScan);

	plan->scan.plan.targetlist = tlist;
	plan->scan.plan.qual = extract_actual_clauses(clauses, false);
	plan->scan.scanrelid = 0;	/* no table */
	plan->flags = path->flags;
	plan->custom_exprs = path->custom_private;
	plan->custom_scan_tlist = add_to_flat_tlist(NIL, needed_columns(rel));
	plan->methods = &scan_methods;
	return &plan->scan.plan;
}

static Node *
make_state(CustomScan *plan)
{
	VerdictScanState *state = palloc0(sizeof(VerdictScanState));

	NodeSetTag(state, T_CustomScanState);
	state->scan.methods = &exec_methods;
	return (Node *) state;
}

/*
 * Let the call leave its columns with us, instead of a row of which they are to
 * be taken again.  It is the last step of the expression but for the end.
 */
static void
ask_for_columns(VerdictScanState *state)
{
	ExprState  *call = state->call;
	ExprEvalStep *step = &call->steps[Max(call->steps_len - 2, 0)];
	ExprEvalOp	op = ExecEvalStepOp(call, step);

	apikey_verdict_columns_init(&state->columns);
	if (op == EEOP_FUNCEXPR || op == EEOP_FUNCEXPR_FUSAGE)
		step->d.func.fcinfo_data->context = (Node *) &state->columns;
}

static void
begin_scan(CustomScanState *node, EState *estate, int eflags)
{
	VerdictScanState *state = (VerdictScanState *) node;
	CustomScan *plan = (CustomScan *) node->ss.ps.plan;

	state->call = ExecInitExpr(linitial(plan->custom_exprs), &node->ss.ps);
	ask_for_columns(state);
}

/*
 * Take the columns out of a row.
 */
static void
deform(VerdictScanState *state, Datum row, TupleDesc desc)
{
	HeapTupleData tuple;

	tuple.t_data = DatumGetHeapTupleHeader(row);
	tuple.t_len = HeapTupleHeaderGetDatumLength(tuple.t_data);
	state->values = palloc(desc->natts * sizeof(Datum));
	state->nulls = palloc(desc->natts * sizeof(bool));
	heap_deform_tuple(&tuple, desc, state->values, state->nulls);
}

static List *
columns_of(const VerdictScanState *state)
{
	return ((CustomScan *) state->scan.ss.ps.plan)->custom_scan_tlist;
}

/*
 * The plan may be older than the type is now.
 */
static void
check_columns(const VerdictScanState *state, TupleDesc desc)
{
	ListCell   *cell;

	foreach(cell, columns_of(state))
	{
		const Var  *var = (Var *) lfirst_node(TargetEntry, cell)->expr;

		if (var->varattno > desc->natts ||
			TupleDescAttr(desc, var->varattno - 1)->atttypid != var->vartype)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("type apikey.verdict has changed since the query was planned"),
					 errdetail("Its column %d is another one now.", var->varattno),
					 errhint("Prepare the statement anew.")));
	}
}

/*
 * Evaluate the call, and keep the columns.
 */
static void
call_function(VerdictScanState *state)
{
	ScanState  *scan = &state->scan.ss;
	MemoryContext old = MemoryContextSwitchTo(scan->ps.state->es_query_cxt);
	TupleDesc	desc;
	Datum		row;
	bool		isnull;

	row = ExecEvalExpr(state->call, scan->ps.ps_ExprContext, &isnull);
	desc = apikey_type_desc(APIKEY_TYPE_VERDICT);
	if (state->columns.filled)
	{
		state->values = state->columns.value;
		state->nulls = state->columns.null;
	}
	else
		deform(state, row, desc);
	check_columns(state, desc);
	MemoryContextSwitchTo(old);
}

static TupleTableSlot *
next_row(ScanState *node)
{
	VerdictScanState *state = (VerdictScanState *) node;
	TupleTableSlot *slot = node->ss_ScanTupleSlot;
	ListCell   *cell;

	ExecClearTuple(slot);
	if (state->done)
		return slot;
	if (state->values == NULL)
		call_function(state);
	state->done = true;
	foreach(cell, columns_of(state))
	{
		int			column = ((Var *) lfirst_node(TargetEntry, cell)->expr)->varattno - 1;
		int			i = foreach_current_index(cell);

		slot->tts_values[i] = state->values[column];
		slot->tts_isnull[i] = state->nulls[column];
	}
	return ExecStoreVirtualTuple(slot);
}

static bool
row_is_still_there(ScanState *node, TupleTableSlot *slot)
{
	return true;
}

static TupleTableSlot *
exec_scan(CustomScanState *node)
{
	return ExecScan(&node->ss, next_row, row_is_still_there);
}

static void
end_scan(CustomScanState *node)
{
}

static void
rescan(CustomScanState *node)
{
	((VerdictScanState *) node)->done = false;
	ExecScanReScan(&node->ss);
}

void
apikey_verdict_scan_init(void)
{
	RegisterCustomScanMethods(&scan_methods);
	previous_hook = set_rel_pathlist_hook;
	set_rel_pathlist_hook = plan_verdict_scan;
}

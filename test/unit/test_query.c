/*
 * test_query.c
 *		What a request needs: reading, judging and printing queries.
 */
#include "../../src/query.h"
#include "unit.h"

/*
 * Parse a copy that ends where it ends; its text is to be freed.
 */
static const char *
parse(const char *text, size_t len, ApikeyQuery *query, size_t *position)
{
	return apikey_query_parse(unit_copy(text, len), len, query, position);
}

static void
release(ApikeyQuery *query)
{
	free((char *) query->text);
	query->text = NULL;
}

/*
 * Print to memory of exactly the room asked for, and copy as a string.
 */
static size_t
print(const ApikeyQuery *query, char *string)
{
	char	   *out = unit_alloc(APIKEY_QUERY_CANONICAL_MAX);
	size_t		len = apikey_query_print(query, out);

	memcpy(string, out, len);
	string[len] = '\0';
	free(out);
	return len;
}

static void
test_canonical(void)
{
	static const struct
	{
		const char *text;
		const char *canonical;
	}			cases[] = {
		{"a", "a"}, {" a ", "a"}, {"(a)", "a"}, {"((a))", "a"},
		{"a b", "a & b"}, {"a&b", "a & b"}, {"a,b", "a & b"},
		{"a , b", "a & b"}, {"a and b", "a & b"}, {"a AND b", "a & b"},
		{"a aNd\tb\r\nc", "a & b & c"},
		{"a|b", "a | b"}, {"a or b", "a | b"}, {"a OR b", "a | b"},
		{"a oR b", "a | b"}, {"a or(b)", "a | b"},
		{"a b|c d", "a & b | c & d"}, {"a|b c", "a | b & c"},
		{"(a|b) c", "(a | b) & c"}, {"(a|b)c", "(a | b) & c"},
		{"a(b|c)", "a & (b | c)"}, {"(a|b)(c|d)", "(a | b) & (c | d)"},
		{"((a b) c)|(d)", "a & b & c | d"}, {"a|(b|c)", "a | b | c"},
		{"a (b (c|d (e|f)))", "a & b & (c | d & (e | f))"},
		{"android orange andy", "android & orange & andy"},
		{"and:x | or:y | x:or", "and:x | or:y | x:or"},
		{"a and b or c and d", "a & b | c & d"},
		{"calls:read, calls:write", "calls:read & calls:write"},
		{"a a", "a & a"}, {"A.b-c_d", "A.b-c_d"},
	};
	int			i;

	for (i = 0; i < LENGTH_OF(cases); i++)
	{
		ApikeyQuery query;
		size_t		position;
		char		out[APIKEY_QUERY_CANONICAL_MAX + 1];

		if (CHECK(parse(cases[i].text, strlen(cases[i].text), &query,
						&position) == NULL, "%s parses", cases[i].text))
		{
			print(&query, out);
			CHECK(strcmp(out, cases[i].canonical) == 0, "%s prints as %s",
				  cases[i].text, out);
		}
		release(&query);
	}
}

static void
test_faults(void)
{
	static const struct
	{
		const char *text;
		size_t		len;
		size_t		position;
		const char *fault;		/* part of it */
	}			cases[] = {
		{TEXT(""), 0, "must not be empty"},
		{TEXT("  \t\r\n"), 0, "must not be empty"},
		{TEXT("()"), 1, "missing before \")\""},
		{TEXT(")"), 0, "missing before \")\""},
		{TEXT("("), 1, "missing at the end"},
		{TEXT("(zebra"), 0, "no matching \")\""},
		{TEXT("(zebra ((b) c"), 7, "no matching \")\""},
		{TEXT("zebra)"), 5, "no matching \"(\""},
		{TEXT("(zebra))"), 7, "no matching \"(\""},
		{TEXT("zebra |"), 7, "missing at the end"},
		{TEXT("zebra | "), 8, "missing at the end"},
		{TEXT("zebra and"), 9, "missing at the end"},
		{TEXT("zebra,"), 6, "missing at the end"},
		{TEXT("|zebra"), 0, "before this operator"},
		{TEXT(" or zebra"), 1, "before this operator"},
		{TEXT("and"), 0, "before this operator"},
		{TEXT("zebra || b"), 7, "before this operator"},
		{TEXT("zebra && b"), 7, "before this operator"},
		{TEXT("zebra,,b"), 6, "before this operator"},
		{TEXT("zebra or and b"), 9, "before this operator"},
		{TEXT("zebra (| b)"), 7, "before this operator"},
		{TEXT("zebra & (b |) c"), 12, "missing before \")\""},
		{TEXT("zebra b:*"), 6, "wildcard"},
		{TEXT("*"), 0, "wildcard"},
		{TEXT("zebra z::q"), 6, "empty"},
		{TEXT("zebra \0"), 6, "only letters"},
		{TEXT("zebra\0"), 0, "only letters"},
		{TEXT("b zebr\303\244"), 2, "only letters"},
		{TEXT("b \377"), 2, "only letters"},
		{TEXT("a\vzebra"), 0, "only letters"},
		{TEXT("!zebra"), 0, "only letters"},
		{TEXT("b \"zebra\""), 2, "only letters"},
		{TEXT("a:b:c:d:e"), 0, "4 segments"},
	};
	int			i;

	for (i = 0; i < LENGTH_OF(cases); i++)
	{
		ApikeyQuery query;
		size_t		position = SIZE_MAX;
		const char *fault = parse(cases[i].text, cases[i].len, &query,
								  &position);

		if (CHECK(fault != NULL, "%s is refused", cases[i].text))
		{
			CHECK(strstr(fault, cases[i].fault) != NULL, "%s: %s",
				  cases[i].text, fault);
			CHECK(strstr(fault, "zeb") == NULL, "input in %s", fault);
		}
		CHECK(position == cases[i].position, "%s: position %zu",
			  cases[i].text, position);
		release(&query);
	}
}

/*
 * Parse so many times the same, with a tail.
 */
static const char *
parse_repeated(const char *head, int count, const char *tail,
			   size_t *position)
{
	char		text[APIKEY_QUERY_MAX * 2] = "";
	ApikeyQuery query;
	const char *fault;

	while (count-- > 0)
		strcat(text, head);
	strcat(text, tail);
	fault = parse(text, strlen(text), &query, position);
	release(&query);
	return fault;
}

static void
test_limits(void)
{
	ApikeyQuery query;
	size_t		position;
	const char *fault;
	char		text[APIKEY_QUERY_MAX + 1];

	CHECK(parse_repeated("a ", 100, "", &position) == NULL, "100 terms");
	fault = parse_repeated("a ", 101, "", &position);
	CHECK(fault != NULL && strstr(fault, "100") && position == 200,
		  "101 terms: %s at %zu", fault, position);
	CHECK(parse_repeated("(", 32, "a))))))))))))))))))))))))))))))))",
						 &position) == NULL, "32 levels");
	fault = parse_repeated("(", 33, "a)))))))))))))))))))))))))))))))))",
						   &position);
	CHECK(fault != NULL && strstr(fault, "32") && position == 32,
		  "33 levels: %s at %zu", fault, position);
	/* an OR and an AND wait on each level */
	CHECK(parse_repeated("a|a(", 32, "a|a a))))))))))))))))))))))))))))))))",
						 &position) == NULL, "32 levels of operators");
	CHECK(parse_repeated("(a)", 100, "", &position) == NULL,
		  "levels that were closed do not count");

	memset(text, ' ', sizeof(text));
	text[APIKEY_QUERY_MAX - 1] = 'a';
	CHECK(parse(text, APIKEY_QUERY_MAX, &query, &position) == NULL,
		  "1000 bytes");
	release(&query);
	fault = parse(text, APIKEY_QUERY_MAX + 1, &query, &position);
	CHECK(fault != NULL && strstr(fault, "1000") && position == 1000,
		  "1001 bytes: %s", fault);
	release(&query);
	CHECK(apikey_query_parse("a", SIZE_MAX, &query, &position) != NULL,
		  "absurd length");

	memset(text, 'x', sizeof(text));
	text[64] = ':';
	CHECK(parse(text, 128, &query, &position) == NULL &&
		  query.node[0].len == 128, "the longest term");
	release(&query);
	fault = parse(text, 129, &query, &position);
	CHECK(fault != NULL && strstr(fault, "128") && position == 0,
		  "a term of 129 bytes: %s", fault);
	release(&query);
}

/*
 * 100 terms in 1000 bytes: the canonical text must still be readable.
 */
static void
test_compact(void)
{
	ApikeyQuery query;
	size_t		position;
	char		out[APIKEY_QUERY_CANONICAL_MAX + 1];
	char		text[APIKEY_QUERY_MAX];
	size_t		len;
	int			i;

	for (i = 0; i < 90; i++)
		memcpy(text + 10 * i, i % 10 == 9 ? "(abcd|efg)" : "abcdefghi ", 10);
	memcpy(text + 900, "((a))", 5);
	CHECK(parse(text, 905, &query, &position) == NULL, "many long terms");
	len = print(&query, out);
	CHECK(len <= APIKEY_QUERY_MAX, "%zu bytes", len);
	CHECK(strncmp(out, "abcdefghi&abcdefghi&", 20) == 0 &&
		  strstr(out, "abcdefghi(abcd|efg)abcdefghi&") != NULL,
		  "printed short: %s", out);
	release(&query);
	for (i = 0; i < 50; i++)
		memcpy(text + 20 * i, "(abcdefgh|ijklmnopq)", 20);
	CHECK(parse(text, APIKEY_QUERY_MAX, &query, &position) == NULL,
		  "the tightest text");
	len = print(&query, out);
	CHECK(len == APIKEY_QUERY_MAX && memcmp(out, text, len) == 0,
		  "%zu bytes from the tightest text", len);
	release(&query);
}

/* Random queries over few scopes, as trees. */
#define SCOPES			6
#define TREE_MAX		64

static const char *const scopes[SCOPES] = {
	"a", "b:c", "android", "x.y:z", "or:x", "A"
};

typedef struct Tree
{
	char		op;				/* '&', '|', or 0 for a scope */
	int			scope;
	int			left;
	int			right;
} Tree;

static Tree tree[TREE_MAX];
static int	ntree;
static uint64_t state = 6;

/*
 * Grow a random tree; returns its root.
 */
static int
grow(int depth)
{
	int			root = ntree++;

	tree[root].op = 0;
	tree[root].scope = unit_below(&state, SCOPES);
	if (depth > 0 && unit_below(&state, 4) > 0)
	{
		tree[root].op = unit_below(&state, 2) ? '&' : '|';
		tree[root].left = grow(depth - 1);
		tree[root].right = grow(depth - 1);
	}
	return root;
}

/*
 * Write a tree as text: canonical, or with random operators and needless
 * parentheses.
 */
static void
write_tree(int root, bool canonical, char *out)
{
	static const char *const ands[] = {" & ", "&", " ", ",", "\tAnd\n", ", "};
	static const char *const ors[] = {" | ", "|", " or ", " OR "};
	const Tree *node = &tree[root];
	int			side;

	if (node->op == 0)
	{
		strcat(out, scopes[node->scope]);
		return;
	}
	for (side = 0; side < 2; side++)
	{
		int			child = side == 0 ? node->left : node->right;
		bool		wrap = node->op == '&' && tree[child].op == '|';

		if (side == 1 && node->op == '&')
			strcat(out, ands[canonical ? 0 :
							 unit_below(&state, LENGTH_OF(ands))]);
		else if (side == 1)
			strcat(out, ors[canonical ? 0 :
							unit_below(&state, LENGTH_OF(ors))]);
		wrap = wrap || (!canonical && unit_below(&state, 4) == 0);
		strcat(out, wrap ? "(" : "");
		write_tree(child, canonical, out);
		strcat(out, wrap ? ")" : "");
	}
}

/*
 * Is bit i set for scope i?
 */
static bool
held(const char *scope, size_t len, void *arg)
{
	int			i;

	for (i = 0; i < SCOPES; i++)
		if (strlen(scopes[i]) == len &&
			memcmp(scopes[i], scope, len) == 0)
			return *(int *) arg >> i & 1;
	CHECK(false, "asked for something else");
	return false;
}

static bool
eval_tree(int root, int mask)
{
	const Tree *node = &tree[root];

	if (node->op == 0)
		return mask >> node->scope & 1;
	if (node->op == '&')
		return eval_tree(node->left, mask) && eval_tree(node->right, mask);
	return eval_tree(node->left, mask) || eval_tree(node->right, mask);
}

/*
 * Which scopes a tree lacks, in order; returns how many.
 */
static int
missing_tree(int root, int mask, int *out)
{
	const Tree *node = &tree[root];
	int			left[SCOPES];
	int			right[SCOPES];
	int			nleft;
	int			nright;
	int			i;
	int			j;

	if (node->op == 0)
	{
		out[0] = node->scope;
		return (mask >> node->scope & 1) == 0;
	}
	nleft = missing_tree(node->left, mask, left);
	nright = missing_tree(node->right, mask, right);
	if (node->op == '|')
	{
		bool		first = nleft <= nright;

		memcpy(out, first ? left : right, sizeof(left));
		return first ? nleft : nright;
	}
	memcpy(out, left, sizeof(left));
	for (i = 0; i < nright; i++)
	{
		for (j = 0; j < nleft && left[j] != right[i]; j++)
			;
		if (j == nleft)
		{
			left[nleft] = right[i];
			out[nleft++] = right[i];
		}
	}
	return nleft;
}

/*
 * Judge with every set of scopes held.
 */
static void
check_judgement(const ApikeyQuery *query, int root, const char *text)
{
	int			mask;
	int			wrong = 0;

	for (mask = 0; mask < 1 << SCOPES; mask++)
	{
		ApikeySlice out[APIKEY_QUERY_TERMS_MAX];
		int			want[SCOPES];
		int			nwant = missing_tree(root, mask, want);
		int			count = apikey_query_missing(query, held, &mask, out);
		int			i;

		wrong += apikey_query_eval(query, held, &mask) !=
			eval_tree(root, mask);
		wrong += count != nwant;
		for (i = 0; i < count && count == nwant; i++)
			wrong += out[i].len != strlen(scopes[want[i]]) ||
				memcmp(out[i].data, scopes[want[i]], out[i].len) != 0;
	}
	CHECK(wrong == 0, "%d wrong answers to %s", wrong, text);
}

static void
test_random(void)
{
	int			i;

	for (i = 0; i < 4000; i++)
	{
		char		text[APIKEY_QUERY_MAX] = "";
		char		canonical[APIKEY_QUERY_MAX] = "";
		char		out[APIKEY_QUERY_CANONICAL_MAX + 1];
		ApikeyQuery query;
		ApikeyQuery again;
		size_t		position;
		int			root;

		ntree = 0;
		root = grow(5);
		write_tree(root, false, text);
		write_tree(root, true, canonical);
		if (CHECK(parse(text, strlen(text), &query, &position) == NULL,
				  "%s parses", text))
		{
			check_judgement(&query, root, text);
			print(&query, out);
			CHECK(strcmp(out, canonical) == 0, "%s for %s", out, canonical);
			CHECK(parse(out, strlen(out), &again, &position) == NULL,
				  "%s parses again", out);
			check_judgement(&again, root, out);
			print(&again, canonical);
			CHECK(strcmp(out, canonical) == 0, "%s from %s", canonical, out);
			release(&again);
		}
		release(&query);
	}
}

/*
 * Only "h" is held.
 */
static bool
held_h(const char *scope, size_t len, void *arg)
{
	(void) arg;
	return len == 1 && scope[0] == 'h';
}

static void
test_missing_table(void)
{
	static const struct
	{
		const char *text;
		const char *missing;	/* with only "h" held */
	}			cases[] = {
		{"h", ""}, {"a", "a"}, {"a b", "a b"}, {"a|b", "a"}, {"b|a", "b"},
		{"a b|c", "c"}, {"a b|h", ""}, {"c|a b", "c"}, {"a b|c d", "a b"},
		{"a a|b", "a"}, {"b b|a", "b"}, {"a h b a", "a b"},
		{"(x y|a)(b|c d) x", "a b x"}, {"a (h|b) c", "a c"},
	};
	int			i;

	for (i = 0; i < LENGTH_OF(cases); i++)
	{
		ApikeyQuery query;
		ApikeySlice out[APIKEY_QUERY_TERMS_MAX];
		char		joined[100] = "";
		size_t		position;
		int			count;
		int			j;

		CHECK(parse(cases[i].text, strlen(cases[i].text), &query,
					&position) == NULL, "%s parses", cases[i].text);
		count = apikey_query_missing(&query, held_h, NULL, out);
		for (j = 0; j < count; j++)
		{
			strcat(joined, j > 0 ? " " : "");
			strncat(joined, out[j].data, out[j].len);
		}
		CHECK(strcmp(joined, cases[i].missing) == 0, "%s lacks %s",
			  cases[i].text, joined);
		release(&query);
	}
}

int
main(void)
{
	ApikeyQuery nothing;
	int			mask = -1;

	nothing.nnodes = 0;
	CHECK(!apikey_query_eval(&nothing, held, &mask), "no query, no entry");
	test_canonical();
	test_faults();
	test_limits();
	test_compact();
	test_random();
	test_missing_table();
	return unit_finish("test_query");
}

/*
 * query.c
 *		What a request needs: scopes combined by AND and OR.
 *
 * Pure: no server headers, no allocation, no global state.  The parser keeps
 * its own stack of operators, bounded by APIKEY_QUERY_DEPTH_MAX.
 */
#include "query.h"

#include <string.h>

#include "ascii.h"

typedef enum TokenKind
{
	TOKEN_END,
	TOKEN_TERM,
	TOKEN_AND,
	TOKEN_OR,
	TOKEN_OPEN,
	TOKEN_CLOSE
} TokenKind;

typedef struct Token
{
	TokenKind	kind;
	size_t		off;
	size_t		len;
} Token;

/* An operator or open parenthesis that waits for what follows it. */
typedef struct Waiting
{
	TokenKind	kind;
	size_t		off;
} Waiting;

/* On each level at most an OR, an AND and the parenthesis that opens it. */
#define WAITING_MAX		(3 * (APIKEY_QUERY_DEPTH_MAX + 1))

typedef struct Parser
{
	const char *text;
	size_t		len;
	size_t		at;				/* behind the last token */
	ApikeyQuery *query;
	Waiting		waiting[WAITING_MAX];
	int			nwaiting;
	int			depth;			/* open parentheses */
} Parser;

/*
 * Does the byte end a word?
 */
static bool
ends_word(char c)
{
	return ascii_is_blank(c) || c == '(' || c == ')' || c == '&' ||
		c == '|' || c == ',';
}

/*
 * Is this text the given lower-case word, in any letter case?
 */
static bool
is_word(const char *text, size_t len, const char *word)
{
	size_t		i;

	for (i = 0; i < len; i++)
		if (word[i] == '\0' || ascii_lower(text[i]) != word[i])
			return false;
	return word[len] == '\0';
}

/*
 * Tell the kind of the token of one byte that begins here; a word's kind is
 * TOKEN_TERM for now.
 */
static TokenKind
byte_kind(char c)
{
	switch (c)
	{
		case '(':
			return TOKEN_OPEN;
		case ')':
			return TOKEN_CLOSE;
		case '|':
			return TOKEN_OR;
		case '&':
		case ',':
			return TOKEN_AND;
		default:
			return TOKEN_TERM;
	}
}

/*
 * Read the next token.
 */
static Token
next_token(Parser *parser)
{
	const char *text = parser->text;
	Token		token;

	while (parser->at < parser->len && ascii_is_blank(text[parser->at]))
		parser->at++;
	token.kind = TOKEN_END;
	token.off = parser->at;
	token.len = 0;
	if (parser->at >= parser->len)
		return token;

	token.kind = byte_kind(text[parser->at++]);
	if (token.kind == TOKEN_TERM)
		while (parser->at < parser->len && !ends_word(text[parser->at]))
			parser->at++;
	token.len = parser->at - token.off;
	if (is_word(text + token.off, token.len, "and"))
		token.kind = TOKEN_AND;
	else if (is_word(text + token.off, token.len, "or"))
		token.kind = TOKEN_OR;
	return token;
}

/*
 * Write the next node of the query.  There is room for it: the terms are
 * counted, and every operator needs one more of them.
 */
static void
add_node(ApikeyQuery *query, ApikeyQueryOp op, size_t off, size_t len)
{
	ApikeyQueryNode *node = &query->node[query->nnodes++];

	node->op = (uint8_t) op;
	node->off = (uint16_t) off;
	node->len = (uint8_t) len;
}

/*
 * Write the waiting operators that bind at least as tight as the given one,
 * back to the last open parenthesis; TOKEN_CLOSE and TOKEN_END bind loosest.
 */
static void
write_waiting(Parser *parser, TokenKind before)
{
	while (parser->nwaiting > 0)
	{
		TokenKind	kind = parser->waiting[parser->nwaiting - 1].kind;

		if (kind == TOKEN_OPEN || (kind == TOKEN_OR && before == TOKEN_AND))
			break;
		add_node(parser->query,
				 kind == TOKEN_OR ? APIKEY_QUERY_OR : APIKEY_QUERY_AND, 0, 0);
		parser->nwaiting--;
	}
}

/*
 * Let an operator or parenthesis wait.
 */
static void
push_waiting(Parser *parser, TokenKind kind, size_t off)
{
	parser->waiting[parser->nwaiting].kind = kind;
	parser->waiting[parser->nwaiting].off = off;
	parser->nwaiting++;
}

/*
 * Take a token where a factor must begin.  Returns the fault, or NULL; then
 * *complete says whether the factor is one already.
 */
static const char *
take_factor(Parser *parser, const Token *token, bool *complete)
{
	const char *fault;

	*complete = false;
	switch (token->kind)
	{
		case TOKEN_TERM:
			fault = apikey_grant_check(parser->text + token->off, token->len,
									   false);
			if (fault != NULL)
				return fault;
			if (parser->query->nterms >= APIKEY_QUERY_TERMS_MAX)
				return "at most 100 scopes are allowed";
			add_node(parser->query, APIKEY_QUERY_TERM, token->off, token->len);
			parser->query->nterms++;
			*complete = true;
			return NULL;
		case TOKEN_OPEN:
			if (parser->depth >= APIKEY_QUERY_DEPTH_MAX)
				return "at most 32 levels of parentheses are allowed";
			parser->depth++;
			push_waiting(parser, TOKEN_OPEN, token->off);
			return NULL;
		case TOKEN_CLOSE:
			return "a scope is missing before \")\"";
		case TOKEN_END:
			return "a scope is missing at the end";
		default:
			return "a scope is missing before this operator";
	}
}

/*
 * Take a token that follows a factor, other than the end.  Returns the fault,
 * or NULL; then *complete says whether a factor precedes still.
 */
static const char *
take_operator(Parser *parser, const Token *token, bool *complete)
{
	TokenKind	kind = token->kind;

	if (kind == TOKEN_CLOSE)
	{
		if (parser->depth == 0)
			return "\")\" has no matching \"(\"";
		write_waiting(parser, TOKEN_CLOSE);
		parser->nwaiting--;
		parser->depth--;
		return NULL;
	}

	/* side by side means AND; what follows then is the token itself */
	if (kind == TOKEN_TERM || kind == TOKEN_OPEN)
		kind = TOKEN_AND;
	write_waiting(parser, kind);
	push_waiting(parser, kind, token->off);
	*complete = false;
	if (kind == token->kind)
		return NULL;
	return take_factor(parser, token, complete);
}

/*
 * Parse: operators wait until one that binds no tighter, a parenthesis or the
 * end shows that their right operand is complete.
 */
const char *
apikey_query_parse(const char *text, size_t len,
				   ApikeyQuery *query, size_t *position)
{
	Parser		parser;
	Token		token;
	bool		complete = false;	/* has a factor just ended? */
	const char *fault = NULL;

	query->text = text;
	query->nnodes = 0;
	query->nterms = 0;
	*position = 0;
	if (len > APIKEY_QUERY_MAX)
	{
		*position = APIKEY_QUERY_MAX;
		return "at most 1000 bytes are allowed";
	}

	parser.text = text;
	parser.len = len;
	parser.at = 0;
	parser.query = query;
	parser.nwaiting = 0;
	parser.depth = 0;
	token = next_token(&parser);
	if (token.kind == TOKEN_END)
		return "it must not be empty";

	while (fault == NULL && !(complete && token.kind == TOKEN_END))
	{
		*position = token.off;
		if (complete)
			fault = take_operator(&parser, &token, &complete);
		else
			fault = take_factor(&parser, &token, &complete);
		if (fault == NULL)
			token = next_token(&parser);
	}
	if (fault != NULL)
		return fault;

	write_waiting(&parser, TOKEN_END);
	if (parser.nwaiting > 0)
	{
		*position = parser.waiting[parser.nwaiting - 1].off;
		return "\"(\" has no matching \")\"";
	}
	*position = len;
	return NULL;
}

/*
 * The text of a term.
 */
static ApikeySlice
term_slice(const ApikeyQuery *query, const ApikeyQueryNode *node)
{
	ApikeySlice term;

	term.data = query->text + node->off;
	term.len = node->len;
	return term;
}

/*
 * Is the query satisfied?  False for one that was not parsed well.
 */
bool
apikey_query_eval(const ApikeyQuery *query, ApikeyQueryHeld held, void *arg)
{
	bool		value[APIKEY_QUERY_TERMS_MAX];
	int			depth = 0;
	int			i;

	for (i = 0; i < query->nnodes; i++)
	{
		const ApikeyQueryNode *node = &query->node[i];

		if (node->op == APIKEY_QUERY_TERM)
		{
			ApikeySlice term = term_slice(query, node);

			value[depth++] = held(term.data, term.len, arg);
			continue;
		}
		depth--;
		if (node->op == APIKEY_QUERY_AND)
			value[depth - 1] = value[depth - 1] && value[depth];
		else
			value[depth - 1] = value[depth - 1] || value[depth];
	}
	return depth > 0 && value[0];
}

/*
 * Is this term among the count ones?
 */
static bool
is_listed(const ApikeySlice *list, int count, const ApikeySlice *term)
{
	int			i;

	for (i = 0; i < count; i++)
		if (list[i].len == term->len &&
			memcmp(list[i].data, term->data, term->len) == 0)
			return true;
	return false;
}

/*
 * Two lists lie side by side: the left one from left on, the right one from
 * right to end.  Leave their union, returning where it ends.
 */
static int
unite(ApikeySlice *list, int left, int right, int end)
{
	int			kept = right;
	int			i;

	for (i = right; i < end; i++)
		if (!is_listed(list + left, right - left, &list[i]))
			list[kept++] = list[i];
	return kept;
}

/*
 * Of the same two lists leave the shorter one, the left one on a tie,
 * returning where it ends.
 */
static int
choose(ApikeySlice *list, int left, int right, int end)
{
	int			i;

	if (right - left <= end - right)
		return right;
	for (i = right; i < end; i++)
		list[left + i - right] = list[i];
	return left + end - right;
}

/*
 * List the terms that are missing.  What each operand lacks is a stretch of
 * out; those of the operands on the stack lie one behind the other.
 */
int
apikey_query_missing(const ApikeyQuery *query,
					 ApikeyQueryHeld held, void *arg, ApikeySlice *out)
{
	int			begin[APIKEY_QUERY_TERMS_MAX];
	int			depth = 0;
	int			end = 0;
	int			i;

	for (i = 0; i < query->nnodes; i++)
	{
		const ApikeyQueryNode *node = &query->node[i];

		if (node->op == APIKEY_QUERY_TERM)
		{
			ApikeySlice term = term_slice(query, node);

			begin[depth++] = end;
			if (!held(term.data, term.len, arg))
				out[end++] = term;
			continue;
		}
		depth--;
		if (node->op == APIKEY_QUERY_AND)
			end = unite(out, begin[depth - 1], begin[depth], end);
		else
			end = choose(out, begin[depth - 1], begin[depth], end);
	}
	return end;
}

/* The operators of a way to print a query. */
typedef struct PrintStyle
{
	const char *and_text;
	const char *or_text;
	bool		and_shown;		/* beside a parenthesis too? */
} PrintStyle;

/*
 * Insert a string into a text; returns the new length.
 */
static size_t
insert(char *text, size_t len, size_t at, const char *what)
{
	size_t		add = strlen(what);

	memmove(text + at + add, text + at, len - at);
	memcpy(text + at, what, add);
	return len + add;
}

/*
 * Put parentheses around a stretch of a text; returns the new length.
 */
static size_t
parenthesize(char *text, size_t len, size_t begin, size_t end)
{
	len = insert(text, len, end, ")");
	return insert(text, len, begin, "(");
}

/*
 * Print in one style.  The operands on the stack are stretches of out, one
 * behind the other; an operator goes between the last two.
 */
static size_t
print_styled(const ApikeyQuery *query, const PrintStyle *style, char *out)
{
	size_t		begin[APIKEY_QUERY_TERMS_MAX];
	bool		is_or[APIKEY_QUERY_TERMS_MAX];
	int			depth = 0;
	size_t		len = 0;
	int			i;

	for (i = 0; i < query->nnodes; i++)
	{
		const ApikeyQueryNode *node = &query->node[i];
		size_t		at;

		if (node->op == APIKEY_QUERY_TERM)
		{
			begin[depth] = len;
			is_or[depth] = false;
			depth++;
			memcpy(out + len, query->text + node->off, node->len);
			len += node->len;
			continue;
		}

		depth--;
		at = begin[depth];
		if (node->op == APIKEY_QUERY_OR)
		{
			len = insert(out, len, at, style->or_text);
			is_or[depth - 1] = true;
			continue;
		}
		if (is_or[depth])
			len = parenthesize(out, len, at, len);
		if (is_or[depth - 1])
		{
			len = parenthesize(out, len, begin[depth - 1], at);
			at += strlen("()");
		}
		if (style->and_shown || (out[at - 1] != ')' && out[at] != '('))
			len = insert(out, len, at, style->and_text);
		is_or[depth - 1] = false;
	}
	return len;
}

/*
 * Write the canonical text, in the short style if it must be.
 */
size_t
apikey_query_print(const ApikeyQuery *query, char *out)
{
	static const PrintStyle spaced = {" & ", " | ", true};
	static const PrintStyle compact = {"&", "|", false};
	size_t		len = print_styled(query, &spaced, out);

	if (len > APIKEY_QUERY_MAX)
		len = print_styled(query, &compact, out);
	return len;
}

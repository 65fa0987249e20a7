/*
 * jwt.c
 *		The form of JSON Web Tokens.
 */
#include "jwt.h"

static bool
is_digit(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		(c >= '0' && c <= '9') || c == '-' || c == '_';
}

bool
apikey_jwt_split(const char *text, size_t len, ApikeyJwt *jwt)
{
	ApikeyJwtPart *parts[3];
	size_t		start = 0;
	int			which = 0;

	if (len > APIKEY_JWT_MAX)
		return false;
	parts[0] = &jwt->header;
	parts[1] = &jwt->payload;
	parts[2] = &jwt->signature;
	for (size_t i = 0; i <= len; i++)
	{
		if (i < len && is_digit(text[i]))
			continue;
		if (i == start || (i < len && text[i] != '.') ||
			(i < len) != (which < 2))
			return false;
		parts[which]->data = text + start;
		parts[which]->len = i - start;
		if (which == 1)
			jwt->signed_len = i;
		which++;
		start = i + 1;
	}
	return true;
}

/*
 * gateway.h
 *		What each gateway is to be answered, in its own dialect.
 */
#ifndef APIKEY_GATEWAY_H
#define APIKEY_GATEWAY_H

#include "postgres.h"

#include "answer.h"
#include "webrequest.h"

typedef enum ApikeyDialect
{
	APIKEY_DIALECT_GENERIC,
	APIKEY_DIALECT_NGINX,
	APIKEY_DIALECT_ENVOY,
	APIKEY_DIALECT_TRAEFIK,
	APIKEY_DIALECT_HASURA,
	APIKEY_DIALECT_KONG
} ApikeyDialect;

/* What a gateway is told */
typedef struct ApikeyGatewayAnswer
{
	bool		allowed;
	int			status;
	ApikeyAnswerHeaders response;	/* for whoever called */
	ApikeyAnswerHeaders upstream;	/* for the server behind; "" removes */
	const char *body;			/* or NULL */
	const char *content_type;	/* or NULL */
} ApikeyGatewayAnswer;

/* By its name; 22023 if there is none of that name. */
extern ApikeyDialect apikey_dialect(ApikeyText name);

/* The answer for a decision */
extern void apikey_gateway_answer(ApikeyGatewayAnswer *answer,
								  ApikeyDialect dialect,
								  const ApikeyWebRequest *web,
								  const ApikeyDecision *decision);

/* The answer for a CORS preflight, which passes without a key */
extern void apikey_gateway_preflight(ApikeyGatewayAnswer *answer,
									 ApikeyDialect dialect);

#endif							/* APIKEY_GATEWAY_H */

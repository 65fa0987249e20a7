// verify.mjs FILE: verify tokens as others would.  The file has {jwks, tokens:
// {name: token}, issuer, audience, algorithms, now}; prints {name: {header,
// payload}, or the code of the error}.
import { readFileSync } from 'node:fs'
import { createLocalJWKSet, decodeProtectedHeader, importJWK, jwtVerify } from 'jose'

const { jwks, tokens, issuer, audience, algorithms, now } = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const publicKeys = createLocalJWKSet(jwks)
// Its key sets are of public keys alone.
const keys = (header, token) => {
	const secret = jwks.keys.find((key) => key.kty === 'oct' && key.kid === header.kid)
	return secret ? importJWK(secret) : publicKeys(header, token)
}
const result = {}
for (const [name, token] of Object.entries(tokens)) {
	try {
		const currentDate = now ? new Date(now * 1000) : undefined
		const { payload } = await jwtVerify(token, keys, { issuer, audience: audience ?? undefined, algorithms, typ: 'JWT', currentDate })
		result[name] = { header: decodeProtectedHeader(token), payload }
	} catch (error) {
		result[name] = error.code
	}
}
console.log(JSON.stringify(result))

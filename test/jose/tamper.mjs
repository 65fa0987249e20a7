// tamper.mjs FILE: make tokens of one that is good, and with the private key that
// signed it.  The file has {token, other, jwk, seed, now}; prints {name: token}.
import { readFileSync } from 'node:fs'
import * as jose from 'jose'

const { token, other, jwk, seed, now } = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const header = jose.decodeProtectedHeader(token)
const claims = jose.decodeJwt(token)
const [h, p, s] = token.split('.')
const ours = await jose.importJWK({ ...jwk, d: seed }, 'EdDSA')
const theirs = await jose.generateKeyPair('EdDSA')
const text = (value) => jose.base64url.encode(typeof value === 'string' ? value : JSON.stringify(value))
const sign = (payload, key = ours, head = header) => new jose.SignJWT(payload).setProtectedHeader(head).sign(key)
const without = (name) => Object.fromEntries(Object.entries(claims).filter(([key]) => key !== name))
const publicBytes = jose.base64url.decode(jwk.x)
const rsa = await jose.generateKeyPair('RS256')
const ec = await jose.generateKeyPair('ES256')

const made = {
	// Good: signed by us, or as if it had been
	'good: as it was': token,
	'good: signed again with our key': await sign(claims),
	'good: a claim more': await sign({ ...claims, nonce: 'x' }),
	'good: other scopes, which are for others': await sign({ ...claims, scope: '*' }),

	'alg none': new jose.UnsecuredJWT(claims).encode(),
	'alg none, naming our key': `${text({ ...header, alg: 'none' })}.${p}.`,
	'alg none with the signature': `${text({ ...header, alg: 'none' })}.${p}.${s}`,
	'alg None': `${text({ ...header, alg: 'None' })}.${p}.${s}`,
	'another key': await sign(claims, theirs.privateKey),
	'another key in the header': await sign(claims, theirs.privateKey, { ...header, jwk: await jose.exportJWK(theirs.publicKey) }),
	'another key and kid': await sign(claims, theirs.privateKey, { ...header, kid: 'theirs' }),
	'no kid': await sign(claims, ours, { alg: 'EdDSA', typ: 'JWT' }),
	'RS256': await sign(claims, rsa.privateKey, { ...header, alg: 'RS256' }),
	'ES256': await sign(claims, ec.privateKey, { ...header, alg: 'ES256' }),
	'HS256 with the public key': await sign(claims, publicBytes, { ...header, alg: 'HS256' }),
	'HS256 with the public key as text': await sign(claims, new TextEncoder().encode(jwk.x), { ...header, alg: 'HS256' }),
	'HS256 with the public key as JSON': await sign(claims, new TextEncoder().encode(JSON.stringify(jwk)), { ...header, alg: 'HS256' }),
	'HS256 with the empty secret': `${text({ ...header, alg: 'HS256' })}.${p}.${s.slice(0, 43)}`,
	'payload altered': `${h}.${text({ ...claims, sub: 'somebody else' })}.${s}`,
	'payload of another session': `${h}.${other.split('.')[1]}.${s}`,
	'signature of another session': `${h}.${p}.${other.split('.')[2]}`,
	'signature altered': `${h}.${p}.${s.slice(0, 10)}${s[10] === 'A' ? 'B' : 'A'}${s.slice(11)}`,
	'signature in another spelling': `${h}.${p}.${s.slice(0, -1)}${String.fromCharCode(s.charCodeAt(s.length - 1) + 1)}`,
	'signature in base64': `${h}.${p}.${Buffer.from(s, 'base64url').toString('base64')}`,
	'header altered': `${text({ ...header, typ: 'jwt' })}.${p}.${s}`,
	'expired': await sign({ ...claims, exp: now - 1 }),
	'expired long ago': await sign({ ...claims, exp: 1 }),
	'another end': await sign({ ...claims, exp: claims.exp + 3600 }),
	'not yet': await sign({ ...claims, nbf: now + 3600 }),
	'no end': await sign(without('exp')),
	'no beginning': await sign(without('nbf')),
	'no session': await sign(without('jti')),
	'unknown session': await sign({ ...claims, jti: crypto.randomUUID() }),
	'session is no uuid': await sign({ ...claims, jti: '*' }),
	'end is a text': await sign({ ...claims, exp: String(claims.exp) }),
	'end has a fraction': await sign({ ...claims, exp: claims.exp + 0.5 }),
	'oversized': await sign({ ...claims, padding: 'x'.repeat(6000) }),
	'a thousand times nested': await sign({ ...claims, x: JSON.parse('['.repeat(1000) + ']'.repeat(1000)) }),
	'critical extension': await new jose.SignJWT(claims).setProtectedHeader({ ...header, crit: ['x'], x: 1 }).sign(ours, { crit: { x: true } }),
	'encrypted': await new jose.EncryptJWT(claims).setProtectedHeader({ alg: 'dir', enc: 'A256GCM', kid: header.kid }).encrypt(new Uint8Array(32)),
	'JSON serialization': JSON.stringify(await new jose.FlattenedSign(new TextEncoder().encode(JSON.stringify(claims))).setProtectedHeader(header).sign(ours)),
	'four parts': `${token}.${s}`,
	'not a token': 'eyJ.eyJ.eyJ',
}
console.log(JSON.stringify(made))

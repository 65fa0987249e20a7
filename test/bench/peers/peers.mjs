// peers.mjs: the contestants that are called from Node, in rounds, in turn.
//
// The environment says where: PGHOST, PGPORT, PGUSER; BENCH_REDIS, a socket, if
// there is a Redis.  Arguments: key file, number of its keys, seconds of a
// measurement, rounds.  Prints a line for each measurement: name, calls in
// flight, round (0 does not count), calls a second, calls in all.

import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { setImmediate as tick } from "node:timers/promises";
import { apiKey } from "@better-auth/api-key";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { Redis } from "ioredis";
import pg from "pg";

const [file, hot, seconds, rounds] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const depths = [1, 16];
const address = "203.0.113.7";
const keys = readFileSync(file, "utf8").split("\n", hot).map((line) => line.split("\t")[0]);

// One pool each: as many connections as there are calls in flight; none is kept
// while others are measured.
const pools = [];
function pool(database, options, onConnect) {
  const made = new pg.Pool({ database, max: Math.max(...depths), idleTimeoutMillis: 500, options, onConnect });
  pools.push(made);
  return made;
}

function statement(name, text, { options, onConnect } = {}) {
  const connections = pool("bench", options, onConnect);
  return {
    name,
    async call(key) {
      const { rows } = await connections.query({ name: "s", text, values: text.includes("$1") ? [key, "calls:read", address] : [] });
      return rows[0].ok;
    },
  };
}

// The plugin keeps its keys in PostgreSQL, or in Redis; its limit is never reached.
async function better(name, database, { options, redis } = {}) {
  const connections = pool(database, options);
  const config = {
    database: connections,
    secret: randomBytes(32).toString("hex"),
    baseURL: "http://localhost",
    telemetry: { enabled: false },
    logger: { level: "error" },
    plugins: [
      apiKey({
        rateLimit: { enabled: true, maxRequests: 1e9, timeWindow: 24 * 60 * 60 * 1000 },
        ...(redis && { storage: "secondary-storage" }),
      }),
    ],
    ...(redis && {
      secondaryStorage: {
        get: (key) => redis.get(key),
        set: (key, value, ttl) => (ttl ? redis.set(key, value, "EX", ttl) : redis.set(key, value)),
        delete: (key) => redis.del(key),
      },
    }),
  };
  await (await getMigrations(config)).runMigrations();
  const auth = betterAuth(config);
  const context = await auth.$context;
  const user = await context.internalAdapter.createUser({ email: `${name}@example.com`, name });
  const own = [];
  for (let i = 0; i < hot; i++) {
    own.push((await auth.api.createApiKey({ body: { userId: user.id, permissions: { calls: ["read"] } } })).key);
  }
  return {
    name,
    keys: own,
    async call(key) {
      return (await auth.api.verifyApiKey({ body: { key, permissions: { calls: ["read"] } } })).valid;
    },
  };
}

// What people write for Redis: the key's fields and a counter, asked for at once.
async function redisByHand(redis) {
  const digest = (key) => createHash("sha256").update(key).digest("hex");
  for (const key of keys) {
    await redis.hset(`key:${digest(key)}`, { account: "a", scopes: "calls:read", allowed: "203.0.113.0/24", revoked: "" });
  }
  return {
    name: "Redis, HMGET + INCR",
    async call(key) {
      const id = digest(key);
      const [fields, used] = await Promise.all([
        redis.hmget(`key:${id}`, "account", "scopes", "allowed", "revoked"),
        redis.incr(`used:${id}`),
      ]);
      return fields[0] !== null && fields[3] === "" && fields[1].split(" ").includes("calls:read") && used > 0;
    },
  };
}

async function measure({ call, keys: own = keys }, depth) {
  let [calls, total, open, stop] = [0, 0, false, false];
  const workers = Array.from({ length: depth }, async (_, worker) => {
    for (let i = worker * 31; !stop; i++) {
      if (!(await call(own[i % own.length]))) throw new Error("a key was refused");
      total++;
      if (open) calls++;
    }
  });
  // A worker that fails ends all of it.
  const all = Promise.all(workers);
  const sleep = (s) => Promise.race([all, new Promise((done) => setTimeout(done, s * 1000))]);
  await sleep(seconds / 3);
  open = true;
  const start = process.hrtime.bigint();
  await sleep(seconds);
  open = false;
  const elapsed = Number(process.hrtime.bigint() - start) / 1e9;
  stop = true;
  await all;
  return { rate: calls / elapsed, total };
}

const contestants = [
  statement("SELECT 1", "SELECT true AS ok"),
  statement("do-nothing function", "SELECT * FROM bench.nothing($1, $2, $3)", {
    onConnect: (client) => client.query(process.env.BENCH_ANSWER),
  }),
  statement("PL/pgSQL by hand, checks only", "SELECT * FROM bench.checks($1, $2, $3)"),
  statement("PL/pgSQL by hand, counts and limits", "SELECT * FROM bench.counting($1, $2, $3)"),
  statement("the same, tuned, synchronous_commit off", "SELECT * FROM bench.tuned($1, $2, $3)", { options: "-c synchronous_commit=off" }),
  statement("apikey.verify", "SELECT * FROM apikey.verify($1, $2, $3)"),
  await better("Better Auth, PostgreSQL", "better_auth"),
  await better("Better Auth, PostgreSQL, synchronous_commit off", "better_auth_async", { options: "-c synchronous_commit=off" }),
];
const redis = process.env.BENCH_REDIS && new Redis(process.env.BENCH_REDIS);
if (redis) {
  contestants.push(await redisByHand(redis), await better("Better Auth, Redis", "better_auth_redis", { redis }));
}

// Round 0 is for Node's compiler and for caches.
for (let round = 0; round <= rounds; round++) {
  for (const depth of depths) {
    for (const contestant of contestants) {
      const { rate, total } = await measure(contestant, depth);
      console.log([contestant.name, depth, round, rate.toFixed(1), total].join("\t"));
      await tick();
    }
  }
}
redis?.disconnect();
await Promise.all(pools.map((made) => made.end()));

// peers.mjs: the contestants that are called from Node, in rounds, in turn.
//
// The environment says where: PGHOST, PGPORT, PGUSER; BENCH_REDIS, a socket, if
// there is a Redis; BENCH_SERVERS, the process ids of the servers.  Arguments: key file, number of its keys, seconds of a
// measurement, rounds.  Prints a line for each measurement: name, calls in
// flight, round (0 does not count), calls a second, calls in all, CPU a call of the
// servers and of Node, in microseconds.

import { createHash, randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
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

// The plugin's way of connecting; nothing is kept while others are measured.
const pools = [];
function pool(database, options) {
  const made = new pg.Pool({ database, max: Math.max(...depths), idleTimeoutMillis: 500, options });
  pools.push(made);
  return made;
}

// A statement through node-postgres: a connection for each call in flight.
function statement(name, text, { options, before } = {}) {
  const values = (key) => (text.includes("$1") ? [key, "calls:read", address] : []);
  return {
    name,
    async connect() {
      const client = new pg.Client({ database: "bench", options });
      await client.connect();
      if (before) await client.query(before);
      return client;
    },
    async call(key, client) {
      const { rows } = await client.query({ name: "s", text, values: values(key) });
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

// What people write for Redis, in two ways: the key's fields are looked at, and
// what passes is counted; or both are asked for at once, and refusals count too.
async function redisByHand(redis) {
  const digest = (key) => createHash("sha256").update(key).digest("hex");
  for (const key of keys) {
    await redis.hset(`key:${digest(key)}`, { account: "a", scopes: "calls:read", allowed: "203.0.113.0/24", revoked: "" });
  }
  const read = (id) => redis.hmget(`key:${id}`, "account", "scopes", "allowed", "revoked");
  const count = (id) => redis.incr(`used:${id}`);
  const passes = (fields) => fields[0] !== null && fields[3] === "" && fields[1].split(" ").includes("calls:read");
  return [
    {
      name: "Redis, HMGET, then INCR",
      async call(key) {
        const id = digest(key);
        return passes(await read(id)) && (await count(id)) > 0;
      },
    },
    {
      name: "Redis, HMGET and INCR at once",
      async call(key) {
        const id = digest(key);
        const [fields, used] = await Promise.all([read(id), count(id)]);
        return passes(fields) && used > 0;
      },
    },
  ];
}

// CPU time of the servers, in microseconds: of a process and of its children.
const servers = (process.env.BENCH_SERVERS ?? "").split(" ").filter(Boolean);
function serverCpu() {
  const times = new Map();
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const parent = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/.*\) \S /s, "").split(" ")[0];
      if (servers.includes(pid) || servers.includes(parent)) {
        times.set(pid, Number(readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ")[0]) / 1000);
      }
    } catch {
      // It has ended meanwhile.
    }
  }
  return times;
}

async function measure({ connect, call, keys: mine = keys }, depth) {
  let [calls, total, open, stop] = [0, 0, false, false];
  const workers = Array.from({ length: depth }, async (_, worker) => {
    const client = await connect?.();
    for (let i = worker * 31; !stop; i++) {
      if (!(await call(mine[i % mine.length], client))) throw new Error("a key was refused");
      total++;
      if (open) calls++;
    }
    await client?.end();
  });
  // A worker that fails ends all of it.
  const all = Promise.all(workers);
  const sleep = (s) => Promise.race([all, new Promise((done) => setTimeout(done, s * 1000))]);
  await sleep(seconds / 3);
  const [own, server] = [process.cpuUsage(), serverCpu()];
  open = true;
  const start = process.hrtime.bigint();
  await sleep(seconds);
  open = false;
  const elapsed = Number(process.hrtime.bigint() - start) / 1e9;
  const { user, system } = process.cpuUsage(own);
  let cpu = 0;
  for (const [pid, time] of serverCpu()) cpu += time - (server.get(pid) ?? 0);
  stop = true;
  await all;
  return { rate: calls / elapsed, total, cpu: cpu / calls, node: (user + system) / calls };
}

const by_hand = (name) => `SELECT ok, code, status, account FROM bench.${name}($1, $2, $3)`;
const ours = (name, columns = "ok, code, status, message, account") => `SELECT ${columns} FROM ${name}($1, $2, $3)`;
const before = process.env.BENCH_ANSWER;
const contestants = [
  statement("SELECT 1", "SELECT true AS ok"),
  statement("do-nothing function", ours("bench.nothing"), { before }),
  statement("do-nothing function, ok and code", ours("bench.nothing", "ok, code"), { before }),
  statement("do-nothing function, all columns", ours("bench.nothing", "*"), { before }),
  statement("PL/pgSQL by hand, checks only", by_hand("checks")),
  statement("PL/pgSQL by hand, counts and limits", by_hand("counting")),
  statement("the same, tuned, synchronous_commit off", by_hand("tuned"), { options: "-c synchronous_commit=off" }),
  statement("apikey.verify", ours("apikey.verify")),
  statement("apikey.verify, ok and code", ours("apikey.verify", "ok, code")),
  statement("apikey.verify, all columns", ours("apikey.verify", "*")),
  await better("Better Auth, PostgreSQL", "better_auth"),
  await better("Better Auth, PostgreSQL, synchronous_commit off", "better_auth_async", { options: "-c synchronous_commit=off" }),
];
const redis = process.env.BENCH_REDIS && new Redis(process.env.BENCH_REDIS);
if (redis) {
  contestants.push(...(await redisByHand(redis)), await better("Better Auth, Redis", "better_auth_redis", { redis }));
}

// Round 0 is for Node's compiler and for caches.
for (let round = 0; round <= rounds; round++) {
  for (const depth of depths) {
    for (const contestant of contestants) {
      const { rate, total, cpu, node } = await measure(contestant, depth);
      console.log([contestant.name, depth, round, rate.toFixed(1), total, cpu.toFixed(1), node.toFixed(1)].join("\t"));
      await tick();
    }
  }
}
redis?.disconnect();
await Promise.all(pools.map((made) => made.end()));

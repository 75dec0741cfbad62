import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Lookup } from '#embeddings/lookup/lookup.ts';
import { LookupTicket, sourceNumbers } from '#embeddings/lookup/lookup-table.ts';
import { LmdbStore } from '#embeddings/stores/lmdb-store.ts';
import { MemoryStore } from '#embeddings/stores/memory-store.ts';
import { RedisStore } from '#embeddings/stores/redis-store.ts';
import type { KeyValueStore } from '#embeddings/stores/store.ts';
import { storedValue } from '#embeddings/stores/stored-value.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import { startRedis } from '../services/redis.ts';
import type { Bench, BenchMode, BenchProgress, BenchReport } from '../support/bench.ts';
import { redisServerPath } from '../support/services.ts';

const plans = {
  full: { userCount: 200_000, warmUpLookups: 400_000, lookups: 400_000 },
  smoke: { userCount: 4000, warmUpLookups: 6000, lookups: 6000 },
} as const;
/** Exponents of the law by which users come back, from even to steep; the figure is that of the third. */
const alphas = [1, 1.1, 1.2, 1.3] as const;
const alpha = 1.2;
/** How Redis chooses whom to drop: who was used least lately, or least often. */
const policies = ['allkeys-lru', 'allkeys-lfu'] as const;
/** Of all users: what the warm store has room for, and what one thread keeps. */
const hotShare = 0.1;
const processShare = 0.01;
const payloadBytes = 96;
/** The clock of the lookup goes by this, so that keeping times mean something: 1,000 requests a second. */
const msPerLookup = 1;
const processMs = 30_000;
const warmMs = 3_600_000;
const seed = 11;

type Shares = { readonly process: number; readonly warm: number; readonly cold: number; readonly coldReads: number };

/** Ranks by Zipf's law, by inversion of the summed weights. */
function zipf(count: number, exponent: number, random: () => number): () => number {
  const sums = new Float64Array(count);
  let sum = 0;
  for (let rank = 0; rank < count; rank++) {
    sum += (rank + 1) ** -exponent;
    sums[rank] = sum;
  }
  return () => {
    const wanted = random() * sum;
    let low = 0;
    let high = count - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (sums[middle]! < wanted) low = middle + 1;
      else high = middle;
    }
    return low;
  };
}

function userKeys(count: number): Buffer[] {
  return Array.from({ length: count }, (_, index) => Buffer.from(`user-${index.toString().padStart(9, '0')}`));
}

function storedUser(index: number): Buffer {
  const payload = Buffer.alloc(payloadBytes);
  payload.writeUInt32LE(index);
  return storedValue(payload, 1, 0);
}

function entriesOf(keys: readonly Buffer[], from: number, to: number): { key: Buffer; value: Buffer }[] {
  return keys
    .slice(from, to)
    .map((key, index) => ({ key: Buffer.concat([Buffer.from('u:'), key]), value: storedUser(from + index) }));
}

/** The users from `first` on. */
async function fillAll(store: KeyValueStore, keys: readonly Buffer[], first = 0): Promise<void> {
  for (let from = first; from < keys.length; from += 1000) await store.write(entriesOf(keys, from, from + 1000));
}

/** One user after another through one thread's lookup; where each was found, after the tiers have filled. */
async function measured(
  { warm, cold, keys }: { warm: KeyValueStore; cold: KeyValueStore; keys: readonly Buffer[] },
  exponent: number,
  { warmUpLookups, lookups }: { warmUpLookups: number; lookups: number },
): Promise<Shares> {
  let clockMs = 1_790_000_000_000;
  const lookup = new Lookup({
    tables: [
      {
        name: 'user',
        keyPrefix: 'u:',
        store: warm,
        format: { kind: 'value', version: 1, payloadBytes },
        cacheMs: processMs,
        absentCacheMs: 0,
        staleMs: 0,
        cold: { store: cold, warmMs, absentMs: warmMs },
      },
    ],
    now: () => clockMs,
    limits: { cacheEntriesMax: Math.ceil(keys.length * processShare) },
  });
  const rankOf = zipf(keys.length, exponent, seededRandom(seed));
  const ticket = new LookupTicket();
  const counts = new Float64Array(4);
  let coldReads = 0;
  for (let index = 0; index < warmUpLookups + lookups; index++) {
    if (index === warmUpLookups) {
      counts.fill(0);
      coldReads = lookup.status().tables[0]!.cold.asked;
    }
    clockMs += msPerLookup;
    const user = rankOf();
    ticket.clear();
    ticket.ask(0, keys[user]!);
    await new Promise<void>((resolve) => {
      if (lookup.begin(ticket, clockMs + 1000, () => resolve())) resolve();
    });
    const value = ticket.values[0];
    if (value === undefined) counts[0]! += 1;
    else {
      if (value.readUInt32LE() !== user) throw new Error(`user ${user} was given the value of ${value.readUInt32LE()}`);
      counts[ticket.sources[0]!]! += 1;
    }
    // Cold answers come between requests, not within one.
    if (index % 16 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  coldReads = lookup.status().tables[0]!.cold.asked - coldReads;
  const { dropped, failed } = lookup.status().tables[0]!.cold;
  await lookup.close();
  if (failed > 0 || dropped > 0) throw new Error(`the cold tier failed ${failed} times and dropped ${dropped} keys`);
  const share = (count: number) => Number((count / lookups).toPrecision(4));
  return {
    process: share(counts[sourceNumbers.process]!),
    warm: share(counts[sourceNumbers.store]! + counts[sourceNumbers.hedge]!),
    cold: share(counts[0]!),
    coldReads: share(coldReads),
  };
}

async function inMemory(exponent: number, plan: (typeof plans)[BenchMode]): Promise<Shares> {
  const now = () => 0;
  const keys = userKeys(plan.userCount);
  const cold = new MemoryStore({ now, entryCountMax: plan.userCount, bytesMax: 2 ** 30 });
  const warm = new MemoryStore({ now, entryCountMax: Math.ceil(plan.userCount * hotShare), bytesMax: 2 ** 30 });
  await fillAll(cold, keys);
  return measured({ warm, cold, keys }, exponent, plan);
}

/** Redis with room for a tenth of the users, over a folder with all of them. */
async function onServers(policy: string, plan: (typeof plans)[BenchMode]): Promise<Shares | { skipped: string }> {
  const command = redisServerPath();
  if (command === undefined) return { skipped: 'redis-server is not installed' };
  const path = await mkdtemp(join(tmpdir(), 'gavelin-tiers-'));
  const server = await startRedis(command);
  const warm = new RedisStore({
    kind: 'redis',
    shards: [{ name: 'only', copies: [{ host: server.host, port: server.port }] }],
  });
  const cold = new LmdbStore({ path, now: () => Date.now(), memoryBytesMax: 0 });
  try {
    await Promise.all([warm.ready(), cold.ready()]);
    const keys = userKeys(plan.userCount);
    await fillAll(cold, keys);
    const hotCount = Math.ceil(keys.length * hotShare);
    // What so many users take in Redis is what it may take from now on.
    await fillAll(warm, keys, keys.length - hotCount);
    const used = /used_memory:(\d+)/u.exec(String(await server.call('INFO', 'memory')))![1]!;
    await server.call('CONFIG', 'SET', 'maxmemory-policy', policy);
    await server.call('CONFIG', 'SET', 'maxmemory', Number(used));
    return await measured({ warm, cold, keys }, alpha, plan);
  } finally {
    await warm.close();
    await cold.close();
    await server.end();
    await rm(path, { recursive: true, force: true });
  }
}

async function runBench(mode: BenchMode, progress: BenchProgress): Promise<BenchReport> {
  const plan = plans[mode];
  const shares: Record<string, Shares> = {};
  for (const [index, exponent] of alphas.entries()) {
    shares[exponent] = await inMemory(exponent, plan);
    progress(index + 1, alphas.length + policies.length, `alpha ${exponent}`);
  }
  const servers: Record<string, Shares | { skipped: string }> = {};
  for (const [index, policy] of policies.entries()) {
    servers[policy] = await onServers(policy, plan);
    progress(alphas.length + index + 1, alphas.length + policies.length, `Redis (${policy}) over lmdb`);
  }
  const main = shares[alpha]!;
  return {
    bench: 'tiers',
    value: Number((main.process + main.warm).toPrecision(4)),
    unit: 'share of lookups answered before the cold tier',
    better: 'higher',
    figures: {
      alpha,
      ...Object.fromEntries(Object.entries(shares).map(([exponent, each]) => [`alpha${exponent}`, each])),
      ...Object.fromEntries(Object.entries(servers).map(([policy, each]) => [`redisOverLmdb:${policy}`, each])),
      users: plan.userCount,
      hotShare,
      processShare,
      lookups: plan.lookups,
    },
  };
}

export const bench: Bench = {
  name: 'tiers',
  about: 'where Zipf users are found: process cache, warm store with room for 10 % of them, cold store',
  run: runBench,
};

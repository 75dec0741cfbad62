import { Redis } from 'ioredis';
import { Lookup } from '#embeddings/lookup/lookup.ts';
import { type LookupTable, LookupTicket, outcomeNumbers } from '#embeddings/lookup/lookup-table.ts';
import { RedisStore } from '#embeddings/stores/redis-store.ts';
import { storedValue } from '#embeddings/stores/stored-value.ts';
import type { StoreEntry } from '#embeddings/stores/store.ts';
import { startRedis } from '../services/redis.ts';
import { type Bench, cpuSeconds, median } from '../support/bench.ts';
import { redisServerPath } from '../support/services.ts';

/** What one request asks: what is known about its user, and features of sites and ads that are not in the process. */
const shapes = {
  large: { userValues: 5, features: 200 },
  small: { userValues: 4, features: 1 },
};
const userPayloadBytes = 256;
const featurePayloadBytes = 64;
const version = 1;

type Side = { readonly ms: number[]; cpuSeconds: number; bytes: number };

export const bench: Bench = {
  name: 'lookup-redis',
  about:
    "a request's 205 keys through Lookup and the Redis store ÷ the same keys by one mgetBuffer of ioredis: p50 and CPU",
  async run(mode, progress) {
    const command = redisServerPath();
    if (command === undefined)
      return { ...report, value: Number.NaN, figures: { skipped: 'redis-server is not installed' } };
    const [rounds, operations] = mode === 'full' ? [60, 250] : [4, 10];
    const server = await startRedis(command);
    const store = new RedisStore({ kind: 'redis', shards: [{ name: 'only', copies: [server] }] });
    const raw = new Redis({ host: server.host, port: server.port });
    try {
      await store.ready();
      const figures: Record<string, number | string> = {};
      let value = Number.NaN;
      for (const [name, shape] of Object.entries(shapes)) {
        const { keys, lookUp, close } = await requestOf(store, shape);
        const readRaw = async () => (await raw.mgetBuffer(keys)).reduce((sum, each) => sum + each!.length, 0);
        const readStore = async () => (await store.read(0, 0, keys)).reduce((sum, each) => sum + each!.length, 0);
        const [ours, theirs, bare] = [newSide(), newSide(), newSide()];
        for (let round = 0; round < rounds; round++) {
          // Whoever goes first changes with each round; the first rounds warm up and do not count.
          const order = [
            () => timed(ours, operations, lookUp),
            () => timed(theirs, operations, readRaw),
            () => timed(bare, operations, readStore),
          ];
          for (let turn = 0; turn < order.length; turn++) await order[(round + turn) % order.length]!();
          if (round === Math.floor(rounds / 5)) for (const side of [ours, theirs, bare]) reset(side);
          progress(round + 1, rounds, `${name}: ${keys.length} keys`);
        }
        if (ours.bytes !== theirs.bytes || bare.bytes !== theirs.bytes)
          throw new Error('both sides must read the same');
        await close();
        const p50Ratio = rounded(median(ours.ms) / median(theirs.ms));
        if (name === 'large') value = p50Ratio;
        Object.assign(figures, {
          [`${name}Keys`]: keys.length,
          [`${name}Bytes`]: theirs.bytes / theirs.ms.length,
          [`${name}P50Ratio`]: p50Ratio,
          [`${name}CpuRatio`]: rounded(ours.cpuSeconds / theirs.cpuSeconds),
          [`${name}P50Ms`]: rounded(median(ours.ms)),
          [`${name}RawP50Ms`]: rounded(median(theirs.ms)),
          [`${name}CpuMs`]: rounded((1000 * ours.cpuSeconds) / ours.ms.length),
          [`${name}RawCpuMs`]: rounded((1000 * theirs.cpuSeconds) / theirs.ms.length),
          [`${name}StoreAloneP50Ratio`]: rounded(median(bare.ms) / median(theirs.ms)),
          [`${name}StoreAloneCpuRatio`]: rounded(bare.cpuSeconds / theirs.cpuSeconds),
        });
      }
      return {
        ...report,
        value,
        figures: {
          ...figures,
          operations: rounds * operations,
          conditions: 'one at a time, no cache, Redis on loopback',
        },
      };
    } finally {
      raw.disconnect();
      await store.close();
      await server.end();
    }
  },
};

const report = { bench: 'lookup-redis', unit: 'p50 ÷ raw ioredis, 205 keys', better: 'lower' } as const;

type Request = { readonly keys: Buffer[]; readonly lookUp: () => Promise<number>; readonly close: () => Promise<void> };

/** Tables, a ticket and the same keys as one list, all written. */
async function requestOf(
  store: RedisStore,
  { userValues, features }: { userValues: number; features: number },
): Promise<Request> {
  const format = (payloadBytes: number) => ({ kind: 'value', version, payloadBytes }) as const;
  const common = { store, cacheMs: 0, absentCacheMs: 0, staleMs: 0 };
  const tables: LookupTable[] = [];
  for (let table = 0; table < userValues; table++) {
    tables.push({ ...common, name: `user_${table}`, keyPrefix: `user_${table}:`, format: format(userPayloadBytes) });
  }
  tables.push({ ...common, name: 'features', keyPrefix: 'feature:', format: format(featurePayloadBytes) });
  const asked: { table: number; key: Buffer }[] = [];
  const userKey = Buffer.from('5e8f1c0a-77b2-4f6e-9d3a-0c5b2e7f9a11');
  for (let table = 0; table < userValues; table++) asked.push({ table, key: userKey });
  for (let index = 0; index < features; index++)
    asked.push({ table: userValues, key: Buffer.from(`site-and-ad-${100_000 + index * 37}`) });
  const keys = asked.map(({ table, key }) => Buffer.concat([Buffer.from(tables[table]!.keyPrefix), key]));
  const entries: StoreEntry[] = keys.map((key, index) => {
    const payload = Buffer.alloc(index < userValues ? userPayloadBytes : featurePayloadBytes, index % 251);
    return { key, value: storedValue(payload, version, 1_700_000_000_000) };
  });
  await store.write(entries);
  const lookup = new Lookup({ tables, now: () => performance.timeOrigin + performance.now(), hedge: { shareMax: 0 } });
  const ticket = new LookupTicket();
  const lookUp = () =>
    new Promise<number>((resolve, reject) => {
      ticket.clear();
      for (const { table, key } of asked) ticket.ask(table, key);
      const atOnce = lookup.begin(ticket, performance.timeOrigin + performance.now() + 1000, () => {
        let bytes = 0;
        for (let place = 0; place < ticket.count; place++) {
          if (ticket.outcomes[place] !== outcomeNumbers.found) return reject(new Error(`key ${place} was not found`));
          bytes += ticket.values[place]!.length + 16;
        }
        resolve(bytes);
      });
      if (atOnce) reject(new Error('nothing was asked'));
    });
  return { keys, lookUp, close: () => lookup.close() };
}

function newSide(): Side {
  return { ms: [], cpuSeconds: 0, bytes: 0 };
}

function reset(side: Side): void {
  side.ms.length = 0;
  side.cpuSeconds = 0;
  side.bytes = 0;
}

async function timed(side: Side, operations: number, operate: () => Promise<number>): Promise<void> {
  const cpuBefore = cpuSeconds();
  for (let operation = 0; operation < operations; operation++) {
    const startedMs = performance.now();
    side.bytes += await operate();
    side.ms.push(performance.now() - startedMs);
  }
  side.cpuSeconds += cpuSeconds() - cpuBefore;
}

function rounded(value: number): number {
  return Number(value.toPrecision(4));
}

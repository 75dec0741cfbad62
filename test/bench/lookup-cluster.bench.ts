import { type ChainableCommander, Redis } from 'ioredis';
import { build } from 'hdr-histogram-js';
import { Lookup } from '#embeddings/lookup/lookup.ts';
import { type LookupTable, LookupTicket, outcomeNumbers } from '#embeddings/lookup/lookup-table.ts';
import { RedisClusterStore } from '#embeddings/stores/redis-cluster-store.ts';
import { defaultPartitionCount, entityHash, partitionsOf } from '#embeddings/stores/redis-partitions.ts';
import { storedValue } from '#embeddings/stores/stored-value.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import { startRedisCluster } from '../services/redis.ts';
import { type Bench, cpuSeconds, median } from '../support/bench.ts';
import { redisServerPath } from '../support/services.ts';

/** Where ads live that are in no process: int8 rows of 64 with a scale each, in an envelope. */
const adCount = 20_000;
const userCount = 5000;
const adsPerRequest = 200;
const rowBytes = 64;
const version = 1;
const ratePerSecond = 250;
/** Plain ioredis waits for ever: on a machine that stands still for a second, Lookup must not win by giving up. */
const patienceMs = 10_000;
/** Beyond what is ever under way: an open loop that fell so far behind is a failed run. */
const openMax = 1000;

type Request = { readonly user: number; readonly ads: Uint32Array };
/** Resolves with the number of values found. */
type Ask = (request: Request) => Promise<number>;

export const bench: Bench = {
  name: 'lookup-cluster',
  about:
    'one user and 200 ad embeddings from a cluster of 3 shards: p99 through Lookup ÷ the same MGETs pipelined per node by plain ioredis',
  async run(mode, progress) {
    const command = redisServerPath();
    if (command === undefined)
      return { ...report, value: Number.NaN, figures: { skipped: 'redis-server is not installed' } };
    const [rounds, secondsPerRound] = mode === 'full' ? [21, 3] : [2, 0.3];
    const cluster = await startRedisCluster(command);
    const store = new RedisClusterStore({
      kind: 'redis-cluster',
      seeds: cluster.nodes.slice(0, 3),
      limits: { answerMs: patienceMs },
    });
    const clients = new Map<string, Redis>();
    try {
      await store.ready();
      for (const { host, port, name } of cluster.nodes.slice(0, 3)) clients.set(name, new Redis({ host, port }));
      const keys = await writeAll(store);
      const { ask, close } = throughLookup(store, keys);
      const sides = [newSide(ask), newSide(throughPipelines(store, keys, clients))];
      for (let round = 0; round < rounds; round++) {
        // The same requests at the same times for both; who goes first takes turns. The first round warms up.
        for (const side of round % 2 === 0 ? sides : sides.toReversed()) {
          const at = newHistogram();
          const record = (ms: number) => at.recordValue(Math.max(1, Math.round(ms * 1000)));
          await openLoop(side.ask, secondsPerRound, seededRandom(11 + round), record);
          if (round === 0) continue;
          side.all.add(at);
          side.p50Ms.push(at.getValueAtPercentile(50) / 1000);
          side.p99Ms.push(at.getValueAtPercentile(99) / 1000);
        }
        progress(round + 1, rounds, `${ratePerSecond} lookups/s`);
      }
      const [ours, raw] = sides.map(({ p50Ms, p99Ms, all }) => ({
        p50Ms: rounded(median(p50Ms)),
        p99Ms: rounded(median(p99Ms)),
        p99MsOfAll: rounded(all.getValueAtPercentile(99) / 1000),
        p999MsOfAll: rounded(all.getValueAtPercentile(99.9) / 1000),
        lookups: all.totalCount,
      }));
      // While it waits for the next due time the loop spins, which is why CPU is taken one lookup after another.
      const [ourCpu, rawCpu] = [await cpuMsEach(sides[0]!.ask, mode), await cpuMsEach(sides[1]!.ask, mode)];
      await close();
      return {
        ...report,
        value: rounded(ours!.p99Ms / raw!.p99Ms),
        figures: {
          ours: ours!,
          raw: raw!,
          p50Ratio: rounded(ours!.p50Ms / raw!.p50Ms),
          cpuRatio: rounded(ourCpu / rawCpu),
          cpuMs: rounded(ourCpu),
          rawCpuMs: rounded(rawCpu),
          ratePerSecond,
          partitions: defaultPartitionCount,
          conditions:
            'medians over rounds of 3 s each; open loop, Poisson, latency from the due time; 3 masters and 3 replicas on the same machine; no cache, no hedging',
        },
      };
    } finally {
      for (const client of clients.values()) client.disconnect();
      await store.close();
      await cluster.end();
    }
  },
};

const report = { bench: 'lookup-cluster', unit: 'p99 ÷ raw ioredis', better: 'lower' } as const;

type Keys = { readonly users: Buffer[]; readonly ads: Buffer[] };
const userPrefix = 'user:';
const adPrefix = 'ad:';

async function writeAll(store: RedisClusterStore): Promise<Keys> {
  const value = (number: number) => storedValue(Buffer.alloc(rowBytes + 4, number % 251), version, 1_700_000_000_000);
  const users = Array.from({ length: userCount }, (_, user) => Buffer.from(`u-${(user * 7919).toString(36)}`));
  const ads = Array.from({ length: adCount }, (_, ad) => Buffer.from(`${1_000_000 + ad}`));
  const full = (prefix: string, keys: Buffer[]) => keys.map((key) => Buffer.concat([Buffer.from(prefix), key]));
  await store.write(
    [...full(userPrefix, users), ...full(adPrefix, ads)].map((key, index) => ({ key, value: value(index) })),
  );
  return { users, ads };
}

function throughLookup(store: RedisClusterStore, { users, ads }: Keys): { ask: Ask; close: () => Promise<void> } {
  const format = { kind: 'value', version, payloadBytes: rowBytes + 4 } as const;
  const common = { store, format, cacheMs: 0, absentCacheMs: 0, staleMs: 0 };
  const tables: LookupTable[] = [
    { ...common, name: 'users', keyPrefix: userPrefix },
    { ...common, name: 'ads', keyPrefix: adPrefix },
  ];
  const lookup = new Lookup({ tables, now: () => performance.timeOrigin + performance.now(), hedge: { shareMax: 0 } });
  const free: LookupTicket[] = [];
  const ask: Ask = (request) =>
    new Promise((resolve) => {
      const ticket = free.pop() ?? new LookupTicket();
      ticket.clear();
      ticket.ask(0, users[request.user]!);
      for (const ad of request.ads) ticket.ask(1, ads[ad]!);
      const counted = () => {
        let found = 0;
        for (let place = 0; place < ticket.count; place++) if (ticket.outcomes[place] === outcomeNumbers.found) found++;
        free.push(ticket);
        resolve(found);
      };
      if (lookup.begin(ticket, performance.timeOrigin + performance.now() + patienceMs, counted)) counted();
    });
  return { ask, close: () => lookup.close() };
}

/** The best that can be had of ioredis: where each key lies, and its bytes with the tag, are known beforehand. */
function throughPipelines(store: RedisClusterStore, { users, ads }: Keys, clients: ReadonlyMap<string, Redis>): Ask {
  const partitions = partitionsOf(defaultPartitionCount);
  const placed = (prefix: string) => (bare: Buffer) => {
    const key = Buffer.concat([Buffer.from(prefix), bare]);
    const partition = entityHash(key) % partitions.length;
    return {
      tagged: Buffer.concat([partitions[partition]!.tag, key]),
      partition,
      client: clients.get(store.copyName(store.shardOf(key), 0))!,
    };
  };
  const [allUsers, allAds] = [users.map(placed(userPrefix)), ads.map(placed(adPrefix))];
  return async ({ user, ads: asked }) => {
    const groups = new Map<number, { client: Redis; keys: Buffer[] }>();
    const add = ({ tagged, partition, client }: (typeof allAds)[number]) => {
      const group = groups.get(partition);
      if (group === undefined) groups.set(partition, { client, keys: [tagged] });
      else group.keys.push(tagged);
    };
    add(allUsers[user]!);
    for (const ad of asked) add(allAds[ad]!);
    const pipelines = new Map<Redis, ChainableCommander>();
    for (const { client, keys } of groups.values()) {
      let pipeline = pipelines.get(client);
      if (pipeline === undefined) {
        pipeline = client.pipeline();
        pipelines.set(client, pipeline);
      }
      pipeline.mgetBuffer(keys);
    }
    const answers = await Promise.all([...pipelines.values()].map((each) => each.exec()));
    let found = 0;
    for (const answer of answers)
      for (const [, values] of answer!) for (const value of values as (Buffer | null)[]) if (value !== null) found++;
    return found;
  };
}

/** Requests at their due times, whoever is still under way. Returns how many there were. */
async function openLoop(
  ask: Ask,
  seconds: number,
  random: () => number,
  record: (ms: number) => void,
): Promise<number> {
  const startedMs = performance.now();
  let dueMs = startedMs;
  const state = { asked: 0, open: 0, failed: undefined as unknown };
  const answered = (found: number, since: number): void => {
    if (found !== adsPerRequest + 1) throw new Error(`${found} of ${adsPerRequest + 1} were found`);
    record(performance.now() - since);
    state.open--;
  };
  while (dueMs - startedMs < seconds * 1000 && state.failed === undefined) {
    dueMs -= (Math.log(1 - random()) * 1000) / ratePerSecond;
    const request = someRequest(random);
    await reached(dueMs);
    if (state.open >= openMax) throw new Error(`${state.open} lookups are under way`);
    state.open++;
    state.asked++;
    const due = dueMs;
    void ask(request)
      .then((found) => answered(found, due))
      .catch((error: unknown) => (state.failed = error));
  }
  while (state.open > 0 && state.failed === undefined) await reached(performance.now() + 1);
  if (state.failed !== undefined) throw state.failed;
  return state.asked;
}

/** Timers come up to a millisecond late: the last of the wait is spent looking at the clock between turns of the loop. */
function reached(dueMs: number): Promise<void> {
  return new Promise((resolve) => {
    const look = (): void => {
      const leftMs = dueMs - performance.now();
      if (leftMs <= 0) resolve();
      else if (leftMs > 2) setTimeout(look, leftMs - 1.5);
      else setImmediate(look);
    };
    look();
  });
}

async function cpuMsEach(ask: Ask, mode: 'smoke' | 'full'): Promise<number> {
  const random = seededRandom(12);
  const count = mode === 'full' ? 4000 : 20;
  const before = cpuSeconds();
  for (let index = 0; index < count; index++) {
    if ((await ask(someRequest(random))) !== adsPerRequest + 1) throw new Error('not all were found');
  }
  return ((cpuSeconds() - before) * 1000) / count;
}

function someRequest(random: () => number): Request {
  return {
    user: Math.floor(random() * userCount),
    ads: Uint32Array.from({ length: adsPerRequest }, () => Math.floor(random() * adCount)),
  };
}

function newSide(ask: Ask) {
  return { ask, all: newHistogram(), p50Ms: [] as number[], p99Ms: [] as number[] };
}

function newHistogram() {
  return build({ lowestDiscernibleValue: 1, highestTrackableValue: 60_000_000, numberOfSignificantValueDigits: 3 });
}

function rounded(value: number): number {
  return Number(value.toPrecision(4));
}

import { Worker } from 'node:worker_threads';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { servedDims } from '#inference/head-weights.ts';
import { ScoringClient, type ScoringOutcome } from '#inference/scoring-client.ts';
import type { ScoringModel } from '#inference/scoring-model.ts';
import { ScoringPool, type ThreadDeath } from '#inference/scoring-pool.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import { normals } from '../support/random-head.ts';
import type { ChildData, ChildReport } from './scoring-client-child.ts';
import { crossRows, nowMs, type ScoringFixture, scoringFixture } from './scoring-fixture.ts';

const seed = 20_261_124;
const first = await scoringFixture(seed);
const second = await scoringFixture(seed + 1, 1);

const workers: Worker[] = [];
const onWorker = (worker: Worker): void => void workers.push(worker);
process.on('worker', onWorker);
afterAll(() => void process.off('worker', onWorker));

const open: { stop(): unknown }[] = [];
afterEach(async () => {
  for (const each of open.splice(0).toReversed()) await each.stop();
  workers.length = 0;
});

async function pool(threadCount: number, onThreadDied?: (death: ThreadDeath) => void): Promise<ScoringPool> {
  const started = await ScoringPool.start({
    threadCount,
    clientCount: 2,
    provider: 'cpu',
    limits: { piecesPerClient: 64 },
    ...(onThreadDied === undefined ? {} : { onThreadDied }),
  });
  open.push(started);
  return started;
}

type Request = { user: Float32Array; ids: Int32Array; cross: Float32Array };
type Answer = { outcome: ScoringOutcome; logits: Float32Array };

function request(rows: number, random: () => number, adCount = first.adCount): Request {
  return {
    user: normals(servedDims.user, 0.5, random),
    ids: Int32Array.from({ length: rows }, () => Math.floor(random() * adCount)),
    cross: crossRows(rows, random),
  };
}

/** A serving thread in small: requests in, answers out, as promises; counts how often each was called back. */
class Caller {
  readonly #client: ScoringClient;
  readonly #pending = new Map<number, (outcome: ScoringOutcome) => void>();
  surplusCalls = 0;

  constructor(from: ScoringPool, index = 0) {
    this.#client = new ScoringClient(from.shared, index, nowMs, (slot, outcome) => {
      const resolve = this.#pending.get(slot);
      this.#pending.delete(slot);
      if (resolve === undefined) this.surplusCalls++;
      resolve?.(outcome);
    });
    this.#client.start();
    open.push(this.#client);
  }

  get underWayCount(): number {
    return this.#client.underWayCount;
  }

  async score({ user, ids, cross }: Request, modelSlot = 0, waitMs = 5000): Promise<Answer> {
    const slot = this.#client.begin(ids.length);
    if (slot < 0) throw new Error('no memory for a request');
    this.#client.userOf(slot).set(user);
    this.#client.adIdsOf(slot).set(ids);
    this.#client.crossOf(slot).set(cross);
    const outcome = await new Promise<ScoringOutcome>((resolve) => {
      this.#pending.set(slot, resolve);
      this.#client.submit(slot, modelSlot, nowMs() + waitMs);
    });
    const logits = this.#client.logitsOf(slot).slice(0, ids.length * servedDims.heads);
    this.#client.release(slot);
    return { outcome, logits };
  }
}

function expectScores({ expected }: ScoringFixture, { user, ids, cross }: Request, { outcome, logits }: Answer): void {
  expect(outcome).toBe('SCORED');
  for (const row of new Set([0, ids.length >> 1, ids.length - 1])) {
    const want = expected(user, ids[row]!, cross.subarray(row * servedDims.cross, (row + 1) * servedDims.cross));
    for (const [head, value] of want.entries())
      expect(Math.abs(logits[row * servedDims.heads + head]! - value)).toBeLessThanOrEqual(1e-5);
  }
}

const worstDifference = (left: Float32Array, right: Float32Array): number =>
  left.reduce((worst, value, index) => Math.max(worst, Math.abs(value - right[index]!)), 0);

describe('scores', () => {
  test('are those of the head, for requests of all sizes from several clients and threads at once', async () => {
    const from = await pool(2);
    await from.load(first.model);
    const callers = [new Caller(from, 0), new Caller(from, 1)];
    const random = seededRandom(seed);
    for (let round = 0; round < 15; round++) {
      const requests = Array.from({ length: 8 }, () => request(1 + Math.floor(random() ** 3 * 1000), random));
      const answers = await Promise.all(requests.map((each, index) => callers[index % 2]!.score(each)));
      for (const [index, answer] of answers.entries()) expectScores(first, requests[index]!, answer);
    }
    expect(callers.map(({ surplusCalls }) => surplusCalls)).toEqual([0, 0]);
  });

  test('do not depend on batch mates, place or company', async () => {
    const from = await pool(1);
    await from.load(first.model);
    const caller = new Caller(from);
    const random = seededRandom(seed + 3);
    for (const rows of [1, 7, 64, 199, 200, 201, 640]) {
      const mine = request(rows, random);
      const alone = await caller.score(mine);
      expectScores(first, mine, alone);
      for (const mates of [[1], [200, 200, 200], [3, 150, 77, 16], [1000]]) {
        for (const place of [0, mates.length]) {
          const all = mates.map((count) => request(count, random));
          all.splice(place, 0, mine);
          // The first one keeps the thread busy, so that the rest is queued and rides together.
          const busy = caller.score(request(1000, random));
          const answers = await Promise.all(all.map((each) => caller.score(each)));
          await busy;
          expect(worstDifference(answers[place]!.logits, alone.logits)).toBeLessThanOrEqual(1e-6);
        }
      }
      // Rows in another order.
      const turned: Request = { user: mine.user, ids: mine.ids.toReversed(), cross: new Float32Array(rows * 16) };
      for (let row = 0; row < rows; row++)
        turned.cross.set(mine.cross.subarray(row * 16, (row + 1) * 16), (rows - 1 - row) * 16);
      const { logits } = await caller.score(turned);
      for (let row = 0; row < rows; row++)
        expect(Math.abs(logits[(rows - 1 - row) * 2]! - alone.logits[row * 2]!)).toBeLessThanOrEqual(1e-6);
    }
    // Company did happen.
    expect(from.counts().batches).toBeLessThan(7 * (2 + 4 * 2 * 4));
  });

  test('a request with an ad that is in no table fails alone', async () => {
    const from = await pool(1);
    await from.load(first.model);
    const caller = new Caller(from);
    const random = seededRandom(seed + 4);
    const busy = caller.score(request(1000, random));
    const good = [request(20, random), request(200, random)];
    const bad = request(20, random);
    bad.ids[3] = 1_000_000;
    const [a, b, c] = await Promise.all([caller.score(good[0]!), caller.score(bad), caller.score(good[1]!)]);
    await busy;
    expectScores(first, good[0]!, a);
    expectScores(first, good[1]!, c);
    expect(b.outcome).toBe('FAILED');
    expect(from.counts().failures).toBe(1);
    expectScores(first, good[0]!, await caller.score(good[0]!));
  });

  test('a request whose deadline has passed is answered without being scored', async () => {
    const from = await pool(1);
    await from.load(first.model);
    const caller = new Caller(from);
    const { rows } = from.counts();
    const { outcome } = await caller.score(request(200, seededRandom(seed)), 0, -1);
    expect(outcome).toBe('TOO_LATE');
    expect(from.counts().rows).toBe(rows);
  });
});

describe('models', () => {
  test('a second one is loaded while the first serves, and no request is lost or mixed up', async () => {
    const from = await pool(2);
    await from.load(first.model);
    const caller = new Caller(from);
    const random = seededRandom(seed + 5);
    const loading = { isOn: true };
    let served = 0;
    const traffic = async (): Promise<void> => {
      while (loading.isOn) {
        const each = request(1 + Math.floor(random() * 300), random);
        expectScores(first, each, await caller.score(each));
        served++;
      }
    };
    const running = [traffic(), traffic(), traffic()];
    await from.load(second.model);
    loading.isOn = false;
    await Promise.all(running);
    expect(served).toBeGreaterThan(10);
    const requests = Array.from({ length: 12 }, () => request(50, random));
    const answers = await Promise.all(requests.map((each, index) => caller.score(each, index % 2)));
    for (const [index, answer] of answers.entries())
      expectScores([first, second][index % 2]!, requests[index]!, answer);

    await from.unload(0);
    expect((await caller.score(requests[0]!, 0)).outcome).toBe('FAILED');
    expectScores(second, requests[0]!, await caller.score(requests[0]!, 1));
    await from.load(first.model);
    expectScores(first, requests[0]!, await caller.score(requests[0]!, 0));
    expect(caller.surplusCalls).toBe(0);
  });

  const golden = first.model.golden;
  const withGolden = (logits: Float32Array): ScoringModel => ({ ...first.model, golden: { ...golden, logits } });
  const off = (by: number): Float32Array => golden.logits.map((value, index) => (index === 7 ? value + by : value));
  const [vectors, ...others] = first.model.tables;
  test.each<[name: string, code: string, model: ScoringModel]>([
    ['a golden score that is off', 'MODEL_GOLDEN_MISMATCH', withGolden(off(2e-4))],
    ['a golden score that is no number', 'MODEL_GOLDEN_MISMATCH', withGolden(off(Number.NaN))],
    ['golden rows behind the end', 'MODEL_MALFORMED', { ...first.model, golden: { ...golden, firstRow: 501 } }],
    ['too few golden scores', 'MODEL_MALFORMED', withGolden(golden.logits.slice(1))],
    ['a table too short', 'MODEL_MALFORMED', { ...first.model, tables: [{ ...vectors!, rows: 506 }, ...others] }],
    ['a table missing', 'MODEL_MALFORMED', { ...first.model, tables: others }],
    ['no tables', 'MODEL_MALFORMED', { ...first.model, tables: [] }],
    ['a graph that is none', 'MODEL_LOAD_FAILED', { ...first.model, graph: new Uint8Array(100) }],
  ])('%s is refused, and the one in service stays', async (_, code, bad) => {
    const from = await pool(1);
    await from.load(second.model);
    await expect(from.load(bad)).rejects.toMatchObject({ code });
    const caller = new Caller(from);
    const each = request(10, seededRandom(seed));
    expectScores(second, each, await caller.score(each, 1));
    expect((await caller.score(each, 0)).outcome).toBe('FAILED');
    expect(from.counts()).toMatchObject({ servingThreads: 1, deaths: 0 });
    // The slot is free for a good one.
    await from.load(first.model);
    expectScores(first, each, await caller.score(each, 0));
  });

  test('a slot in use is refused', async () => {
    const from = await pool(1);
    await from.load(first.model);
    await expect(from.load({ ...second.model, slot: 0 })).rejects.toMatchObject({ code: 'MODEL_SLOT_BUSY' });
    await expect(from.load({ ...second.model, slot: 2 })).rejects.toThrow(RangeError);
  });
});

describe('a thread that dies', () => {
  test('loses no request and is replaced, under load, again and again', async () => {
    const deaths: ThreadDeath[] = [];
    const from = await pool(2, (death) => deaths.push(death));
    await from.load(first.model);
    const callers = [new Caller(from, 0), new Caller(from, 1)];
    const random = seededRandom(seed + 6);
    const counts: Record<ScoringOutcome, number> = { SCORED: 0, TOO_LATE: 0, FAILED: 0 };
    const load = { isOn: true };
    const traffic = async (caller: Caller): Promise<void> => {
      while (load.isOn) {
        const each = request(1 + Math.floor(random() * 400), random);
        const answer = await caller.score(each, 0, 3000);
        counts[answer.outcome]++;
        if (answer.outcome === 'SCORED') expectScores(first, each, answer);
      }
    };
    const running = callers.flatMap((caller) => Array.from({ length: 6 }, () => traffic(caller)));
    for (let kill = 0; kill < 4; kill++) {
      await new Promise((resolve) => setTimeout(resolve, 50 + random() * 50));
      from.killOne(Math.floor(random() * 2));
    }
    while (from.counts().servingThreads < 2 || deaths.length === 0)
      await new Promise((resolve) => setTimeout(resolve, 20));
    load.isOn = false;
    await Promise.all(running);
    expect(callers.map(({ surplusCalls, underWayCount }) => [surplusCalls, underWayCount])).toEqual([
      [0, 0],
      [0, 0],
    ]);
    expect(counts.SCORED).toBeGreaterThan(50);
    expect(deaths[0]!.reason).toContain('told to die');
    expect(from.counts().deaths).toBe(deaths.length);
    const each = request(200, random);
    expectScores(first, each, await callers[0]!.score(each));
  });

  test('between serving threads of their own, too: one answer each, one right score', async () => {
    const deaths: ThreadDeath[] = [];
    const from = await pool(2, (death) => deaths.push(death));
    await from.load(first.model);
    const total = 800;
    const reports = [0, 1].map((index) => {
      const workerData: ChildData = { shared: from.shared, index, adCount: first.adCount, total, seed: seed + index };
      const child = new Worker(new URL('scoring-client-child.ts', import.meta.url), { workerData });
      return new Promise<ChildReport>((resolve, reject) => {
        child.once('message', resolve);
        child.once('error', reject);
      });
    });
    for (let kill = 0; kill < 2; kill++) {
      await new Promise((resolve) => void setTimeout(resolve, 60));
      from.killOne(kill);
    }
    for (const { counts, surplusCalls, differences, left } of await Promise.all(reports)) {
      expect([surplusCalls, differences, left, counts['TOO_LATE']]).toEqual([0, 0, 0, 0]);
      expect(counts['SCORED']! + counts['FAILED']!).toBe(total);
      expect(counts['SCORED']).toBeGreaterThan(total / 2);
    }
    expect(deaths.length).toBeGreaterThan(0);
  });

  test('hands back what it had taken', async () => {
    const from = await pool(1);
    await from.load(first.model);
    const caller = new Caller(from);
    const random = seededRandom(seed + 7);
    from.killOne(0);
    const answers = Array.from({ length: 12 }, () => caller.score(request(1000, random)));
    const outcomes = (await Promise.all(answers)).map(({ outcome }) => outcome);
    // A batch holds one of them: 1000 rows and 1000 rows are more than its cap.
    expect(outcomes).toEqual(['FAILED', ...Array.from({ length: 11 }, () => 'SCORED')]);
    expect(from.counts()).toMatchObject({ servingThreads: 1, deaths: 1 });
  });

  test('while no thread lives, requests are answered at their deadline', async () => {
    const from = await pool(1);
    const caller = new Caller(from);
    const { outcome } = await caller.score(request(10, seededRandom(seed)), 0, 20);
    expect(outcome).toBe('TOO_LATE');
  });
});

describe('the end', () => {
  test('stop answers what is queued, ends the threads and refuses more models', async () => {
    const from = await pool(1);
    await from.load(first.model);
    const caller = new Caller(from);
    const random = seededRandom(seed + 8);
    const answers = Array.from({ length: 10 }, () => caller.score(request(1000, random)));
    await from.stop();
    const outcomes = (await Promise.all(answers)).map(({ outcome }) => outcome);
    expect(outcomes.every((outcome) => outcome === 'SCORED' || outcome === 'FAILED')).toBe(true);
    expect(workers.every(({ threadId }) => threadId === -1)).toBe(true);
    await expect(from.load(second.model)).rejects.toMatchObject({ code: 'SCORING_STOPPED' });
  });
});

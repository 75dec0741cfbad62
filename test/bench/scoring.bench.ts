import * as ort from 'onnxruntime-node';
import { servedDims } from '#inference/head-weights.ts';
import { sessionOptions } from '#inference/execution-providers.ts';
import { ScoringClient } from '#inference/scoring-client.ts';
import { ScoringPool } from '#inference/scoring-pool.ts';
import type { ScoringModel } from '#inference/scoring-model.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import { nowMs, crossRows, scoringFixture } from '../inference/scoring-fixture.ts';
import { type Bench, cpuSeconds, median } from '../support/bench.ts';
import { normals } from '../support/random-head.ts';
import { rounded } from '../support/server-bench.ts';

const adCount = 10_000;
const rowCount = 200;
/** Requests under way at once: alone, and as many as keep a scoring thread's batches full. */
const depths = [1, 2, 4, 8, 16] as const;
const bareBatches = [1, 4, 8] as const;

type Cost = { rowsPerSecond: number; cpuMicrosPerRow: number };

/** One request's numbers, the same for both sides. */
function oneRequest(seed: number): { user: Float32Array; ids: Int32Array; cross: Float32Array } {
  const random = seededRandom(seed);
  return {
    user: normals(servedDims.user, 0.5, random),
    ids: Int32Array.from({ length: rowCount }, () => Math.floor(random() * adCount)),
    cross: crossRows(rowCount, random),
  };
}

/** The serving graph in a loop on this thread, inputs in place, nothing crossing threads. */
async function bareLoop(model: ScoringModel, requestCount: number, runs: number): Promise<Cost> {
  const session = await ort.InferenceSession.create(new Uint8Array(model.graph), sessionOptions('cpu'));
  const rows = requestCount * rowCount;
  const requests = Array.from({ length: requestCount }, (_, index) => oneRequest(index));
  const feeds = {
    ...Object.fromEntries(
      model.tables.map(({ name, width, rows: tableRows, data }) => [
        name,
        new ort.Tensor('float32', new Float32Array(data), [tableRows, width]),
      ]),
    ),
    user: new ort.Tensor('float32', Float32Array.from(requests.flatMap(({ user }) => [...user])), [requestCount, 64]),
    ad_ids: new ort.Tensor('int32', Int32Array.from(requests.flatMap(({ ids }) => [...ids])), [requestCount, rowCount]),
    cross: new ort.Tensor('float32', Float32Array.from(requests.flatMap(({ cross }) => [...cross])), [
      requestCount,
      rowCount,
      servedDims.cross,
    ]),
  };
  const fetches = {
    logits: new ort.Tensor('float32', new Float32Array(rows * servedDims.heads), [requestCount, rowCount, 2]),
  };
  for (let run = 0; run < 5; run++) await session.run(feeds, fetches);
  const cost = await measured(runs * rows, async () => {
    for (let run = 0; run < runs; run++) await session.run(feeds, fetches);
  });
  await session.release();
  return cost;
}

async function measured(rows: number, work: () => Promise<void>): Promise<Cost> {
  const startedMs = performance.now();
  const cpuBefore = cpuSeconds();
  await work();
  return {
    rowsPerSecond: (rows / (performance.now() - startedMs)) * 1000,
    cpuMicrosPerRow: ((cpuSeconds() - cpuBefore) / rows) * 1e6,
  };
}

/** Closed loop: a request that is answered is sent again, so that `depth` are under way; fills the memory anew each time. */
function wholeHop(client: ScoringClient, onFinished: { call: (slot: number) => void }, depth: number, total: number) {
  const latenciesMs: number[] = [];
  const request = oneRequest(depth);
  const submittedMs = new Map<number, number>();
  let toSend = total;
  let toCome = total;
  return new Promise<number[]>((resolve) => {
    const send = (): void => {
      toSend--;
      const slot = client.begin(rowCount);
      client.userOf(slot).set(request.user);
      client.adIdsOf(slot).set(request.ids);
      client.crossOf(slot).set(request.cross);
      submittedMs.set(slot, performance.now());
      client.submit(slot, 0, nowMs() + 1000);
    };
    onFinished.call = (slot) => {
      latenciesMs.push(performance.now() - submittedMs.get(slot)!);
      client.release(slot);
      if (--toCome === 0) resolve(latenciesMs);
      else if (toSend > 0) send();
    };
    for (let index = 0; index < depth; index++) send();
  });
}

export const bench: Bench = {
  name: 'scoring',
  about:
    'CPU per row of a bare loop of the serving graph ÷ of the way client → scoring thread → client, 200 rows a request',
  async run(mode, progress) {
    const { model } = await scoringFixture(7, 0, adCount);
    const rounds = mode === 'full' ? 7 : 1;
    const requests = mode === 'full' ? 2000 : 32;
    const pool = await ScoringPool.start({ threadCount: 1, clientCount: 1, provider: 'cpu' });
    await pool.load(model);
    const onFinished: { call: (slot: number) => void } = { call: () => {} };
    const client = new ScoringClient(pool.shared, 0, nowMs, (slot) => onFinished.call(slot));
    client.start();
    const figures: Record<string, number> = {};
    const bareCosts: Record<number, number[]> = {};
    const hopCosts: Record<number, number[]> = {};
    const rates: Record<number, number[]> = {};
    for (let round = 0; round < rounds; round++) {
      for (const batch of bareBatches) {
        const cost = await bareLoop(model, batch, Math.ceil(requests / batch));
        (bareCosts[batch] ??= []).push(cost.cpuMicrosPerRow);
        figures[`bareRowsPerSecond_${batch}`] = Math.round(cost.rowsPerSecond);
      }
      for (const depth of depths) {
        await wholeHop(client, onFinished, depth, depth * 4);
        const before = pool.counts();
        let latenciesMs: number[] = [];
        const cost = await measured(requests * rowCount, async () => {
          latenciesMs = await wholeHop(client, onFinished, depth, requests);
        });
        const after = pool.counts();
        const sorted = latenciesMs.toSorted((left, right) => left - right);
        (hopCosts[depth] ??= []).push(cost.cpuMicrosPerRow);
        (rates[depth] ??= []).push(cost.rowsPerSecond);
        figures[`hopP50Ms_${depth}`] = rounded(sorted[sorted.length >> 1]!);
        figures[`hopP99Ms_${depth}`] = rounded(sorted[Math.floor(sorted.length * 0.99)]!);
        figures[`requestsPerBatch_${depth}`] = rounded(requests / (after.batches - before.batches));
        progress(round * depths.length + depths.indexOf(depth) + 1, rounds * depths.length, `${depth} under way`);
      }
    }
    client.stop();
    await pool.stop();
    for (const batch of bareBatches) figures[`bareCpuMicrosPerRow_${batch}`] = rounded(median(bareCosts[batch]!), 4);
    for (const depth of depths) {
      figures[`hopCpuMicrosPerRow_${depth}`] = rounded(median(hopCosts[depth]!), 4);
      figures[`hopRowsPerSecond_${depth}`] = Math.round(median(rates[depth]!));
    }
    const bestBare = Math.min(...bareBatches.map((batch) => median(bareCosts[batch]!)));
    const deepest = median(hopCosts[depths.at(-1)!]!);
    return {
      bench: 'scoring',
      value: rounded(bestBare / deepest, 4),
      unit: 'bare ÷ whole hop, CPU per row, 16 requests under way',
      better: 'higher',
      figures: {
        ...figures,
        bareCpuSecondsPerThousandRows: rounded(bestBare / 1000, 6),
        hopCpuSecondsPerThousandRows: rounded(deepest / 1000, 6),
      },
    };
  },
};

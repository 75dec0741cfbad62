import * as ort from 'onnxruntime-node';
import { headLogits } from '#inference/head-graph.ts';
import { servedDims } from '#inference/head-weights.ts';
import type { ScoringModel } from '#inference/scoring-model.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import { constantCrossFeature, splitHead } from '#inference/split-head.ts';
import { normals, randomHead } from '../support/random-head.ts';

const goldenCount = 5;

export type ScoringFixture = {
  readonly model: ScoringModel;
  readonly adCount: number;
  /** What the head says in float64. */
  readonly expected: (user: ArrayLike<number>, adId: number, cross: ArrayLike<number>) => number[];
};

/** A random model as it is handed to scoring threads: `adCount` ads, behind them the golden ones. */
export async function scoringFixture(seed: number, slot = 0, adCount = 500): Promise<ScoringFixture> {
  const weights = randomHead(seed);
  const split = splitHead(weights);
  const rows = adCount + goldenCount;
  const random = seededRandom(seed + 1);
  const vectors = normals(rows * servedDims.ad, 0.5, random);
  const adPart = await ort.InferenceSession.create(split.adPart, { intraOpNumThreads: 1, logSeverityLevel: 3 });
  const projected = await adPart.run({ vector: new ort.Tensor('float32', vectors, [rows, servedDims.ad]) });
  const user = normals(goldenCount * servedDims.user, 0.5, random);
  const cross = crossRows(goldenCount, random);
  const expected = (u: ArrayLike<number>, adId: number, c: ArrayLike<number>): number[] =>
    headLogits(weights, u, vectors.subarray(adId * servedDims.ad, (adId + 1) * servedDims.ad), c);
  const logits = Float32Array.from(
    Array.from({ length: goldenCount }, (_, row) =>
      expected(
        user.subarray(row * servedDims.user, (row + 1) * servedDims.user),
        adCount + row,
        cross.subarray(row * servedDims.cross, (row + 1) * servedDims.cross),
      ),
    ).flat(),
  );
  const graph = new Uint8Array(new SharedArrayBuffer(split.serve.length));
  graph.set(split.serve);
  return {
    adCount,
    expected,
    model: {
      slot,
      modelId: `random-${seed}`,
      graph,
      tables: split.tables.map(({ name, width }) => {
        const data = name === 'ad_vector' ? vectors : (projected[name]!.data as Float32Array);
        const shared = new Float32Array(new SharedArrayBuffer(data.byteLength));
        shared.set(data);
        return { name, width, rows, data: shared.buffer };
      }),
      golden: { count: goldenCount, firstRow: adCount, user, cross, logits },
    },
  };
}

/** Cross features of `count` rows, with the constant one in its place. */
export function crossRows(count: number, random: () => number): Float32Array {
  const cross = normals(count * servedDims.cross, 0.7, random);
  for (let row = 0; row < count; row++) cross[row * servedDims.cross + constantCrossFeature] = 1;
  return cross;
}

export const nowMs = (): number => performance.timeOrigin + performance.now();

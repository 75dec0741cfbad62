import * as ort from 'onnxruntime-node';
import { referenceHeadGraph } from '#inference/head-graph.ts';
import { servedDims } from '#inference/head-weights.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import { cpuSeconds } from './bench.ts';
import { normals, randomHead } from './random-head.ts';

/** Batch sizes tried for the bare loop; the best counts. */
const batchRows = [200, 400, 800, 1600] as const;

/**
 * CPU-seconds per 1,000 candidates of the reference head in one piece, in a bare onnxruntime loop on one thread, at its best
 * batch: inputs already in memory, nothing gathered, nothing copied. The baseline of `efficiency`.
 */
export async function referenceCost(runsPerBatch: number): Promise<{ cpuSecondsPerThousand: number; batch: number }> {
  const session = await ort.InferenceSession.create(referenceHeadGraph(randomHead(1)), {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
  });
  const random = seededRandom(2);
  let best = { cpuSecondsPerThousand: Number.POSITIVE_INFINITY, batch: 0 };
  for (const batch of batchRows) {
    const feeds = {
      user: new ort.Tensor('float32', normals(batch * servedDims.user, 0.5, random), [batch, servedDims.user]),
      ad: new ort.Tensor('float32', normals(batch * servedDims.ad, 0.5, random), [batch, servedDims.ad]),
      cross: new ort.Tensor('float32', normals(batch * servedDims.cross, 0.5, random), [batch, servedDims.cross]),
    };
    for (let run = 0; run < 20; run++) await session.run(feeds);
    for (let round = 0; round < 5; round++) {
      const before = cpuSeconds();
      for (let run = 0; run < runsPerBatch; run++) await session.run(feeds);
      const cost = ((cpuSeconds() - before) / (runsPerBatch * batch)) * 1000;
      if (cost < best.cpuSecondsPerThousand) best = { cpuSecondsPerThousand: cost, batch };
    }
  }
  return best;
}

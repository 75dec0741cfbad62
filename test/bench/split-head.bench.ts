import * as ort from 'onnxruntime-node';
import { referenceHeadGraph } from '#inference/head-graph.ts';
import { servedDims } from '#inference/head-weights.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import { constantCrossFeature, splitHead } from '#inference/split-head.ts';
import { type Bench, cpuSeconds, median } from '../support/bench.ts';
import { normals, randomHead } from '../support/random-head.ts';
import { rounded } from '../support/server-bench.ts';

const adCount = 10_000;
const candidateCount = 200;
const options = { intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 3 } as const;

/** Batches of other ads that follow each other: the least, 12 × 200 rows of 1,408 bytes, are 3.4 MB, more than a core's own cache. */
const batchesInTurn = 12;

type Feeds = { readonly split: ort.InferenceSession.FeedsType; readonly whole: ort.InferenceSession.FeedsType };

/** One batch of requests as both graphs take it: request vectors, ad ids, cross features; tables in shared memory. */
function feedsOf(requestCount: number, tables: ReadonlyMap<string, ort.Tensor>, seed: number): Feeds {
  const random = seededRandom(seed);
  const rows = requestCount * candidateCount;
  const user = normals(requestCount * servedDims.user, 0.5, random);
  const ids = Int32Array.from({ length: rows }, () => Math.floor(random() * adCount));
  const cross = normals(rows * servedDims.cross, 0.7, random);
  for (let row = 0; row < rows; row++) cross[row * servedDims.cross + constantCrossFeature] = 1;
  const userTensor = new ort.Tensor('float32', user, [requestCount, servedDims.user]);
  return {
    split: {
      ...Object.fromEntries(tables),
      user: userTensor,
      ad_ids: new ort.Tensor('int32', ids, [requestCount, candidateCount]),
      cross: new ort.Tensor('float32', cross, [requestCount, candidateCount, servedDims.cross]),
    },
    whole: {
      user: userTensor,
      user_rows: new ort.Tensor(
        'int32',
        Int32Array.from({ length: rows }, (_, row) => Math.floor(row / candidateCount)),
        [rows],
      ),
      ad_vectors: tables.get('ad_vector')!,
      ad_ids: new ort.Tensor('int32', ids, [rows]),
      cross: new ort.Tensor('float32', cross, [rows, servedDims.cross]),
    },
  };
}

export const bench: Bench = {
  name: 'split-head',
  about:
    'candidates/s of the split head ÷ of the head in one piece, both gathering from tables, 200 candidates a request',
  async run(mode, progress) {
    const weights = randomHead(3);
    const split = splitHead(weights);
    const serve = await ort.InferenceSession.create(split.serve, options);
    const whole = await ort.InferenceSession.create(referenceHeadGraph(weights, { gathered: true }), options);
    const adPart = await ort.InferenceSession.create(split.adPart, options);
    const vectors = normals(adCount * servedDims.ad, 0.5, seededRandom(4));
    const projected = await adPart.run({ vector: new ort.Tensor('float32', vectors, [adCount, servedDims.ad]) });
    const tables = new Map(
      split.tables.map(({ name, width }) => {
        const data = name === 'ad_vector' ? vectors : (projected[name]!.data as Float32Array);
        const shared = new Float32Array(new SharedArrayBuffer(data.byteLength));
        shared.set(data);
        return [name, new ort.Tensor('float32', shared, [adCount, width])] as const;
      }),
    );
    const rounds = mode === 'full' ? 15 : 2;
    const runs = mode === 'full' ? 60 : 2;
    const figures: Record<string, number> = {};
    let worst = 0;
    for (const [step, requestCount] of [1, 4, 8].entries()) {
      const batches = Array.from({ length: batchesInTurn }, (_, index) =>
        feedsOf(requestCount, tables, 5 + step * batchesInTurn + index),
      );
      const cost = async (
        session: ort.InferenceSession,
        side: keyof Feeds,
        used: readonly Feeds[],
      ): Promise<number> => {
        const before = cpuSeconds();
        for (let run = 0; run < runs; run++) await session.run(used[run % used.length]![side]);
        return ((cpuSeconds() - before) / runs / requestCount) * 1e6;
      };
      const [first] = batches as [Feeds, ...Feeds[]];
      const [a, b] = [(await serve.run(first.split))['logits']!.data, (await whole.run(first.whole))['logits']!.data];
      for (const [index, value] of (a as Float32Array).entries())
        worst = Math.max(worst, Math.abs(value - (b as Float32Array)[index]!));
      for (const [prefix, used] of [
        ['', batches],
        ['sameAds_', [first]],
      ] as const) {
        const splitCosts: number[] = [];
        const wholeCosts: number[] = [];
        // Turn by turn, so that whatever else the machine does falls on both.
        for (let round = 0; round < rounds; round++) {
          splitCosts.push(await cost(serve, 'split', used));
          wholeCosts.push(await cost(whole, 'whole', used));
        }
        const [ofSplit, ofWhole] = [median(splitCosts), median(wholeCosts)];
        figures[`${prefix}ratio_${requestCount}`] = rounded(ofWhole / ofSplit);
        figures[`${prefix}splitMicrosPerRequest_${requestCount}`] = rounded(ofSplit);
        figures[`${prefix}wholeMicrosPerRequest_${requestCount}`] = rounded(ofWhole);
      }
      progress(step + 1, 3, `batch of ${requestCount}`);
    }
    return {
      bench: 'split-head',
      value: figures['ratio_4']!,
      unit: 'whole ÷ split, CPU per candidate, batches of 4, other ads in every batch',
      better: 'higher',
      figures: { ...figures, worstDifference: worst },
    };
  },
};

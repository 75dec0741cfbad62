import { performance } from 'node:perf_hooks';
import { CompiledCalibrator } from '#inference/calibration.ts';
import { crossWidth } from '#inference/cross-features.ts';
import { LoadedModel } from '#inference/loaded-model.ts';
import { buildModelShared } from '#inference/model-tables.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import { type Bench, median } from '../support/bench.ts';
import { rounded } from '../support/server-bench.ts';
import { smallAdWords, smallBundle } from '../support/small-model.ts';

const scoredCount = 2000;
const candidateCount = 200;
const viewedCount = 20;
const requestCount = 64;

/** Three gathers a row and nothing else: what the memory asks for. */
function bareGathers(
  first: Float32Array,
  second: Float64Array,
  third: Float64Array,
  categories: Uint16Array,
  advertisers: Uint32Array,
  rows: Uint32Array,
  target: Float32Array,
): void {
  for (let index = 0; index < rows.length; index++) {
    const row = rows[index]!;
    target[index] = first[row]! + second[categories[row]!]! + third[advertisers[row]!]!;
  }
}

export const bench: Bench = {
  name: 'light-ranker',
  about:
    'µs to prepare a request and score 2,000 of 10 K ads, against a bare loop of three gathers; µs for 200 rows of cross features',
  async run(mode, progress) {
    const adCount = mode === 'full' ? 10_000 : 3000;
    const bundle = await smallBundle(5, { adCount });
    const startedMs = performance.now();
    const { shared } = await buildModelShared(bundle, 0, smallAdWords, adCount, adCount);
    const buildMs = performance.now() - startedMs;
    progress(1, 3, 'model in service');
    const random = seededRandom(6);
    const model = new LoadedModel(
      shared,
      Uint32Array.from({ length: adCount }, (_, row) => row >> 2),
    );
    const draw = (fields: typeof bundle.schema.context): number[] =>
      fields.flatMap(({ size, width }) => Array.from({ length: width }, () => Math.floor(random() * size)));
    // Rows in rising order, as the index hands them out.
    const requests = Array.from({ length: requestCount }, () => ({
      contextIds: Uint32Array.from(draw(bundle.schema.context)),
      userIds: Uint32Array.from(draw(bundle.schema.user.slice(1))),
      rows: Uint32Array.from({ length: scoredCount }, () => Math.floor(random() * adCount)).sort(),
      viewCount: viewedCount,
      viewLineItems: Uint32Array.from({ length: viewedCount }, () => Math.floor((random() * adCount) / 4)),
      views: new Uint32Array(viewedCount).fill(3),
    }));
    const logits = new Float32Array(scoredCount);
    const cross = new Float32Array(candidateCount * crossWidth);
    const vector = new Float32Array(64);
    const { lightClick, category, advertiser } = shared.columns;
    const categorySums = new Float64Array(bundle.schema.ad[3]!.size);
    const advertiserSums = new Float64Array(bundle.schema.ad[2]!.size);
    // As many steps as an isotonic fit leaves.
    const calibrator = new CompiledCalibrator({
      logits: Array.from({ length: 40 }, (_, knot) => -8 + knot * 0.2),
      probabilities: Array.from({ length: 40 }, (_, knot) => 1 / (1 + Math.exp(8 - knot * 0.2))),
    });
    let checksum = 0;
    type Request = (typeof requests)[number];
    const works = {
      prepare: ({ contextIds, userIds }: Request) => model.ranker.prepare(contextIds, userIds),
      score: ({ rows }: Request) => model.ranker.score(rows, scoredCount, logits),
      bare: ({ rows }: Request) =>
        bareGathers(lightClick, categorySums, advertiserSums, category, advertiser, rows, logits),
      cross: (request: Request) => model.crossInto(cross, request.rows, 100, candidateCount, request),
      requestVector: ({ contextIds }: Request) => model.requestVectorInto(vector, vector, contextIds),
      calibrate: () => {
        for (let index = 0; index < candidateCount; index++) checksum += calibrator.q30(logits[index]!);
      },
    };
    const rounds = mode === 'full' ? 41 : 3;
    const runs = mode === 'full' ? 640 : 64;
    const micros: Record<string, number[]> = {};
    // Turn by turn, so that whatever else the machine does falls on all of them.
    for (let round = 0; round < rounds; round++) {
      for (const [name, work] of Object.entries(works)) {
        const before = performance.now();
        for (let run = 0; run < runs; run++) work(requests[run % requestCount]!);
        const each = ((performance.now() - before) / runs) * 1000;
        checksum += logits[7]! + cross[16]!;
        // The first tenth warms the engine up.
        if (round >= rounds / 10) (micros[name] ??= []).push(each);
      }
      vector.fill(0);
    }
    progress(3, 3, 'measured');
    const figure = (name: keyof typeof works): number => median(micros[name]!);
    return {
      bench: 'light-ranker',
      value: rounded(figure('prepare') + figure('score')),
      unit: 'µs per request: prepare, and score 2,000 ads',
      better: 'lower',
      figures: {
        prepareMicros: rounded(figure('prepare')),
        scoreMicros: rounded(figure('score')),
        bareGathersMicros: rounded(figure('bare')),
        scoreByBare: rounded(figure('score') / figure('bare')),
        crossMicros200: rounded(figure('cross')),
        requestVectorMicros: rounded(figure('requestVector')),
        calibrateNanosOf40Knots: rounded((figure('calibrate') / candidateCount) * 1000),
        ads: adCount,
        advertisers: bundle.schema.ad[2]!.size,
        buildModelMs: rounded(buildMs),
        isFinite: Number.isFinite(checksum),
      },
    };
  },
};

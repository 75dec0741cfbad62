import * as ort from 'onnxruntime-node';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { headLogits, referenceHeadGraph } from '#inference/head-graph.ts';
import { servedDims } from '#inference/head-weights.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import { constantCrossFeature, splitHead } from '#inference/split-head.ts';
import { normals, randomHead } from '../support/random-head.ts';

const adCount = 50;
const seed = 20_261_123;
const weights = randomHead(seed);
const split = splitHead(weights);
const options = { intraOpNumThreads: 1, logSeverityLevel: 3 } as const;
const serve = await ort.InferenceSession.create(split.serve, options);
const adPart = await ort.InferenceSession.create(split.adPart, options);
const whole = await ort.InferenceSession.create(referenceHeadGraph(weights), options);

const vectors = normals(adCount * servedDims.ad, 0.5, seededRandom(seed + 1));
const projected = await adPart.run({ vector: new ort.Tensor('float32', vectors, [adCount, servedDims.ad]) });
const tables = Object.fromEntries(
  split.tables.map(({ name, width }) => {
    const data = name === 'ad_vector' ? vectors : (projected[name]!.data as Float32Array);
    const shared = new Float32Array(new SharedArrayBuffer(data.byteLength));
    shared.set(data);
    return [name, new ort.Tensor('float32', shared, [adCount, width])];
  }),
);

type Rows = { readonly users: Float32Array; readonly ids: Int32Array; readonly cross: Float32Array };

function rows(requestCount: number, candidateCount: number, from: number): Rows {
  const random = seededRandom(from);
  const cross = normals(requestCount * candidateCount * servedDims.cross, 0.7, random);
  for (let row = 0; row < requestCount * candidateCount; row++)
    cross[row * servedDims.cross + constantCrossFeature] = 1;
  return {
    users: normals(requestCount * servedDims.user, 0.5, random),
    ids: Int32Array.from({ length: requestCount * candidateCount }, () => Math.floor(random() * adCount)),
    cross,
  };
}

async function splitLogits({ users, ids, cross }: Rows, requestCount: number): Promise<Float32Array> {
  const candidateCount = ids.length / requestCount;
  const { logits } = await serve.run({
    ...tables,
    user: new ort.Tensor('float32', users, [requestCount, servedDims.user]),
    ad_ids: new ort.Tensor('int32', ids, [requestCount, candidateCount]),
    cross: new ort.Tensor('float32', cross, [requestCount, candidateCount, servedDims.cross]),
  });
  return logits!.data as Float32Array;
}

const slice = (data: Float32Array, row: number, width: number): Float32Array =>
  data.subarray(row * width, (row + 1) * width);

describe('the split head', () => {
  test('equals the head in one piece to 1e-5, whatever the batch', async () => {
    const shape = fc.tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 40 }), fc.integer());
    await fc.assert(
      fc.asyncProperty(shape, async ([requestCount, candidateCount, from]) => {
        const input = rows(requestCount, candidateCount, from);
        const count = requestCount * candidateCount;
        const got = await splitLogits(input, requestCount);
        const user = new Float32Array(count * servedDims.user);
        const ad = new Float32Array(count * servedDims.ad);
        for (let row = 0; row < count; row++) {
          user.set(slice(input.users, Math.floor(row / candidateCount), servedDims.user), row * servedDims.user);
          ad.set(slice(vectors, input.ids[row]!, servedDims.ad), row * servedDims.ad);
        }
        const { logits } = await whole.run({
          user: new ort.Tensor('float32', user, [count, servedDims.user]),
          ad: new ort.Tensor('float32', ad, [count, servedDims.ad]),
          cross: new ort.Tensor('float32', input.cross, [count, servedDims.cross]),
        });
        for (const [index, expected] of (logits!.data as Float32Array).entries()) {
          expect(Math.abs(got[index]! - expected)).toBeLessThanOrEqual(1e-5);
        }
      }),
      { numRuns: 40 },
    );
  });

  test('equals the formula in float64', async () => {
    const input = rows(2, 9, 7);
    const got = await splitLogits(input, 2);
    for (let row = 0; row < 18; row++) {
      const expected = headLogits(
        weights,
        slice(input.users, Math.floor(row / 9), servedDims.user),
        slice(vectors, input.ids[row]!, servedDims.ad),
        slice(input.cross, row, servedDims.cross),
      );
      expect(Math.abs(got[row * 2]! - expected[0]!)).toBeLessThanOrEqual(1e-5);
      expect(Math.abs(got[row * 2 + 1]! - expected[1]!)).toBeLessThanOrEqual(1e-5);
    }
  });

  test('equals it in chunks of one row, as golden rows are checked', async () => {
    const input = rows(300, 1, 13);
    const got = await splitLogits(input, 300);
    for (let row = 0; row < 300; row++) {
      const expected = headLogits(
        weights,
        slice(input.users, row, servedDims.user),
        slice(vectors, input.ids[row]!, servedDims.ad),
        slice(input.cross, row, servedDims.cross),
      );
      for (const [head, value] of expected.entries())
        expect(Math.abs(got[row * 2 + head]! - value)).toBeLessThanOrEqual(1e-5);
    }
  });

  test('keeps 1,408 bytes per ad, the vector first', () => {
    expect(split.tables[0]).toEqual({ name: 'ad_vector', width: servedDims.ad });
    expect(split.tables.reduce((bytes, { width }) => bytes + 4 * width, 0)).toBe(1408);
  });

  test.each([{ heads: 3 }, { cross: 15 }])('refuses a head of another shape: %o', (other) => {
    expect(() => splitHead({ ...weights, dims: { ...servedDims, ...other } })).toThrow(RangeError);
  });

  test('does not let batch mates change a score', async () => {
    const alone = rows(1, 16, 11);
    const mates = rows(3, 16, 12);
    const together = await splitLogits(
      {
        users: Float32Array.of(...mates.users, ...alone.users),
        ids: Int32Array.of(...mates.ids, ...alone.ids),
        cross: Float32Array.of(...mates.cross, ...alone.cross),
      },
      4,
    );
    const expected = await splitLogits(alone, 1);
    for (const [index, value] of expected.entries())
      expect(Math.abs(together[3 * 32 + index]! - value)).toBeLessThanOrEqual(1e-6);
  });
});

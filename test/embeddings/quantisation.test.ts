import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fitScale, outlierDeviations, VectorQuantiser } from '#embeddings/quantisation.ts';
import { seededRandom } from '#inference/seeded-random.ts';

const there = (rows: Float32Array, dimension: number, scale = fitScale(rows, dimension)): Float32Array => {
  const quantiser = new VectorQuantiser(scale);
  const back = new Float32Array(rows.length);
  const bytes = new Uint8Array(dimension);
  for (let at = 0; at < rows.length; at += dimension) {
    quantiser.encodeInto(bytes, 0, rows, at);
    quantiser.decodeInto(back, at, bytes, 0);
  }
  return back;
};
const notFinite = expect.objectContaining({ code: 'VALUE_NOT_FINITE' }) as Error;

test('any rows come back within half a step of their dimension', () => {
  const value = fc.float({ min: -1000, max: 1000, noNaN: true });
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 5 }),
      fc.array(value, { minLength: 1, maxLength: 200 }),
      (dimension, list) => {
        const rows = Float32Array.from(list.slice(0, Math.max(dimension, list.length - (list.length % dimension))));
        if (rows.length % dimension !== 0) return;
        const scale = fitScale(rows, dimension);
        const back = there(rows, dimension, scale);
        for (const [at, each] of rows.entries()) {
          const place = at % dimension;
          const range = scale.max[place]! - scale.min[place]!;
          const inside = Math.min(scale.max[place]!, Math.max(scale.min[place]!, each));
          // Half a step, and the roundings of float32.
          expect(Math.abs(back[at]! - inside)).toBeLessThanOrEqual(range / 510 + 1e-3 * Math.max(1e-6, range) + 1e-4);
        }
      },
    ),
  );
});

test('knows the mean, and a dimension that never changes comes back exactly', () => {
  const rows = Float32Array.of(1, 0.1, 2, 0.1, 6, 0.1);
  const scale = fitScale(rows, 2);
  expect([...scale.min, ...scale.max]).toEqual([1, Math.fround(0.1), 6, Math.fround(0.1)]);
  expect(scale.mean[0]).toBe(3);
  expect(scale.mean[1]).toBe(Math.fround(0.1));
  expect([...there(rows, 2)].filter((_, at) => at % 2 === 1)).toEqual(Array(3).fill(Math.fround(0.1)));
});

test(`one value beyond ${outlierDeviations} deviations does not take the resolution of the rest`, () => {
  const random = seededRandom(5);
  const rows = Float32Array.from({ length: 10_000 }, () => random() - 0.5);
  rows[77] = 1e6;
  rows[78] = -1e4;
  const scale = fitScale(rows, 1);
  expect(scale.min[0]).toBeGreaterThanOrEqual(-0.5);
  expect(scale.max[0]).toBeLessThanOrEqual(0.5);
  const back = there(rows, 1, scale);
  // Cut to the ends of the range.
  expect(back[77]).toBeCloseTo(0.5, 2);
  expect(back[78]).toBeCloseTo(-0.5, 2);
  expect(Math.max(...rows.map((each, at) => (Math.abs(each) > 1 ? 0 : Math.abs(each - back[at]!))))).toBeLessThan(
    0.002,
  );
});

test('a constant dimension with one outlier stays the constant', () => {
  const rows = new Float32Array(1000).fill(3);
  rows[5] = 900;
  const scale = fitScale(rows, 1);
  expect([scale.min[0], scale.max[0]]).toEqual([3, 3]);
  expect(Array.from(there(rows, 1, scale).subarray(4, 7))).toEqual([3, 3, 3]);
});

test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('%s is refused, by its place', (value) => {
  expect(() => fitScale(Float32Array.of(1, 2, 3, value), 2)).toThrow(/row 1, dimension 1/u);
  const quantiser = new VectorQuantiser(fitScale(Float32Array.of(1, 2, 3, 4), 2));
  const bytes = Uint8Array.of(7, 7);
  expect(() => quantiser.encodeInto(bytes, 0, Float32Array.of(2, value), 0)).toThrow(notFinite);
  expect([...bytes]).toEqual([7, 7]);
  expect(
    () =>
      new VectorQuantiser({
        dimension: 1,
        min: Float32Array.of(0),
        max: Float32Array.of(value),
        mean: Float32Array.of(0),
      }),
  ).toThrow(notFinite);
});

test('rows, scales and buffers of the wrong length are refused', () => {
  const mismatch = expect.objectContaining({ code: 'SIZE_MISMATCH' }) as Error;
  expect(() => fitScale(Float32Array.of(1, 2, 3), 2)).toThrow(mismatch);
  expect(() => fitScale(new Float32Array(0), 2)).toThrow(mismatch);
  const quantiser = new VectorQuantiser(fitScale(Float32Array.of(1, 2), 2));
  expect(() => quantiser.encodeInto(new Uint8Array(2), 1, Float32Array.of(1, 2), 0)).toThrow(mismatch);
  expect(() => quantiser.decodeInto(new Float32Array(1), 0, Uint8Array.of(1, 2), 0)).toThrow(mismatch);
});

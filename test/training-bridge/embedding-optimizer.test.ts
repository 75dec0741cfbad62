import { expect, test } from 'vitest';
import { seededRandom } from '#inference/seeded-random.ts';
import { TrainedEmbedding, fillNormal } from '#training-bridge/embedding-optimizer.ts';

const options = { learningRate: 0.1, deviation: 0.5, initialSquares: 1 };

test('only ids of the batch move, and an id that occurs twice moves by the sum', () => {
  const [once, twice] = [0, 1].map(() => new TrainedEmbedding(5, 2, options, seededRandom(1)));
  const before = once!.table.slice();
  const gradient = Float32Array.of(0.5, -1);
  twice!.collect(gradient, 0, 3, 1);
  twice!.collect(gradient, 0, 3, 1);
  once!.collect(Float32Array.of(1, -2), 0, 3, 1);
  for (const each of [once!, twice!]) each.apply(1);
  expect(twice!.table).toEqual(once!.table);
  // Adagrad by hand: −0.1 × g ÷ √(1 + g²).
  expect(once!.table[6]! - before[6]!).toBeCloseTo(-0.1 / Math.sqrt(2), 6);
  expect(once!.table[7]! - before[7]!).toBeCloseTo(0.2 / Math.sqrt(5), 6);
  expect([...once!.table.subarray(0, 6), ...once!.table.subarray(8)]).toEqual([
    ...before.subarray(0, 6),
    ...before.subarray(8),
  ]);
  const after = once!.table.slice();
  once!.apply(1);
  expect(once!.table).toEqual(after);
});

test('the scale counts as if every row had it', () => {
  const [one, other] = [0, 1].map(() => new TrainedEmbedding(2, 1, options, seededRandom(1)));
  one!.collect(Float32Array.of(0.25), 0, 1, 1);
  one!.apply(8);
  other!.collect(Float32Array.of(1), 0, 1, 2);
  other!.apply(1);
  expect(one!.table).toEqual(other!.table);
});

test('an id that never occurred becomes the mean of the others, by how often they occurred', () => {
  const embedding = new TrainedEmbedding(4, 1, { ...options, deviation: 0 }, seededRandom(1));
  embedding.table.set([9, 1, 4, 9]);
  for (let times = 0; times < 3; times++) embedding.collect(Float32Array.of(0), 0, 1, 1);
  embedding.collect(Float32Array.of(0), 0, 2, 1);
  embedding.apply(1);
  embedding.fillUnseen(0);
  expect([...embedding.table]).toEqual([1.75, 1, 4, 1.75]);
});

test('normal numbers have the deviation that was asked for, odd lengths too', () => {
  const values = new Float32Array(40_001);
  fillNormal(values, 0.3, seededRandom(2));
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const square = values.reduce((sum, value) => sum + value * value, 0) / values.length;
  expect(mean).toBeCloseTo(0, 2);
  expect(Math.sqrt(square)).toBeCloseTo(0.3, 2);
  expect(values.at(-1)).not.toBe(0);
});

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TopCandidates } from '#server/top-candidates.ts';

test('picks exactly the best, ties by place, whatever the keys', () => {
  const key = fc.oneof(
    fc.float({ min: 0, max: Math.fround(1e9), noNaN: true }),
    fc.constantFrom(0, 1, 1.0000001, Number.NaN, -1, Math.fround(1e-40), Number.POSITIVE_INFINITY),
  );
  fc.assert(
    fc.property(fc.array(key, { maxLength: 300 }), fc.integer({ min: 1, max: 50 }), (keys, wanted) => {
      const top = new TopCandidates(300);
      top.keys.set(keys);
      const places = new Uint32Array(300);
      const taken = [...places.subarray(0, top.pick(keys.length, wanted, places))];
      const expected = keys
        .map((_, place) => ({ value: top.keys[place]!, place }))
        .filter(({ value }) => value > 0)
        .toSorted((left, right) => (right.value === left.value ? left.place - right.place : right.value - left.value))
        .slice(0, wanted)
        .map(({ place }) => place);
      expect(taken).toEqual(expected.toSorted((left, right) => left - right));
    }),
    { numRuns: 500 },
  );
});

test('takes the whole of the last bucket when it fits exactly', () => {
  const top = new TopCandidates(7);
  const places = new Uint32Array(7);
  top.keys.set([1, 1, 1, 1.0000001, 1.401298464324817e-45, 1.0000001, 1.0000001192092896]);
  const taken = top.pick(7, 6, places);
  expect([...places.subarray(0, taken)]).toEqual([0, 1, 2, 3, 5, 6]);
});

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

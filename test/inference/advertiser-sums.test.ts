import fc from 'fast-check';
import { expect, test } from 'vitest';
import { KeptAdvertiserSums, sumAdvertiserWeights } from '#inference/advertiser-sums.ts';

test('sums that are kept are those added up anew, whatever was asked before, and however many combinations there are', () => {
  const advertiserCount = 1000;
  const crosses = [
    { place: 0, weights: Float32Array.from({ length: 20 * advertiserCount }, (_, at) => Math.sin(at)) },
    { place: 2, weights: Float32Array.from({ length: 30 * advertiserCount }, (_, at) => Math.cos(at) / 3) },
  ];
  const kept = new KeptAdvertiserSums(crosses, advertiserCount);
  const fresh = new Float64Array(advertiserCount);
  // 131 combinations are kept of 660; ids 20 and 30 on have no weights.
  const ids = fc.tuple(
    fc.oneof(fc.nat(21), fc.constant(0xffff_ffff)),
    fc.oneof(fc.nat(31), fc.constant(4_000_000_000)),
  );
  fc.assert(
    fc.property(fc.array(ids, { minLength: 200, maxLength: 400 }), (asked) => {
      for (const [first, second] of asked) {
        const contextIds = Uint32Array.of(first, 7, second);
        sumAdvertiserWeights(fresh, crosses, contextIds, 0, 0, advertiserCount);
        const sums = kept.of(contextIds);
        expect(Buffer.compare(Buffer.from(sums.buffer), Buffer.from(fresh.buffer))).toBe(0);
        expect(kept.of(contextIds)).toBe(sums);
      }
    }),
    { numRuns: 20 },
  );
});

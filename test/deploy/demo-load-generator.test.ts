import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { findMaxRate, type LoadReport, runLoad } from '../support/load-generator.ts';

test('the highest rate is found to the precision asked, whatever it is', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 100, max: 60_000 }), async (truth) => {
      const found = await findMaxRate({
        startRate: 1000,
        rateMax: 50_000,
        precision: 0.05,
        run: (ratePerSecond) => Promise.resolve({ answeredPerSecond: ratePerSecond } as LoadReport),
        accepts: (report) => report.answeredPerSecond <= truth,
      });
      expect(found.ratePerSecond).toBeLessThanOrEqual(truth);
      expect(found.ratePerSecond).toBeGreaterThanOrEqual(Math.min(50_000, truth) / 1.06 - 2);
      expect(found.report?.answeredPerSecond).toBe(found.ratePerSecond);
    }),
    { numRuns: 50 },
  );
});

test('a load without bounds is refused before anything is sent', async () => {
  const plan = {
    port: 1,
    path: '/',
    requests: [Buffer.from('x')],
    ratePerSecond: 1000,
    seconds: 10_000,
    connections: 1,
  };
  await expect(runLoad(plan)).rejects.toThrow('A load beyond');
});

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { HedgeBudget, hedgeDefaults, slowestOf } from '#embeddings/lookup/hedging.ts';

test('extra calls never exceed their share of all first calls and the burst', () => {
  const shareMax = fc.double({ min: 0, max: 0.2, noNaN: true });
  const burst = fc.integer({ min: 0, max: 20 });
  fc.assert(
    fc.property(shareMax, burst, fc.array(fc.boolean(), { maxLength: 2000 }), (shareMax, burst, isExtra) => {
      const budget = new HedgeBudget({ ...hedgeDefaults, shareMax, burst });
      for (const each of isExtra) {
        if (!each) budget.earn();
        else if (budget.allows()) budget.spend();
        else budget.refuse();
        expect(budget.extraCalls).toBeLessThanOrEqual(shareMax * budget.firstCalls + burst + 1e-9);
      }
      expect(budget.extraCalls).toBeLessThanOrEqual(shareMax === 0 ? 0 : isExtra.length);
    }),
  );
});

test('what is not spent is saved up to the burst, not beyond', () => {
  const budget = new HedgeBudget({ ...hedgeDefaults, shareMax: 0.5, burst: 3 });
  for (let index = 0; index < 1000; index++) budget.earn();
  let spent = 0;
  while (budget.allows()) {
    budget.spend();
    spent += 1;
  }
  expect(spent).toBe(3);
});

test('the slowest is the one most overdue', () => {
  expect(slowestOf([])).toBe(-1);
  expect(slowestOf([{ lateness: 1.1 }, { lateness: 3 }, { lateness: 2 }])).toBe(1);
});

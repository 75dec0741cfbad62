import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { assumedCost, CostModel } from '#inference/cost-model.ts';
import { seededRandom } from '#inference/seeded-random.ts';

/** Batches of random size on a machine of this cost, with some per cent of noise. */
function serve(model: CostModel, batches: number, fixedMs: number, perRowMs: number, random: () => number): void {
  for (let batch = 0; batch < batches; batch++) {
    const rows = 200 * Math.ceil(random() * 8);
    model.learn(rows, (fixedMs + rows * perRowMs) * (0.95 + 0.1 * random()));
  }
}

describe('the cost of a batch', () => {
  test('is learnt from what batches took, wherever the machine stands', () => {
    const machine = fc.record({
      fixedMs: fc.double({ min: 0.01, max: 0.5, noNaN: true }),
      perRowMs: fc.double({ min: 0.0002, max: 0.005, noNaN: true }),
      seed: fc.integer(),
    });
    fc.assert(
      fc.property(machine, ({ fixedMs, perRowMs, seed }) => {
        const model = new CostModel();
        serve(model, 1500, fixedMs, perRowMs, seededRandom(seed));
        for (const rows of [200, 800, 1600]) {
          const truth = fixedMs + rows * perRowMs;
          expect(Math.abs(model.of(rows) - truth) / truth).toBeLessThan(0.1);
        }
      }),
    );
  });

  test('is not moved by a thread that was descheduled now and then', () => {
    const random = seededRandom(5);
    const model = new CostModel();
    serve(model, 600, 0.06, 0.0007, random);
    for (let round = 0; round < 300; round++) {
      serve(model, 20, 0.06, 0.0007, random);
      model.learn(200, 30);
    }
    const truth = 0.06 + 800 * 0.0007;
    expect(Math.abs(model.of(800) - truth) / truth).toBeLessThan(0.25);
  });

  test('follows a machine that has become three times slower', () => {
    const random = seededRandom(6);
    const model = new CostModel();
    serve(model, 600, 0.06, 0.0007, random);
    serve(model, 1200, 0.18, 0.0021, random);
    const truth = 0.18 + 800 * 0.0021;
    expect(Math.abs(model.of(800) - truth) / truth).toBeLessThan(0.15);
  });

  test('stays a cost when every batch has the same size', () => {
    const model = new CostModel({ fixedMs: 0.06, perRowMs: 0.0007 });
    for (let batch = 0; batch < 2000; batch++) model.learn(200, 0.4);
    expect(Math.abs(model.of(200) - 0.4)).toBeLessThan(0.02);
    expect(model.of(1600)).toBeGreaterThan(model.of(200));
  });

  test('is never negative and never hears nonsense', () => {
    const took = fc.oneof(fc.double(), fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, -1, 0));
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: -5, max: 2000 }), took), { maxLength: 200 }), (batches) => {
        const model = new CostModel();
        for (const [rows, ms] of batches) model.learn(rows, ms);
        expect(model.fixedMs).toBeGreaterThanOrEqual(0);
        expect(model.perRowMs).toBeGreaterThanOrEqual(0);
        expect(Number.isFinite(model.of(1000))).toBe(true);
      }),
    );
  });

  test('starts with what it is given', () => {
    const model = new CostModel();
    expect(model.of(0)).toBe(assumedCost.fixedMs);
    expect(new CostModel({ fixedMs: 1, perRowMs: 2 }).of(3)).toBe(7);
  });
});

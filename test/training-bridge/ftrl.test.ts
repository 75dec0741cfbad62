import { expect, test } from 'vitest';
import { seededRandom } from '#inference/seeded-random.ts';
import { Ftrl, sigmoid } from '#training-bridge/ftrl.ts';

test('one step by hand: w = −(z − sign(z)·λ1) ÷ ((β + √n) ÷ α + λ2)', () => {
  const ftrl = new Ftrl(3, { alpha: 0.1, beta: 1, l1: 0.2, l2: 2 });
  ftrl.update(Uint32Array.of(0, 2), 2, -0.5);
  // z = −0.5, n = 0.25: w = (0.5 − 0.2) ÷ ((1 + 0.5) ÷ 0.1 + 2).
  expect(ftrl.weights[0]).toBeCloseTo(0.3 / 17, 7);
  expect(ftrl.weights[1]).toBe(0);
  expect(ftrl.weights[2]).toBe(ftrl.weights[0]);
  ftrl.update(Uint32Array.of(0), 1, 0.2);
  // σ = (√0.29 − 0.5) ÷ 0.1; z = −0.5 + 0.2 − σ·w; the rest as above.
  const sigma = (Math.sqrt(0.29) - 0.5) / 0.1;
  const z = -0.3 - sigma * (0.3 / 17);
  expect(ftrl.weights[0]).toBeCloseTo(-(z + 0.2) / ((1 + Math.sqrt(0.29)) / 0.1 + 2), 6);
});

test('learns the rates of a small world, and where to begin', () => {
  const random = seededRandom(5);
  const ftrl = new Ftrl(4, { alpha: 0.1, beta: 1, l1: 0, l2: 0 });
  ftrl.startAt(0, -2);
  expect(ftrl.logit(Uint32Array.of(0), 1)).toBe(-2);
  const rates = [0.05, 0.2, 0.6];
  const slots = new Uint32Array(2);
  for (let row = 0; row < 60_000; row++) {
    const kind = Math.floor(random() * 3);
    slots[1] = 1 + kind;
    const outcome = random() < rates[kind]! ? 1 : 0;
    ftrl.update(slots, 2, sigmoid(ftrl.logit(slots, 2)) - outcome);
  }
  for (const [kind, rate] of rates.entries())
    expect(sigmoid(ftrl.logit(Uint32Array.of(0, 1 + kind), 2))).toBeCloseTo(rate, 1.5);
});

test('a feature that says nothing keeps exactly no weight under L1', () => {
  const random = seededRandom(6);
  const ftrl = new Ftrl(1000, { alpha: 0.1, beta: 1, l1: 3, l2: 0 });
  const slots = new Uint32Array(2);
  for (let row = 0; row < 5000; row++) {
    slots[1] = 1 + Math.floor(random() * 999);
    const outcome = random() < 0.5 ? 1 : 0;
    ftrl.update(slots, 2, sigmoid(ftrl.logit(slots, 2)) - outcome);
  }
  const idle = ftrl.weights.subarray(1).filter((weight) => weight === 0).length;
  expect(idle).toBeGreaterThan(970);
});

test('what was never seen becomes an average of what was, weighted by how much it taught; the seen keep their weights', () => {
  const ftrl = new Ftrl(6, { alpha: 0.1, beta: 1, l1: 0, l2: 0 });
  for (let times = 0; times < 30; times++) ftrl.update(Uint32Array.of(0), 1, -0.5);
  ftrl.update(Uint32Array.of(2), 1, 0.5);
  const [often = 0, , once = 0] = ftrl.weights;
  ftrl.fillUnseen(0, 3, 2);
  // Σ g²: 30 × 0.25 and 1 × 0.25.
  expect(ftrl.weights[4]).toBeCloseTo((30 * often + once) / 31, 6);
  expect([ftrl.weights[0], ftrl.weights[2]]).toEqual([often, once]);
  expect([ftrl.weights[1], ftrl.weights[3], ftrl.weights[5]]).toEqual([0, 0, 0]);
});

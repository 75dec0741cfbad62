import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LoadLadder } from '#server/load-ladder.ts';
import { loadLevels, startRungAt } from '#server/load-levels.ts';
import { rungs } from '#server/rungs.ts';
import { valueTiers } from '#server/value-tiers.ts';

function feed(ladder: LoadLadder, delayMs: number, fromMs: number, forMs: number): number {
  for (let nowMs = fromMs; nowMs < fromMs + forMs; nowMs += 5) ladder.observe(delayMs, nowMs);
  return fromMs + forMs;
}

test('a standing queue moves to the level of its delay within two windows', () => {
  const ladder = new LoadLadder();
  expect(ladder.level).toBe('normal');
  feed(ladder, 20, 0, 105);
  expect(ladder.level).toBe('high');
});

test('one burst that drains at once is no overload', () => {
  const ladder = new LoadLadder();
  for (let nowMs = 0; nowMs < 1000; nowMs += 5) ladder.observe(nowMs % 50 === 0 ? 100 : 0.1, nowMs);
  expect(ladder.level).toBe('normal');
});

test('comes back one level at a time, and within a second of calm is normal again', () => {
  const ladder = new LoadLadder();
  let nowMs = feed(ladder, 100, 0, 105);
  expect(ladder.level).toBe('critical');
  nowMs = feed(ladder, 0.1, nowMs, 400);
  expect(ladder.level).toBe('high');
  feed(ladder, 0.1, nowMs, 700);
  expect(ladder.level).toBe('normal');
});

test('a delay between leaving and entering a level keeps it', () => {
  const ladder = new LoadLadder();
  const nowMs = feed(ladder, loadLevels[1]!.enterAtMs, 0, 105);
  feed(ladder, (loadLevels[1]!.enterAtMs + loadLevels[1]!.leaveAtMs) / 2, nowMs, 3000);
  expect(ladder.level).toBe('elevated');
});

test('silence is calm', () => {
  const ladder = new LoadLadder();
  feed(ladder, 100, 0, 105);
  ladder.observe(0, 10_000);
  expect(ladder.level).toBe('normal');
});

test('limits are ordered: each level is entered above where it is left, and later than the one before', () => {
  for (const [index, level] of loadLevels.entries()) {
    if (index === 0) continue;
    expect(level.leaveAtMs).toBeLessThan(level.enterAtMs);
    expect(level.enterAtMs).toBeGreaterThan(loadLevels[index - 1]!.enterAtMs);
  }
});

test('nobody starts dearer at a higher level, nor does a tier of less worth', () => {
  const costAt = (level: number, tier: (typeof valueTiers)[number]): number =>
    rungs[startRungAt(level, tier)]!.costShare;
  for (const tier of valueTiers) {
    const costs = loadLevels.map((_, level) => costAt(level, tier));
    expect(costs).toEqual(costs.toSorted((left, right) => right - left));
  }
  for (const [level] of loadLevels.entries()) {
    const costs = valueTiers.map((tier) => costAt(level, tier));
    expect(costs).toEqual(costs.toSorted((left, right) => right - left));
  }
  expect(costAt(0, 'basic')).toBeLessThan(1);
  expect(loadLevels.map((_, level) => rungs[startRungAt(level, 'standard')]!.name)).toEqual([
    'full',
    'reduced',
    'light-ranker',
    'smoothed-rate',
  ]);
});

test('never above the level that its worst delay allows', () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 60, noNaN: true }), { minLength: 1, maxLength: 200 }), (delays) => {
      const ladder = new LoadLadder();
      let nowMs = 0;
      for (const delayMs of delays) ladder.observe(delayMs, (nowMs += 5));
      const worst = Math.max(...delays);
      expect(ladder.levelIndex === 0 || loadLevels[ladder.levelIndex]!.enterAtMs <= worst).toBe(true);
    }),
  );
});

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { newContext } from '#deploy/demo/context.ts';
import { AliasTable, zipfWeights } from '#deploy/demo/draws.ts';
import { MarketLayout } from '#deploy/demo/layout.ts';
import { areaUnderCurve } from '#deploy/demo/ranking-quality.ts';
import { simulateLog } from '#deploy/demo/simulate.ts';
import { ViewCounts } from '#deploy/demo/view-counts.ts';
import { World } from '#deploy/demo/world.ts';
import { seededRandom } from '#inference/seeded-random.ts';

const parameters = { ads: 3000, users: 20_000, rows: 150_000, seed: 7 };
const world = new World(new MarketLayout(parameters));
const log = simulateLog(world);
const { impressions, clickProbability } = log;

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

/** Slope of log(count) over log(rank), over the ranks whose counts are large enough to mean something. */
function zipfAlpha(indexes: Uint32Array, kinds: number): number {
  const counts = new Float64Array(kinds);
  for (const index of indexes) counts[index]! += 1;
  counts[0] = 0;
  const top = counts.toSorted().reverse().subarray(2, 200);
  const points = [...top].map((count, rank) => [Math.log(rank + 3), Math.log(count)] as const);
  const meanX = sum(points.map(([x]) => x)) / points.length;
  const meanY = sum(points.map(([, y]) => y)) / points.length;
  const covariance = sum(points.map(([x, y]) => (x - meanX) * (y - meanY)));
  return -covariance / sum(points.map(([x]) => (x - meanX) ** 2));
}

describe('the log of the demo world', () => {
  test('clicks about 2 % of the time, as often as the truth says', () => {
    const rate = sum(impressions.click) / parameters.rows;
    expect(rate).toBeGreaterThan(0.018);
    expect(rate).toBeLessThan(0.0235);
    const expected = sum(clickProbability);
    // Five standard deviations of a Poisson count.
    expect(Math.abs(sum(impressions.click) - expected)).toBeLessThan(5 * Math.sqrt(expected));
  });

  test('converts about 5 % of its clicks, and nothing else', () => {
    const clicks = sum(impressions.click);
    const rate = sum(impressions.conversion) / clicks;
    expect(rate).toBeGreaterThan(0.035);
    expect(rate).toBeLessThan(0.075);
    expect(impressions.conversion.every((conversion, row) => conversion <= impressions.click[row]!)).toBe(true);
  });

  test('could be ranked with an AUC of 0.82 to 0.86 by who knows the truth', () => {
    const auc = areaUnderCurve(clickProbability, impressions.click);
    expect(auc).toBeGreaterThan(0.82);
    expect(auc).toBeLessThan(0.86);
  });

  test('follows Zipf with alpha 1 in users and ads', () => {
    expect(zipfAlpha(impressions.userIndex, parameters.users + 1)).toBeCloseTo(1, 0.7);
    const ofOneSize = impressions.adIndex.filter((row) => row > 0 && world.layout.adSize[row - 1] === 0);
    const alpha = zipfAlpha(ofOneSize, parameters.ads + 1);
    expect(alpha).toBeGreaterThan(0.75);
    expect(alpha).toBeLessThan(1.25);
  });

  test('is in the order of time and names only ids that the schema has', () => {
    expect(impressions.timeMs.every((timeMs, row) => row === 0 || timeMs >= impressions.timeMs[row - 1]!)).toBe(true);
    const { context } = impressions.schema;
    const isKnown = impressions.contextIds.every((id, at) => id < context[at % context.length]!.size);
    expect(isKnown).toBe(true);
    for (const [table, fields] of [
      [impressions.users, impressions.schema.user],
      [impressions.ads, impressions.schema.ad],
    ] as const) {
      for (const [index, values] of table.values.entries()) {
        expect(values).toHaveLength(table.ids.length * fields[index]!.width);
        expect(values.every((id) => id < fields[index]!.size)).toBe(true);
      }
      expect(fields[0]!.vocabulary?.[41]).toBe(table.ids[42]);
    }
  });

  test('is the same for the same seed and another for another', () => {
    const small = { ads: 300, users: 500, rows: 2000, seed: 3 };
    const make = (seed: number) => simulateLog(new World(new MarketLayout({ ...small, seed })));
    const first = make(3);
    const again = make(3);
    expect(again.impressions).toEqual(first.impressions);
    expect(again.clickProbability).toEqual(first.clickProbability);
    expect(make(4).impressions.adIndex).not.toEqual(first.impressions.adIndex);
  });

  test('shows only ads whose line item may compete there', () => {
    for (let row = 0; row < 5000; row += 1) {
      const item = world.layout.adLineItem[impressions.adIndex[row]! - 1]!;
      expect(world.layout.lineItemPaused[item]).toBe(0);
      const countryBit = 1 << (impressions.contextIds[row * 10 + 7]! - 1);
      const mask = world.layout.countryMask[item]!;
      expect(mask === 0 || (mask & countryBit) !== 0).toBe(true);
    }
  });
});

describe('the truth', () => {
  test('is a probability for anybody, anywhere, and views tire', () => {
    const { users, ads } = parameters;
    fc.assert(
      fc.property(
        fc.record({ user: fc.integer({ min: -1, max: users - 1 }), ad: fc.integer({ min: 0, max: ads - 1 }) }),
        fc.record({ site: fc.integer({ min: -1, max: 499 }), hour: fc.nat(23), country: fc.nat(6), size: fc.nat(7) }),
        fc.integer({ min: 0, max: 254 }),
        ({ user, ad }, place, views) => {
          const context = { ...newContext(), ...place };
          const p = world.trueClickProbability(user, ad, context, views);
          const later = world.trueClickProbability(user, ad, context, views + 1);
          const conversion = world.trueConversionProbability(user, ad, context);
          expect(p > 0 && p < 1 && conversion > 0 && conversion < 1).toBe(true);
          expect(later).toBeLessThan(p);
          const logit = (x: number): number => Math.log(x / (1 - x));
          expect(logit(p) - logit(later)).toBeCloseTo(0.15 * Math.log((2 + views) / (1 + views)), 6);
        },
      ),
    );
  });

  test('does not depend on what was asked before', () => {
    const fresh = new World(new MarketLayout({ ...parameters, rows: 0 }));
    const context = { ...newContext(), site: 3 };
    expect(fresh.trueClickProbability(123, 456, context, 0)).toBe(world.trueClickProbability(123, 456, context, 0));
  });
});

test('an alias table draws by its weights', () => {
  const table = new AliasTable(zipfWeights(50));
  const random = seededRandom(5);
  const counts = new Float64Array(50);
  for (let draw = 0; draw < 200_000; draw += 1) counts[table.draw(random())]! += 1;
  const total = sum(zipfWeights(50));
  for (const rank of [0, 1, 9, 49]) expect(counts[rank]! / 200_000).toBeCloseTo(1 / (rank + 1) / total, 2);
});

test('views are counted per user, line item and day', () => {
  const views = new ViewCounts(1000);
  expect([views.add(1, 2, 0), views.add(1, 2, 0), views.add(2, 1, 0), views.add(1, 2, 0)]).toEqual([0, 1, 0, 2]);
  expect(views.seen(1, 2, 0)).toBe(3);
  expect(views.add(1, 2, 1)).toBe(0);
});

test('the area under the curve counts ties half', () => {
  expect(areaUnderCurve(Float32Array.of(0.1, 0.4, 0.35, 0.8), Uint8Array.of(0, 0, 1, 1))).toBe(0.75);
  expect(areaUnderCurve(Float32Array.of(1, 1, 1), Uint8Array.of(0, 1, 0))).toBe(0.5);
});

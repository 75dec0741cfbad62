import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { newAdKey, siteKeyOf } from '#auction/ad-keys.ts';
import { ClickCounts, countUnit } from '#auction/click-counts.ts';
import { clickRateHalfLifeMs, ClickRates, priorViewsDefault } from '#auction/click-rates.ts';

const fresh = (capacity = 1024): ClickRates =>
  new ClickRates(ClickRates.allocate({ singles: capacity, pairs: capacity }));
const rateOf = (logit: number): number => 1 / (1 + Math.exp(-logit));
const see = (rates: ClickRates, site: number, views: number, clicks: number): void => {
  for (let view = 0; view < views; view++) rates.recordView(1, 2, site);
  for (let click = 0; click < clicks; click++) rates.recordClick(1, 2, site);
};

describe('smoothed click rates', () => {
  test('begin at the prior, and move to what was seen as if the prior were so many views', () => {
    const rates = fresh();
    expect(rateOf(rates.adLogit(1, 2, 0.03))).toBeCloseTo(0.03, 10);
    see(rates, 0, 500, 20);
    const { ad } = priorViewsDefault;
    expect(rateOf(rates.adLogit(1, 2, 0.03))).toBeCloseTo((20 + ad * 0.03) / (500 + ad), 10);
    expect(rates.adLogit(1, 3, 0.03)).toBe(fresh().adLogit(1, 3, 0.03));
  });

  test('a site lifts every ad, a pair is known by itself when there are views enough', () => {
    const rates = fresh();
    const good = siteKeyOf('good.example');
    const bad = siteKeyOf('bad.example');
    see(rates, good, 2000, 100);
    see(rates, bad, 2000, 20);
    expect(rates.siteLift(good)).toBeGreaterThan(0.2);
    expect(rates.siteLift(bad)).toBeLessThan(-0.2);
    expect([rates.siteLift(0), rates.siteLift(siteKeyOf('new.example'))]).toEqual([0, 0]);
    const { pair } = priorViewsDefault;
    const logit = Math.log(0.02 / 0.98);
    expect(rateOf(rates.pairLogit(1, 2, good, logit))).toBeCloseTo((100 + pair * 0.02) / (2000 + pair), 8);
    expect(rates.pairLogit(1, 2, siteKeyOf('new.example'), logit)).toBe(logit);
  });

  test('half of the weight is gone after a half-life: the rate stays, the prior gains', () => {
    const rates = fresh();
    see(rates, 0, 1000, 100);
    for (let step = 0; step < 168; step++) rates.decay(clickRateHalfLifeMs / 168);
    const { ad } = priorViewsDefault;
    expect(rateOf(rates.adLogit(1, 2, 0.02))).toBeCloseTo((50 + ad * 0.02) / (500 + ad), 3);
  });

  test('what a process counted goes to the others once, and what came from them is not sent on', () => {
    const here = fresh();
    const there = fresh();
    const site = siteKeyOf('news.example');
    see(here, site, 300, 12);
    const delta = here.export('fresh');
    expect(there.merge(delta)).toBe(true);
    expect(here.export('fresh').length).toBe(0);
    expect(there.export('fresh').length).toBe(0);
    for (const rates of [here, there]) {
      expect(rates.adLogit(1, 2, 0.01)).toBe(here.adLogit(1, 2, 0.01));
      expect(rates.pairLogit(1, 2, site, -4)).toBe(here.pairLogit(1, 2, site, -4));
    }
    const again = fresh();
    expect(again.merge(there.export('all'))).toBe(true);
    expect(again.siteLift(site)).toBe(here.siteLift(site));
  });

  test('bytes that are no counts change nothing', () => {
    const rates = fresh();
    const bad = [
      Buffer.alloc(19),
      Buffer.alloc(20),
      Buffer.alloc(20, 0xff),
      Buffer.from(Uint32Array.of(2, 1, 1, 1, 1).buffer),
    ];
    for (const bytes of bad) expect(rates.merge(bytes)).toBe(false);
    expect(rates.export('all').length).toBe(0);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        rates.merge(Buffer.from(bytes));
        expect(Number.isFinite(rates.adLogit(1, 2, 0.01) + rates.siteLift(5))).toBe(true);
      }),
    );
  });
});

describe('counts of views and clicks', () => {
  test('are bounded: the fewest views make room', () => {
    const counts = new ClickCounts(ClickCounts.allocate(64));
    counts.add(1, 1, 1000 * countUnit, 0, true);
    for (let key = 2; key < 2000; key++) counts.add(key, key, countUnit, 0, true);
    let held = 0;
    counts.forEach(() => held++);
    expect(held).toBeLessThanOrEqual(64);
    expect(counts.viewsAt(counts.find(1, 1))).toBe(1000);
  });

  test('never overflow: a rate stays what it is however often it is counted', () => {
    const counts = new ClickCounts(ClickCounts.allocate(64));
    for (let round = 0; round < 100; round++) counts.add(1, 1, 2 ** 28, 2 ** 22, false);
    const place = counts.find(1, 1);
    expect(counts.clicksAt(place) / counts.viewsAt(place)).toBeCloseTo(1 / 64, 3);
  });
});

test('an ad keeps its key wherever it is hashed, and no site has key 0', () => {
  const key = newAdKey();
  key.of('li000001.cr000001');
  const { high, low } = key;
  const other = newAdKey();
  other.of('li000001.cr000002');
  expect([other.high, other.low]).not.toEqual([high, low]);
  other.of('li000001.cr000001');
  expect([other.high, other.low]).toEqual([high, low]);
  expect([siteKeyOf(''), siteKeyOf('a') === siteKeyOf('b'), siteKeyOf('a') > 0]).toEqual([0, false, true]);
});

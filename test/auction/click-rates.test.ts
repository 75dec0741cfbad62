import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { newAdKey, wordKeyOf } from '#auction/ad-keys.ts';
import { ClickCounts, countUnit } from '#auction/click-counts.ts';
import {
  clickRateHalfLifeMs,
  ClickRates,
  interests,
  priorClicks,
  priorViewsDefault,
  type RatedAd,
  type RatedVisit,
} from '#auction/click-rates.ts';

const fresh = (capacity = 1024): ClickRates =>
  new ClickRates(ClickRates.allocate({ singles: capacity, pairs: capacity }));
const rateOf = (logit: number): number => 1 / (1 + Math.exp(-logit));
const ad: RatedAd = { high: 1, low: 2, advertiser: 3, category: 4, prior: 0.03 };
const nowhere: RatedVisit = { site: 0, interest: interests.unknown };
const on = (word: string): RatedVisit => ({ site: wordKeyOf(word), interest: interests.unknown });
const see = (rates: ClickRates, visit: RatedVisit, views: number, clicks: number, shown = ad): void => {
  for (let view = 0; view < views; view++) rates.recordView(shown, visit);
  for (let click = 0; click < clicks; click++) rates.recordClick(shown, visit);
};

describe('smoothed click rates', () => {
  test('begin at the line item’s own prior', () => {
    expect(rateOf(fresh().adLogit(ad))).toBeCloseTo(0.03, 10);
    expect(fresh().visitLift(on('news.example'), 4)).toBe(0);
  });

  test('move to what was seen: advertiser from the prior, ad from its advertiser, each as if the level above were so many views', () => {
    const rates = fresh();
    see(rates, nowhere, 1000, 60);
    const { advertiser, ad: ads } = priorViewsDefault;
    // All priors together expected 30 clicks where 60 came.
    const own = (0.03 * (60 + 50)) / (30 + 50);
    const ofAdvertiser = (60 + advertiser * own) / (1000 + advertiser);
    expect(rateOf(rates.adLogit(ad))).toBeCloseTo((60 + ads * ofAdvertiser) / (1000 + ads), 3);
    // Another ad of the same advertiser profits, one of another advertiser by the priors' factor alone.
    expect(rateOf(rates.adLogit({ ...ad, low: 9 }))).toBeCloseTo(ofAdvertiser, 3);
    expect(rateOf(rates.adLogit({ ...ad, low: 9, advertiser: 8 }))).toBeCloseTo(own, 3);
  });

  test('a site lifts every ad, more those of the category that it is good for; a pair is known by itself in time', () => {
    const rates = fresh();
    const other = { ...ad, low: 7, advertiser: 6, category: 5 };
    for (const [visit, own, others] of [
      [on('good.example'), 200, 60],
      [on('bad.example'), 20, 20],
    ] as const) {
      see(rates, visit, 2000, own);
      see(rates, visit, 2000, others, other);
    }
    expect(rates.visitLift(on('good.example'), 5)).toBeGreaterThan(0.1);
    expect(rates.visitLift(on('good.example'), 4)).toBeGreaterThan(rates.visitLift(on('good.example'), 5));
    expect(rates.visitLift(on('bad.example'), 4)).toBeLessThan(-0.2);
    expect([rates.visitLift(nowhere, 4), rates.visitLift(on('new.example'), 99)]).toEqual([0, 0]);
    const { pair } = priorViewsDefault;
    const logit = Math.log(0.02 / 0.98);
    const { site } = on('good.example');
    expect(rateOf(rates.pairLogit(ad, site, logit))).toBeCloseTo((200 + pair * 0.02) / (2000 + pair), 8);
    expect(rates.pairLogit(ad, wordKeyOf('new.example'), logit)).toBe(logit);
  });

  test('interests that a profile names lift an ad, and those that it does not name sink it', () => {
    const rates = fresh();
    see(rates, { site: 0, interest: interests.named }, 1000, 60);
    see(rates, { site: 0, interest: interests.other }, 3000, 60);
    const lift = (interest: RatedVisit['interest']): number => rates.visitLift({ site: 0, interest }, 4);
    expect(lift(interests.named)).toBeGreaterThan(0.3);
    expect(lift(interests.other)).toBeLessThan(-0.2);
    expect(lift(interests.unknown)).toBe(0);
  });

  test('conversions per click begin at the line item’s own prior, and move with those of the advertiser and of the ad itself', () => {
    const rates = fresh();
    expect(rates.conversionRate(ad, 0.05)).toBe(0.05);
    for (let click = 0; click < 400; click++) rates.recordClick(ad, nowhere);
    for (let conversion = 0; conversion < 8; conversion++) rates.recordConversion(ad);
    const { advertiser, ad: ads } = priorClicks;
    const ofAdvertiser = (8 + advertiser * 0.05) / (400 + advertiser);
    expect(rates.conversionRate(ad, 0.05)).toBeCloseTo((8 + ads * ofAdvertiser) / (400 + ads), 10);
    // Another ad of the same advertiser learns from it, one of another advertiser does not, and clicks are what they were.
    expect(rates.conversionRate({ ...ad, low: 9 }, 0.05)).toBeCloseTo(ofAdvertiser, 10);
    expect(rates.conversionRate({ ...ad, low: 9, advertiser: 8 }, 0.05)).toBe(0.05);
    const clicks = fresh();
    for (let click = 0; click < 400; click++) clicks.recordClick(ad, nowhere);
    expect(rates.adLogit(ad)).toBe(clicks.adLogit(ad));
    // More conversions than clicks are no more than certain.
    const odd = fresh();
    for (let conversion = 0; conversion < 1000; conversion++) odd.recordConversion(ad);
    expect(odd.conversionRate(ad, 0.05)).toBe(1);
  });

  test('half of the weight is gone after a half-life: the rate stays, the prior gains', () => {
    const rates = fresh();
    see(rates, nowhere, 1000, 100);
    for (let step = 0; step < 168; step++) rates.decay(clickRateHalfLifeMs / 168);
    const counts = Buffer.from(rates.export());
    const words = new Uint32Array(Uint8Array.from(counts).buffer);
    const own = [...words.keys()].filter((at) => at % 5 === 1 && words[at] === 1 && words[at + 1] === 2);
    expect(words[own[0]! + 2]! / countUnit / 500).toBeCloseTo(1, 1);
    expect(words[own[0]! + 3]! / countUnit / 50).toBeCloseTo(1, 1);
  });

  test('exported counts, merged, say the same', () => {
    const here = fresh();
    const there = fresh();
    const visit = on('news.example');
    see(here, visit, 300, 12);
    expect(there.merge(here.export())).toBe(true);
    const again = fresh();
    expect(again.merge(there.export())).toBe(true);
    for (const rates of [there, again]) {
      expect(rates.adLogit(ad)).toBe(here.adLogit(ad));
      expect(rates.visitLift(visit, 4)).toBe(here.visitLift(visit, 4));
      expect(rates.pairLogit(ad, visit.site, -4)).toBe(here.pairLogit(ad, visit.site, -4));
    }
  });

  test('what holds for everything is never pushed out, and stays right however much is counted', () => {
    const rates = fresh(64);
    const factorOf = (): number => rateOf(rates.adLogit({ ...ad, low: 1, advertiser: 1 })) / 0.03;
    see(rates, { site: 0, interest: interests.named }, 1000, 60);
    const before = factorOf();
    // A hundred times as many ads as there is room for.
    for (let row = 10; row < 7000; row++)
      see(rates, on(`site${row}`), 1, 0, { ...ad, low: row, advertiser: row, prior: 0 });
    expect(factorOf()).toBeCloseTo(before, 10);
    for (let round = 0; round < 24; round++) rates.merge(rates.export());
    expect(factorOf()).toBeGreaterThan(before);
    expect(factorOf()).toBeCloseTo(2, 1);
  });

  test('bytes that are no counts change nothing', () => {
    const rates = fresh();
    const bad = [
      Buffer.alloc(19),
      Buffer.alloc(20),
      Buffer.alloc(20, 0xff),
      Buffer.from(Uint32Array.of(3, 1, 1, 1, 1).buffer),
    ];
    for (const bytes of bad) expect(rates.merge(bytes)).toBe(false);
    expect(rates.export().length).toBe(0);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        rates.merge(Buffer.from(bytes));
        expect(Number.isFinite(rates.adLogit(ad) + rates.visitLift(on('a'), 4))).toBe(true);
      }),
    );
  });
});

describe('counts of views and clicks', () => {
  test('are bounded: the fewest views make room', () => {
    const counts = new ClickCounts(ClickCounts.allocate(64));
    counts.add(1, 1, 1000 * countUnit, 0);
    for (let key = 2; key < 2000; key++) counts.add(key, key, countUnit, 0);
    let held = 0;
    counts.forEach(() => held++);
    expect(held).toBeLessThanOrEqual(64);
    expect(counts.viewsAt(counts.find(1, 1))).toBe(1000);
  });

  test('never overflow: a rate stays what it is however often it is counted', () => {
    const counts = new ClickCounts(ClickCounts.allocate(64));
    for (let round = 0; round < 100; round++) counts.add(1, 1, 2 ** 28, 2 ** 22);
    const place = counts.find(1, 1);
    expect(counts.clicksAt(place) / counts.viewsAt(place)).toBeCloseTo(1 / 64, 3);
  });
});

test('an ad keeps its key wherever it is hashed, and no word but the empty one has key 0', () => {
  const key = newAdKey();
  key.of('li000001.cr000001');
  const { high, low } = key;
  const other = newAdKey();
  other.of('li000001.cr000002');
  expect([other.high, other.low]).not.toEqual([high, low]);
  other.of('li000001.cr000001');
  expect([other.high, other.low]).toEqual([high, low]);
  expect([wordKeyOf(''), wordKeyOf('a') === wordKeyOf('b'), wordKeyOf('a') > 0]).toEqual([0, false, true]);
});

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { lossBits, rungAfter } from '#server/rung-after.ts';
import { cheaperRung, type RungName, type RungNeed, rungNames, rungNeeds, rungNumber, rungs } from '#server/rungs.ts';

const served = rungs.filter(({ name }) => name !== 'prior');
const everything = rungNeeds.reduce((bits, need) => bits | lossBits[need], 0);
const after = (name: RungName, ...lost: RungNeed[]): RungName =>
  rungNames[
    rungAfter(
      rungNumber(name),
      lost.reduce((bits, need) => bits | lossBits[need], 0),
    )
  ]!;
const needsOf = (name: RungName): string[] =>
  Object.keys(rungs[rungNumber(name)]!.after).filter((need) => need !== 'cache');

describe('the table of rungs', () => {
  test('numbers are in logs for ever', () => {
    expect(rungNames).toEqual([
      'full',
      'reduced',
      'light-ranker',
      'prior',
      'cached-prediction',
      'default-features',
      'average-embedding',
      'smoothed-rate',
      'cpm-only',
      'vector-only',
    ]);
  });

  test('each scorer names what it cannot do without', () => {
    // Candidates are chosen by the light ranker wherever a model answers.
    const needed = {
      head: ['head', 'ranker'],
      cache: ['cache', 'ranker'],
      light: ['ranker'],
      rates: ['rates'],
      none: [],
    } as const;
    for (const { scorer, after: next } of served)
      expect(Object.keys(next)).toEqual(expect.arrayContaining([...needed[scorer]]));
  });

  test('every failure leads to an end and never up: what is lost is not needed further on, and nothing new is', () => {
    const scorers = ['head', 'cache', 'light', 'rates', 'none'];
    for (const { name, after: next, scorer } of rungs) {
      for (const [need, to] of Object.entries(next)) {
        const target = rungs[rungNumber(to)]!;
        expect(target.name).not.toBe(name);
        expect(Object.keys(target.after)).not.toContain(need);
        expect(scorers.indexOf(target.scorer)).toBeGreaterThanOrEqual(scorers.indexOf(scorer));
        // Rates are what is left when the models are gone.
        const known = new Set([...needsOf(name), 'rates']);
        expect(needsOf(to).filter((each) => !known.has(each))).toEqual([]);
      }
      expect(rungNames[rungAfter(rungNumber(name), everything)]).toBe(name === 'prior' ? 'prior' : 'cpm-only');
    }
  });

  test('each cheaper rung costs less, down to an end', () => {
    const dearer = rungs.filter((rung, number) => {
      const cheaper = rungs[cheaperRung[number]!];
      return cheaper !== undefined && cheaper.costShare >= rung.costShare;
    });
    expect(dearer).toEqual([]);
  });
});

describe('rungAfter', () => {
  test('says what answers in place of what was lost', () => {
    expect(after('full')).toBe('full');
    expect(after('full', 'head')).toBe('cached-prediction');
    expect(after('full', 'head', 'cache')).toBe('light-ranker');
    expect(after('full', 'vector')).toBe('average-embedding');
    expect(after('full', 'profile')).toBe('vector-only');
    expect(after('reduced', 'profile')).toBe('vector-only');
    expect(after('full', 'profile', 'head')).toBe('default-features');
    expect(after('vector-only', 'ranker')).toBe('smoothed-rate');
    expect(after('full', 'vector', 'profile')).toBe('default-features');
    expect(after('reduced', 'head')).toBe('cached-prediction');
    expect(after('average-embedding', 'head')).toBe('cached-prediction');
    expect(after('light-ranker', 'vector', 'head')).toBe('light-ranker');
    expect(after('light-ranker', 'profile')).toBe('default-features');
    expect(after('cached-prediction', 'ranker')).toBe('smoothed-rate');
    expect(after('full', 'ranker', 'rates')).toBe('cpm-only');
  });

  test('the order of losses makes no difference, nor whether they come at once', () => {
    const lost = fc.uniqueArray(fc.constantFrom(...rungNeeds));
    fc.assert(
      fc.property(fc.nat(rungs.length - 1), lost, (rung, needs) => {
        let bits = 0;
        let reached = rung;
        for (const need of needs) {
          bits |= lossBits[need];
          reached = rungAfter(reached, bits);
        }
        expect(reached).toBe(rungAfter(rung, bits));
        // Nothing that is lost is needed where it ends.
        for (const need of needs) expect(rungs[reached]!.after[need]).toBeUndefined();
      }),
    );
  });
});

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PredictionCache } from '#inference/prediction-cache.ts';

const startMs = Date.UTC(2026, 4, 1);
const hourMs = 3_600_000;
const fresh = (entryCount = 1024, ageMsMax?: number): PredictionCache =>
  new PredictionCache(PredictionCache.allocate(entryCount), ageMsMax);

describe('kept predictions', () => {
  test('what was kept is read for an hour, by the same model, segment and ad', () => {
    const cache = fresh();
    cache.begin(7, 3, startMs);
    expect(cache.read(5, 99)).toBeNaN();
    cache.keep(5, 99, -1.25);
    expect(cache.read(5, 99)).toBe(-1.25);
    cache.begin(7, 3, startMs + hourMs);
    expect(cache.read(5, 99)).toBe(-1.25);
    cache.begin(7, 3, startMs + hourMs + 1000);
    expect(cache.read(5, 99)).toBeNaN();
    for (const [model, segment] of [
      [8, 3],
      [7, 4],
    ] as const) {
      cache.begin(model, segment, startMs);
      expect(cache.read(5, 99)).toBeNaN();
    }
    cache.begin(7, 3, startMs);
    // The row has another ad now.
    expect([cache.read(5, 98), cache.read(6, 99)]).toEqual([Number.NaN, Number.NaN]);
  });

  test('a younger age may be asked for, an older one not', () => {
    const cache = fresh(1024, 60_000);
    cache.begin(1, 1, startMs);
    cache.keep(1, 1, 2);
    cache.begin(1, 1, startMs + 61_000);
    expect(cache.read(1, 1)).toBeNaN();
    expect(() => fresh(1024, hourMs + 1)).toThrow(RangeError);
    expect(() => PredictionCache.allocate(1000)).toThrow(RangeError);
  });

  test('several requests of a segment come to their mean; what is no number is not kept, what is too large is cut', () => {
    const cache = fresh();
    cache.begin(1, 1, startMs);
    for (let request = 0; request < 200; request++) cache.keep(1, 1, request % 2 === 0 ? 1 : 3);
    expect(cache.read(1, 1)).toBeGreaterThan(1.7);
    expect(cache.read(1, 1)).toBeLessThan(2.3);
    cache.keep(2, 2, Number.NaN);
    expect(cache.read(2, 2)).toBeNaN();
    cache.keep(3, 3, 1e9);
    cache.keep(4, 4, Number.NEGATIVE_INFINITY);
    expect(cache.read(3, 3)).toBeCloseTo(16, 2);
    expect(cache.read(4, 4)).toBeCloseTo(-16, 2);
  });

  test('no entry is ever read again by a clock that has gone round its sixteen bits', () => {
    // Every 65,536 s the seconds of an entry come round.
    for (const laterMs of [65_536_000, 65_536_000 + 1_800_000, 2 * 65_536_000, 65_536_000 - 1_800_000]) {
      const cache = fresh();
      cache.begin(1, 1, startMs);
      cache.keep(1, 1, 2);
      cache.begin(1, 1, startMs + laterMs);
      expect(cache.read(1, 1)).toBeNaN();
    }
  });

  test('an hour is an hour, wherever in the sixteen bits it begins', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 200_000 }), fc.integer({ min: 0, max: 7200 }), (offsetS, ageS) => {
        const cache = fresh(64);
        cache.begin(1, 1, startMs + offsetS * 1000);
        cache.keep(1, 1, 1);
        cache.begin(1, 1, startMs + (offsetS + ageS) * 1000);
        expect(Number.isNaN(cache.read(1, 1))).toBe(ageS > 3600);
      }),
    );
  });

  test('two threads that write one entry at once leave either prediction or none, never a mixture', () => {
    const shared = PredictionCache.allocate(8);
    const words = new Int32Array(shared);
    const cache = new PredictionCache(shared);
    cache.begin(1, 1, startMs);
    cache.keep(1, 1, 5);
    const [check, data] = [words[0]!, words[1]!];
    cache.begin(1, 2, startMs + 1000);
    words.fill(0);
    cache.keep(1, 1, -5);
    // Check of one, data of the other.
    for (const [first, second] of [
      [check, words[1]!],
      [words[0]!, data],
    ] as const) {
      const torn = PredictionCache.allocate(8);
      new Int32Array(torn).set([first, second]);
      const reader = new PredictionCache(torn);
      for (const segment of [1, 2]) {
        reader.begin(1, segment, startMs + 2000);
        expect(reader.read(1, 1)).toBeNaN();
      }
    }
  });

  test('bounded: whoever comes new takes the place of the oldest, and all that is read is right', () => {
    const cache = fresh(64);
    let right = 0;
    for (let row = 0; row < 1000; row++) {
      cache.begin(1, 0, startMs + row * 1000);
      cache.keep(row, row, row / 128);
    }
    for (let row = 0; row < 1000; row++) {
      const value = cache.read(row, row);
      if (Number.isNaN(value)) continue;
      right++;
      expect(value).toBe(row / 128);
    }
    expect(right).toBeGreaterThan(40);
    expect(right).toBeLessThanOrEqual(64);
    expect(cache.read(999, 999)).toBe(999 / 128);
  });
});

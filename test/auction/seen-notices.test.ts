import assert from 'node:assert/strict';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SeenNotices } from '#auction/seen-notices.ts';

const hour = 3_600_000;

type Step =
  | { do: 'add'; high: number; low: number; forMs: number }
  | { do: 'remove'; high: number; low: number }
  | { do: 'sweep'; afterMs: number };

// Few ids in one small set, so that they meet, wrap around the end of a segment and close gaps all the time.
const word = fc.constantFrom(0, 1, 2, 3, 0x8000_0000, 0xffff_ffff);
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant('add'), high: word, low: word, forMs: fc.nat(5).map((each) => each * 1000) }),
  fc.record({ do: fc.constant('remove'), high: word, low: word }),
  fc.record({ do: fc.constant('sweep'), afterMs: fc.nat(3).map((each) => each * 1000) }),
);

test('agrees with a plain map of ids and expiries, whatever is added, removed and swept', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const seen = new SeenNotices(SeenNotices.allocate(100_000));
      const plain = new Map<string, number>();
      let nowMs = 10_000;
      for (const each of steps) {
        if (each.do === 'sweep') {
          nowMs += each.afterMs;
          const gone = [...plain].filter(([, expiresMs]) => expiresMs <= nowMs);
          for (const [id] of gone) plain.delete(id);
          assert.equal(seen.sweep(nowMs), gone.length);
        } else if (each.do === 'remove') {
          plain.delete(`${each.high}:${each.low}`);
          seen.remove(each.high, each.low);
        } else {
          const id = `${each.high}:${each.low}`;
          const expiresMs = nowMs + each.forMs;
          const isFirst = (plain.get(id) ?? 0) <= nowMs;
          assert.equal(seen.add(each.high, each.low, expiresMs, nowMs), isFirst);
          plain.set(id, Math.max(expiresMs, isFirst ? 0 : plain.get(id)!));
        }
        expect(seen.size).toBe(plain.size);
      }
    }),
    { numRuns: 500 },
  );
});

test('a dense segment keeps every id while others around it come and go', () => {
  // 30,000 ids in room for 40,000: runs are long, and removing closes gaps across the end of segments.
  const seen = new SeenNotices(SeenNotices.allocate(40_000));
  const ids = Array.from({ length: 30_000 }, (_, index) => [Math.imul(index, 0x9e3779b1) >>> 0, index] as const);
  for (const [high, low] of ids) expect(seen.add(high, low, hour, 0)).toBe(true);
  for (const [high, low] of ids.filter((_, index) => index % 3 === 0)) seen.remove(high, low);
  for (const [index, [high, low]] of ids.entries()) expect(seen.add(high, low, hour, 0)).toBe(index % 3 === 0);
  expect(seen.size).toBe(30_000);
});

test('never forgets a live id for want of room: it says that it is full, and after the sweep of what expired it has room again', () => {
  const seen = new SeenNotices(SeenNotices.allocate(256));
  const accepted: number[] = [];
  const fill = (): void => {
    for (let low = 0; low < 5000; low++) if (seen.add(1, low, hour, 0)) accepted.push(low);
  };
  expect(fill).toThrow(expect.objectContaining({ code: 'SEEN_NOTICES_FULL' }));
  for (const low of accepted) expect(seen.add(1, low, hour, 0)).toBe(false);
  // What has expired makes room by itself.
  for (let low = 10_000; low < 10_200; low++) expect(seen.add(1, low, 3 * hour, 2 * hour)).toBe(true);
});

test('holds what it was sized for: ids spread evenly enough', () => {
  const capacity = 100_000;
  const seen = new SeenNotices(SeenNotices.allocate(capacity));
  let state = 1;
  for (let index = 0; index < capacity; index++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    seen.add(state, Math.imul(state ^ index, 0x85ebca6b) >>> 0, hour, 0);
  }
  expect(seen.size).toBeGreaterThan(capacity * 0.999);
});

test('an id is not forgotten before its time, to the millisecond', () => {
  const seen = new SeenNotices(SeenNotices.allocate(100));
  seen.add(5, 6, 1500, 0);
  seen.sweep(1500);
  expect(seen.add(5, 6, 1500, 1499)).toBe(false);
});

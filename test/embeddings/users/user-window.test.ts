import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  encodeUserEvent,
  packCountry,
  sessionGapMsMax,
  type UserEvent,
  userEventBytes,
  UserWindow,
  userStateInto,
  userStateNames,
} from '#embeddings/users/user-window.ts';

const dayMs = 86_400_000;
const nowMs = 1_900_000_000_000;

const click = (timeMs: number, more: Partial<UserEvent> = {}): UserEvent => ({
  kind: 'click',
  timeMs,
  subjectHigh: 1,
  subjectLow: 2,
  device: 1,
  country: 'USA',
  ...more,
});

function windowOf(events: readonly UserEvent[], countMax = 50): UserWindow {
  const window = new UserWindow(countMax);
  window.fill(Buffer.concat(events.map(encodeUserEvent)), nowMs, dayMs);
  return window;
}

describe('a window of what a user did', () => {
  test('reads back what was written', () => {
    const event = fc.record({
      kind: fc.constantFrom('click' as const, 'query' as const),
      timeMs: fc.integer({ min: nowMs - dayMs + 1, max: nowMs }),
      subjectHigh: fc.nat({ max: 0xffff_ffff }),
      subjectLow: fc.nat({ max: 0xffff_ffff }),
      device: fc.nat({ max: 5 }),
      country: fc.constantFrom('', 'USA', 'DEU', 'ZZZ'),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 50 }), (events) => {
        const window = windowOf(events);
        expect(window.count).toBe(events.length);
        for (const [place, each] of events.entries()) {
          expect(window.kinds[place]).toBe(each.kind === 'click' ? 1 : 2);
          expect(window.timesMs[place]).toBe(each.timeMs);
          expect([window.subjectsHigh[place], window.subjectsLow[place]]).toEqual([each.subjectHigh, each.subjectLow]);
          expect(window.devices[place]).toBe(each.device);
          expect(window.countries[place]).toBe(packCountry(each.country));
        }
      }),
    );
  });

  test('any damaged byte of a record takes that record away and no other', () => {
    const records = Buffer.concat([click(nowMs - 3), click(nowMs - 2), click(nowMs - 1)].map(encodeUserEvent));
    fc.assert(
      fc.property(fc.nat({ max: records.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const damaged = Buffer.from(records);
        damaged[at]! ^= flip;
        const window = new UserWindow(50);
        window.fill(damaged, nowMs, dayMs);
        expect([window.count, window.invalidCount]).toEqual([2, 1]);
      }),
    );
  });

  test('whatever bytes a store gives, it only looks', () => {
    const window = new UserWindow(8);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 * userEventBytes }), (bytes) => {
        window.fill(Buffer.from(bytes), nowMs, dayMs);
        expect(window.count).toBeLessThanOrEqual(8);
      }),
    );
  });

  test('holds the last ones, and none that is too old or from the future', () => {
    expect(windowOf([click(nowMs - 3), click(nowMs - 2), click(nowMs - 1)], 2).timesMs[0]).toBe(nowMs - 2);
    expect(windowOf([click(nowMs - dayMs), click(nowMs - dayMs + 1)]).count).toBe(1);
    expect(windowOf([click(nowMs + 30_000)]).count).toBe(1);
    expect(windowOf([click(nowMs + 61_000)]).invalidCount).toBe(1);
  });
});

describe('session features', () => {
  const stateOf = (events: readonly UserEvent[], device = 'phone', country = 'USA'): Record<string, number> => {
    const state = new Float32Array(userStateNames.length);
    userStateInto(state, windowOf(events), nowMs, device, country);
    return Object.fromEntries(userStateNames.map((name, index) => [name, state[index]!]));
  };

  test('nobody has done anything: all zeros', () => {
    expect(Object.values(stateOf([]))).toEqual(userStateNames.map(() => 0));
  });

  test('a session is the run of events up to now with gaps of at most half an hour', () => {
    const events = [
      click(nowMs - 3 * sessionGapMsMax),
      click(nowMs - 1.5 * sessionGapMsMax, { kind: 'query', device: 3, country: 'DEU' }),
      click(nowMs - 0.75 * sessionGapMsMax, { device: 0, country: '' }),
    ];
    expect(stateOf(events, 'desktop', 'DEU')).toEqual({
      window_clicks: 2,
      window_queries: 1,
      session_clicks: 1,
      session_queries: 1,
      session_age_s: 2700,
      since_last_s: 1350,
      session_same_device: 1,
      session_same_country: 1,
    });
    expect(stateOf(events, 'phone', 'USA')).toMatchObject({ session_same_device: 0, session_same_country: 0 });
  });

  test('what lies more than half an hour back is no session', () => {
    expect(stateOf([click(nowMs - sessionGapMsMax - 1)])).toMatchObject({
      window_clicks: 1,
      session_clicks: 0,
      session_age_s: 0,
      session_same_device: 0,
    });
  });
});

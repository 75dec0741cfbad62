import fc from 'fast-check';
import { expect, test } from 'vitest';
import { capCountMax, type CapsView, FrequencyCaps, viewedPerUserMax } from '#auction/frequency-caps.ts';
import { UserHash } from '#auction/user-hash.ts';

const second = 1000;
const dayMs = 86_400_000;
const lineItems = 200;

function newCaps(capacity = 1000): FrequencyCaps {
  return new FrequencyCaps(FrequencyCaps.allocate(capacity));
}

function newView(): CapsView {
  return {
    viewCount: 0,
    viewLineItems: new Uint32Array(64),
    views: new Uint32Array(64),
    cappedCount: 0,
    cappedLineItems: new Uint32Array(64),
  };
}

type Rules = { readonly counts: Uint32Array; readonly windows: Float64Array };

function rules(count: number, windowMs: number): Rules {
  return { counts: new Uint32Array(lineItems).fill(count), windows: new Float64Array(lineItems).fill(windowMs) };
}

function look(caps: FrequencyCaps, user: number, nowMs: number, { counts, windows }: Rules) {
  const view = newView();
  caps.collect(user, user, nowMs, counts, windows, view);
  return {
    views: new Map(Array.from(view.viewLineItems.subarray(0, view.viewCount), (each, at) => [each, view.views[at]!])),
    capped: [...view.cappedLineItems.subarray(0, view.cappedCount)].toSorted((left, right) => left - right),
  };
}

test('the cap bites at the count, and lifts when the first view is a whole window old', () => {
  const caps = newCaps();
  const three = rules(3, 60 * second);
  for (const at of [100, 110, 120]) {
    expect(look(caps, 1, at * second, three).capped).toEqual([]);
    caps.recordView(1, 1, 7, at * second, 60 * second);
  }
  expect(look(caps, 1, 120 * second, three)).toEqual({ views: new Map([[7, 3]]), capped: [7] });
  expect(look(caps, 1, 160 * second - 1, three).capped).toEqual([7]);
  expect(look(caps, 1, 160 * second, three)).toEqual({ views: new Map([[7, 2]]), capped: [] });
  expect(look(caps, 1, 180 * second, three).views).toEqual(new Map());
});

test('views within a second are rounded so that the window is never too short', () => {
  const caps = newCaps();
  caps.recordView(1, 1, 7, 100_001, 60 * second);
  expect(look(caps, 1, 160_001, rules(1, 60 * second)).capped).toEqual([7]);
});

test('counts as a plain list of views does, for any users, line items and order of times', () => {
  const view = fc.record({ user: fc.nat(3), lineItem: fc.nat(4), atS: fc.integer({ min: 1000, max: 1200 }) });
  fc.assert(
    fc.property(
      fc.array(view, { maxLength: 60 }),
      fc.integer({ min: 1, max: 5 }),
      fc.nat(300),
      (views, cap, lookedS) => {
        const caps = newCaps();
        // Longer than all that happens: what was viewed stays in the list, and only looking counts a window.
        for (const { user, lineItem, atS } of views) caps.recordView(user, user, lineItem, atS * second, dayMs);
        const windowS = 100;
        const nowS = 950 + lookedS;
        for (let user = 0; user <= 3; user++) {
          const expected = new Map<number, number>();
          for (const each of views.filter((one) => one.user === user)) {
            const times = views
              .filter((one) => one.user === user && one.lineItem === each.lineItem)
              .map(({ atS }) => atS);
            const latest = times.toSorted((left, right) => right - left).slice(0, capCountMax);
            const count = latest.filter((atS) => Math.abs(nowS - atS) < windowS).length;
            if (count > 0) expected.set(each.lineItem, count);
          }
          const found = look(caps, user, nowS * second, rules(cap, windowS * second));
          expect(found.views).toEqual(expected);
          const capped = [...expected].filter(([, count]) => count >= cap).map(([lineItem]) => lineItem);
          expect(found.capped).toEqual(capped.toSorted((left, right) => left - right));
        }
      },
    ),
    { numRuns: 500 },
  );
});

test('a clock that goes back still sees the views from its future, and one that is a window ahead is not believed', () => {
  const caps = newCaps();
  const one = rules(1, 60 * second);
  caps.recordView(1, 1, 7, 1000 * second, 60 * second);
  expect(look(caps, 1, 990 * second, one).capped).toEqual([7]);
  expect(look(caps, 1, 940 * second, one).capped).toEqual([]);
  // A view recorded after the step back neither replaces nor hides the later one.
  caps.recordView(1, 1, 7, 990 * second, 60 * second);
  expect(look(caps, 1, 1000 * second, one).views).toEqual(new Map([[7, 2]]));
});

test('no cap: views are counted for a day, and nobody is capped', () => {
  const caps = newCaps();
  for (let view = 0; view < 40; view++) caps.recordView(1, 1, 7, 1_000_000 + view * second, 0);
  const none = { counts: new Uint32Array(lineItems), windows: new Float64Array(lineItems) };
  expect(look(caps, 1, 1_100_000, none)).toEqual({ views: new Map([[7, capCountMax]]), capped: [] });
  expect(look(caps, 1, 1_000_000 + dayMs + 40 * second, none).views).toEqual(new Map());
});

test('users do not mix, even in one stripe and one bucket', () => {
  const caps = newCaps(1);
  for (let user = 0; user < 5000; user++) caps.recordView(user, user, user % lineItems, 1000, dayMs);
  let found = 0;
  for (let user = 0; user < 5000; user++) {
    const { views } = look(caps, user, 1000, rules(1, dayMs));
    expect([...views.keys()].filter((lineItem) => lineItem !== user % lineItems)).toEqual([]);
    found += views.size;
  }
  expect(found + caps.evictedCount).toBe(5000);
});

test('when full the pair viewed longest ago makes room, and is counted', () => {
  // The least there is: 64 pairs per stripe. All views of one user fall into one stripe.
  const caps = newCaps(1);
  for (let lineItem = 0; lineItem < viewedPerUserMax; lineItem++)
    caps.recordView(1, 1, lineItem, 1000 + lineItem, dayMs);
  caps.recordView(1, 1, 0, 2000, dayMs);
  expect(caps.evictedCount).toBe(0);
  caps.recordView(1, 1, 100, 3000, dayMs);
  expect(caps.evictedCount).toBe(1);
  const { views } = look(caps, 1, 3000, rules(1, dayMs));
  expect(views.size).toBe(viewedPerUserMax);
  expect([views.has(0), views.has(1), views.has(100)]).toEqual([true, false, true]);
});

test('one user with ten thousand views of many line items stays bounded and pushes nobody else out', () => {
  const caps = newCaps(256 * 256);
  caps.recordView(2, 2, 5, 1000, dayMs);
  for (let view = 0; view < 10_000; view++) caps.recordView(1, 1, view % lineItems, 2000 + view, dayMs);
  expect(look(caps, 2, 3000, rules(1, dayMs)).capped).toEqual([5]);
  const { views } = look(caps, 1, 13_000, rules(1, dayMs));
  expect(views.size).toBe(viewedPerUserMax);
});

test('a user’s hash is keyed, the same every time, and tells near keys apart', () => {
  const hash = new UserHash(3, 4);
  const other = new UserHash(1, 2);
  const seen = new Set<string>();
  for (let key = 0; key < 20_000; key++) {
    hash.of(`u${key}`);
    seen.add(`${hash.high}:${hash.low}`);
  }
  expect(seen.size).toBe(20_000);
  hash.of('u1');
  other.of('u1');
  expect([other.high, other.low]).not.toEqual([hash.high, hash.low]);
  const again = new UserHash(3, 4);
  again.of('u1');
  expect([again.high, again.low]).toEqual([hash.high, hash.low]);
  // Either half alone spreads: of 20,000 keys in 2^32, about 0.05 pairs meet by chance.
  expect(new Set([...seen].map((each) => each.split(':')[0])).size).toBeGreaterThan(19_995);
  expect(new Set([...seen].map((each) => each.split(':')[1])).size).toBeGreaterThan(19_995);
});

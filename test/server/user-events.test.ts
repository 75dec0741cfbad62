import { expect, test } from 'vitest';
import { UserHash } from '#auction/user-hash.ts';
import { MemoryStore } from '#embeddings/stores/memory-store.ts';
import { UserWindow, windowDevices } from '#embeddings/users/user-window.ts';
import type { BidRequest } from '#server/bid-request.ts';
import { Telemetry } from '#server/telemetry.ts';
import { UserEvents } from '#server/user-events.ts';
import { userTablePrefixes, windowKey } from '#server/user-tables.ts';
import { claimsOf, noonMs } from './notice-fixtures.ts';
import { plainRequest } from './plain-request.ts';

const windowMs = 86_400_000;
const user = { userHashHigh: 0x1234, userHashLow: 0x5678 };

function world(store: ConstructorParameters<typeof UserEvents>[0]['store'] = new MemoryStore({ now: () => noonMs })) {
  const telemetry = new Telemetry();
  const events = new UserEvents({ store, subjectHash: new UserHash(1, 2), telemetry, windowCountMax: 3, windowMs });
  return { store, telemetry, events };
}

function windowOf(store: MemoryStore): UserWindow {
  const key = Buffer.concat([Buffer.from(userTablePrefixes.window), windowKey(user.userHashHigh, user.userHashLow)]);
  const [records] = store.read(0, 0, [key]);
  const window = new UserWindow(10);
  window.fill(records ?? Buffer.alloc(0), noonMs, windowMs);
  return window;
}

const searching = (search: string, more: Partial<BidRequest> = {}): BidRequest => ({
  ...plainRequest,
  place: { ...plainRequest.place, search },
  ...more,
});

test('clicks and queries enter the window of their user, the last ones only', async () => {
  const store = new MemoryStore({ now: () => noonMs });
  const { telemetry, events } = world(store);
  events.clicked(claimsOf({ ...user, adId: 'li1.cr1' }), noonMs - 4000);
  await settled(events);
  events.queried(searching('red shoes'), user.userHashHigh, user.userHashLow, noonMs - 3000);
  await settled(events);
  events.clicked(claimsOf({ ...user, adId: 'li2.cr1' }), noonMs - 2000);
  await settled(events);
  events.clicked(claimsOf({ ...user, adId: 'li2.cr1' }), noonMs - 1000);
  await settled(events);
  const window = windowOf(store);
  expect([...window.timesMs.subarray(0, window.count)]).toEqual([noonMs - 3000, noonMs - 2000, noonMs - 1000]);
  expect([...window.kinds.subarray(0, 3)]).toEqual([2, 1, 1]);
  expect(windowDevices[window.devices[0]!]).toBe('phone');
  // The same ad has the same name, another thing another.
  expect(window.subjectsLow[1]).toBe(window.subjectsLow[2]);
  expect(window.subjectsLow[0]).not.toBe(window.subjectsLow[1]);
  expect(telemetry.counterValue('user_events')).toBe(4);
});

test('nobody without consent has a window, tests leave no trace, and no search is none', async () => {
  const store = new MemoryStore({ now: () => noonMs });
  const { events } = world(store);
  events.clicked(claimsOf({ userHashHigh: 0, userHashLow: 0 }), noonMs);
  events.queried(searching('shoes'), 0, 0, noonMs);
  events.queried(searching('shoes', { isTest: true }), user.userHashHigh, user.userHashLow, noonMs);
  events.queried(searching(''), user.userHashHigh, user.userHashLow, noonMs);
  await settled(events);
  expect(store.entryCount).toBe(0);
});

test('a store that takes nothing costs the events, counted; one that hangs costs a bounded number', async () => {
  const broken = world({ append: () => Promise.reject(new Error('gone')) });
  broken.events.clicked(claimsOf(user), noonMs);
  await settled(broken.events);
  expect(broken.telemetry.counterValue('user_events_dropped')).toBe(1);

  const hung = world({ append: () => new Promise(() => {}) });
  for (let event = 0; event < 2500; event++) hung.events.clicked(claimsOf(user), noonMs);
  expect(hung.events.underWay).toBe(2000);
  expect(hung.telemetry.counterValue('user_events_dropped')).toBe(500);
});

async function settled(events: UserEvents): Promise<void> {
  for (let turn = 0; events.underWay > 0 && turn < 1000; turn++) await new Promise((resolve) => setImmediate(resolve));
  expect(events.underWay).toBe(0);
}

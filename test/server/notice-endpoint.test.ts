import { expect, test } from 'vitest';
import type { HttpRequest } from '#server/http-listener.ts';
import type { NoticeKind } from '#server/notice-claims.ts';
import { noticeRoutes } from '#server/notice-endpoint.ts';
import type { AuctionError } from '#auction/errors.ts';
import { SeenNotices } from '#auction/seen-notices.ts';
import { noticeFlags } from '#training-bridge/event-records.ts';
import { claimsOf, type NoticeWorld, noonMs, noticeWorld } from './notice-fixtures.ts';

type Answer = { status: number; headers: Record<string, string> };

/** Sends one notice, as the listener would. */
function send(world: NoticeWorld, kind: NoticeKind, query: string, method = 'GET'): Promise<Answer> {
  const route = noticeRoutes(world).find(({ path }) => path === `/notice/${kind}`)!;
  const request: HttpRequest = {
    method,
    path: route.path,
    query,
    body: new Uint8Array(),
    arrivalMs: world.nowMs,
    remoteAddress: '',
    isAborted: false,
    header: () => '',
  };
  return new Promise((resolve) => {
    route.handle(request, (status, headers, body) => {
      expect(body).toBe('');
      resolve({ status, headers: Object.fromEntries(headers) });
    });
  });
}

const spent = (world: NoticeWorld): number => Number(world.ledger.snapshot(1).spentNanos);
const count = (world: NoticeWorld, name: Parameters<NoticeWorld['telemetry']['counterValue']>[0]): number =>
  world.telemetry.counterValue(name);

test('a CPM bid is charged on its bill, at the price that the exchange reports, once', async () => {
  const world = noticeWorld();
  const handle = world.ledger.reserve(1, 1_000_000, noonMs + 60_000);
  const claims = claimsOf({ reservationHandle: handle, reservationGeneration: world.ledger.generationOf(handle) });
  const { win, bill } = world.signer.sign(claims);
  expect(await send(world, 'win', `t=${win}&p=0.5&c=USD`)).toMatchObject({ status: 204 });
  expect(spent(world)).toBe(0);
  expect(await send(world, 'bill', `t=${bill}&p=0.5&c=USD`)).toMatchObject({ status: 204 });
  expect(await send(world, 'bill', `t=${bill}&p=0.5&c=USD`)).toMatchObject({ status: 204 });
  expect(world.ledger.snapshot(1)).toMatchObject({ spentNanos: 500_000n, reservedNanos: 0n });
  expect(world.channel.records.map(({ kind, chargedNanos, costNanos }) => [kind, chargedNanos, costNanos])).toEqual([
    ['win', 0, 0],
    ['bill', 500_000, 500_000],
  ]);
  expect(count(world, 'notices_repeated')).toBe(1);
  expect(count(world, 'charged_nanos')).toBe(500_000);
});

test('a CPC bid costs on its bill and charges on its click; CPA charges on its conversion', async () => {
  const world = noticeWorld();
  const cpc = world.signer.sign(claimsOf({ priceType: 1, chargeNanos: 40_000_000, auctionLow: 1 }));
  await send(world, 'bill', `t=${cpc.bill}&p=0.7`);
  expect(spent(world)).toBe(0);
  expect(count(world, 'cost_nanos')).toBe(700_000);
  await send(world, 'click', `t=${cpc.click}`);
  expect(spent(world)).toBe(40_000_000);
  await send(world, 'conversion', `t=${cpc.conversion}`);
  expect(spent(world)).toBe(40_000_000);
  const cpa = world.signer.sign(claimsOf({ priceType: 2, chargeNanos: 90_000_000, auctionLow: 2 }));
  await send(world, 'click', `t=${cpa.click}`);
  expect(spent(world)).toBe(40_000_000);
  await send(world, 'conversion', `t=${cpa.conversion}`);
  expect(spent(world)).toBe(130_000_000);
});

test('no more is charged than is left: the rest is over-delivered', async () => {
  const world = noticeWorld(60_000_000);
  for (let auctionLow = 0; auctionLow < 3; auctionLow++) {
    const { click } = world.signer.sign(claimsOf({ priceType: 1, chargeNanos: 40_000_000, auctionLow }));
    expect(await send(world, 'click', `t=${click}`)).toMatchObject({ status: 204 });
  }
  expect(world.ledger.snapshot(1)).toMatchObject({ spentNanos: 60_000_000n, overDeliveredNanos: 60_000_000n });
  expect(
    world.channel.records.map(({ chargedNanos, overDeliveredNanos }) => [chargedNanos, overDeliveredNanos]),
  ).toEqual([
    [40_000_000, 0],
    [20_000_000, 20_000_000],
    [0, 40_000_000],
  ]);
});

test('an unexpanded price charges nothing and ends the reservation; one above the bid is cut to it', async () => {
  const world = noticeWorld();
  const handle = world.ledger.reserve(1, 1_000_000, noonMs + 60_000);
  const reservationGeneration = world.ledger.generationOf(handle);
  const first = world.signer.sign(claimsOf({ reservationHandle: handle, reservationGeneration }));
  expect(
    await send(world, 'bill', `t=${first.bill}&p=%24%7BAUCTION_PRICE%7D&c=%24%7BAUCTION_CURRENCY%7D`),
  ).toMatchObject({
    status: 204,
  });
  expect(world.ledger.snapshot(1)).toMatchObject({ spentNanos: 0n, reservedNanos: 0n });
  expect(count(world, 'notices_unexpanded')).toBe(1);
  const second = world.signer.sign(claimsOf({ auctionLow: 2 }));
  await send(world, 'bill', `t=${second.bill}&p=999`);
  expect(spent(world)).toBe(1_000_000);
  expect(count(world, 'notices_clamped')).toBe(1);
  expect(world.channel.records.map(({ flags }) => flags)).toEqual([noticeFlags.unexpanded, noticeFlags.clamped]);
});

test('a price without a currency, or with a macro in its place, is in the currency of the answer', async () => {
  const world: NoticeWorld = {
    ...noticeWorld(),
    toCatalogNanos: (nanos, currency) => ({ USD: nanos, EUR: nanos * 2 })[currency],
  };
  let auctionLow = 0;
  for (const [currency, query, charged] of [
    ['EUR', '&p=0.1', 200_000],
    ['EUR', '&p=0.1&c=${AUCTION_CURRENCY}', 200_000],
    ['EUR', '&p=0.1&c=USD', 100_000],
    ['USD', '&p=0.1&c=EUR', 200_000],
    ['USD', '&p=0.1', 100_000],
  ] as const) {
    auctionLow++;
    const { bill } = world.signer.sign(claimsOf({ auctionLow, currency }));
    expect(await send(world, 'bill', `t=${bill}${query}`)).toMatchObject({ status: 204 });
    expect(world.channel.records.at(-1)!.chargedNanos).toBe(charged);
  }
});

test('a loss gives the reservation back; a bill that still comes is late, charged and counted', async () => {
  const world = noticeWorld();
  const handle = world.ledger.reserve(1, 1_000_000, noonMs + 60_000);
  const claims = claimsOf({ reservationHandle: handle, reservationGeneration: world.ledger.generationOf(handle) });
  const { loss, bill } = world.signer.sign(claims);
  await send(world, 'loss', `t=${loss}&l=102`);
  expect(world.ledger.snapshot(1)).toMatchObject({ reservedNanos: 0n, availableNanos: 1_000_000_000n });
  expect(world.channel.records[0]).toMatchObject({ kind: 'loss', lossReason: 102 });
  await send(world, 'bill', `t=${bill}&p=0.25`);
  expect(spent(world)).toBe(250_000);
  expect(count(world, 'notices_late')).toBe(1);
});

test('a view counts towards caps when there is a user, and towards the expected clicks', async () => {
  const world = noticeWorld();
  const viewsOf = (): { viewCount: number; views: Uint32Array } => {
    const into = {
      viewCount: 0,
      viewLineItems: new Uint32Array(4),
      views: new Uint32Array(4),
      cappedCount: 0,
      cappedLineItems: new Uint32Array(4),
    };
    world.caps.collect(5, 6, noonMs, Uint32Array.of(0, 2), world.catalog.liCapWindowMs, into);
    return into;
  };
  const known = world.signer.sign(claimsOf({ userHashHigh: 5, userHashLow: 6 }));
  await send(world, 'view', `t=${known.view}`);
  await send(world, 'view', `t=${known.view}`);
  await send(world, 'view', `t=${world.signer.sign(claimsOf({ auctionLow: 9 })).view}`);
  expect(viewsOf()).toMatchObject({ viewCount: 1 });
  expect(viewsOf().views[0]).toBe(1);
  expect(count(world, 'expected_clicks')).toBeCloseTo((2 * 21_474_836) / 2 ** 30, 12);
  expect(spent(world)).toBe(0);
});

test('counts that fail cost no notice: it is written and charged, and the fault is told', async () => {
  const world = noticeWorld();
  const stuck = new Error('stuck');
  const fail = (): never => {
    throw stuck;
  };
  const caps = { recordView: fail };
  const broken = {
    ...world,
    caps,
    counts: { viewed: fail, clicked: fail, converted: fail },
    userEvents: { clicked: fail },
  };
  const claims = claimsOf({ priceType: 1, chargeNanos: 40_000_000, userHashHigh: 5, userHashLow: 6 });
  const { view, click, conversion } = world.signer.sign(claims);
  expect(await send(broken as unknown as NoticeWorld, 'view', `t=${view}`)).toMatchObject({ status: 204 });
  expect(await send(broken as unknown as NoticeWorld, 'click', `t=${click}`)).toMatchObject({ status: 204 });
  expect(await send(broken as unknown as NoticeWorld, 'conversion', `t=${conversion}`)).toMatchObject({ status: 204 });
  expect(spent(world)).toBe(40_000_000);
  expect(world.channel.records.map(({ kind, chargedNanos }) => [kind, chargedNanos])).toEqual([
    ['view', 0],
    ['click', 40_000_000],
    ['conversion', 0],
  ]);
  expect(world.errors).toEqual([stuck, stuck, stuck, stuck, stuck]);
});

test('a click goes to its own target with the conversion token, again when repeated', async () => {
  const world = noticeWorld();
  for (const [clickUrl, before, after] of [
    ['https://shop.example/a', 'https://shop.example/a?gavelin_ct=', ''],
    ['https://shop.example/a?x=1#top', 'https://shop.example/a?x=1&gavelin_ct=', '#top'],
    ['https://shop.example/ü?', 'https://shop.example/%C3%BC?gavelin_ct=', ''],
  ] as const) {
    const claims = claimsOf({ clickUrl, priceType: 2, chargeNanos: 7, auctionHigh: clickUrl.length });
    const token = world.signer.sign(claims).click;
    const first = await send(world, 'click', `t=${token}`);
    const again = await send(world, 'click', `t=${token}`);
    expect(first).toEqual(again);
    expect(first.status).toBe(302);
    const location = first.headers['location']!;
    expect(location.startsWith(before) && location.endsWith(after)).toBe(true);
    const conversion = new URL(location).searchParams.get('gavelin_ct')!;
    expect(await send(world, 'conversion', `t=${conversion}`)).toMatchObject({ status: 204 });
  }
  expect(spent(world)).toBe(21);
});

test('what is no token or no price is 400, what is too old 410, an unknown ad 204; nothing of it moves anything', async () => {
  const world = noticeWorld();
  const { bill, win, view } = world.signer.sign(claimsOf());
  expect(await send(world, 'bill', '')).toMatchObject({ status: 400 });
  expect(await send(world, 'bill', 't=nonsense')).toMatchObject({ status: 400 });
  expect(await send(world, 'bill', `t=${view}&p=1`)).toMatchObject({ status: 400 });
  expect(await send(world, 'bill', `t=${bill}&p=-1`)).toMatchObject({ status: 400 });
  expect(await send(world, 'win', `t=${win}&p=cheap`)).toMatchObject({ status: 400 });
  expect(await send(world, 'bill', `t=%E0%A4%A&p=1`)).toMatchObject({ status: 400 });
  expect(count(world, 'notices_bad')).toBe(6);
  world.nowMs = noonMs + 3_600_001;
  expect(await send(world, 'bill', `t=${bill}&p=0.1`)).toMatchObject({ status: 410 });
  world.nowMs = noonMs;
  const unknown = world.signer.sign(claimsOf({ adId: 'gone' })).bill;
  expect(await send(world, 'bill', `t=${unknown}&p=0.1`)).toMatchObject({ status: 204 });
  // Nobody is charged for an ad that is gone, but what the exchange bills us stays in the books.
  expect(world.channel.records).toMatchObject([
    { kind: 'bill', lineItemId: 'gone', chargedNanos: 0, costNanos: 100_000 },
  ]);
  expect(spent(world)).toBe(0);
});

test('a disk that fails between the question and the record costs no record: 503, and the repetition charges nothing more', async () => {
  const world = noticeWorld();
  let asked = 0;
  const failing = Object.assign(Object.create(world.channel) as typeof world.channel, {
    onDurable: () => Promise.resolve('EVENT_LOG_WRITE_FAILED' as const),
  });
  Object.defineProperty(failing, 'fault', { get: () => (asked++ === 0 ? undefined : 'EVENT_LOG_WRITE_FAILED') });
  const { bill } = world.signer.sign(claimsOf({}));
  expect(await send({ ...world, channel: failing }, 'bill', `t=${bill}&p=0.5&c=USD`)).toMatchObject({ status: 503 });
  expect(world.channel.records).toMatchObject([{ kind: 'bill', chargedNanos: spent(world) }]);
  expect(spent(world)).toBe(500_000);
  expect(await send(world, 'bill', `t=${bill}&p=0.5&c=USD`)).toMatchObject({ status: 204 });
  expect(world.channel.records).toHaveLength(1);
  expect(spent(world)).toBe(500_000);
});

test('a test auction gets the same answers and changes nothing', async () => {
  const world = noticeWorld();
  const handle = world.ledger.reserve(1, 1_000_000, noonMs + 60_000);
  const tokens = world.signer.sign(
    claimsOf({
      isTest: true,
      reservationHandle: handle,
      reservationGeneration: world.ledger.generationOf(handle),
      userHashLow: 3,
      clickUrl: 'https://shop.example/',
    }),
  );
  const before = world.ledger.snapshot(1);
  for (const kind of ['win', 'bill', 'loss', 'view', 'conversion'] as const) {
    expect(await send(world, kind, `t=${tokens[kind]}&p=0.5`)).toMatchObject({ status: 204 });
  }
  expect(await send(world, 'click', `t=${tokens.click}`)).toMatchObject({ status: 302 });
  expect(await send(world, 'bill', `t=${tokens.bill}&p=cheap`)).toMatchObject({ status: 400 });
  expect(world.ledger.snapshot(1)).toEqual(before);
  expect(world.channel.records).toEqual([]);
  expect(count(world, 'expected_clicks') + count(world, 'notices_view') + count(world, 'charged_nanos')).toBe(0);
});

test('HEAD is answered like GET and changes nothing, so that the click that follows is the first', async () => {
  const world = noticeWorld();
  const claims = claimsOf({ priceType: 1, chargeNanos: 40_000_000, clickUrl: 'https://shop.example/' });
  const { click } = world.signer.sign(claims);
  const asked = await send(world, 'click', `t=${click}`, 'HEAD');
  expect(asked.status).toBe(302);
  expect(world.channel.records).toEqual([]);
  expect(spent(world)).toBe(0);
  expect(await send(world, 'click', `t=${click}`, 'POST')).toEqual(asked);
  expect(spent(world)).toBe(40_000_000);
});

test('nothing is charged while the log cannot be written: 503, and the repetition is the first', async () => {
  const world = noticeWorld();
  const { bill } = world.signer.sign(claimsOf());
  world.channel.fault = 'EVENT_LOG_DISK_FULL';
  expect(await send(world, 'bill', `t=${bill}&p=0.5`)).toEqual({
    status: 503,
    headers: { 'cache-control': 'no-store', 'retry-after': '1' },
  });
  expect(spent(world)).toBe(0);
  world.channel.fault = undefined;
  expect(await send(world, 'bill', `t=${bill}&p=0.5`)).toMatchObject({ status: 204 });
  expect(spent(world)).toBe(500_000);
});

test('with no room for one more id nothing is charged and the sender is told to come again', async () => {
  const world = noticeWorld();
  const full = new SeenNotices(SeenNotices.allocate(1));
  // Small enough that every segment has a few places: fill them all.
  let refusals = 0;
  for (let high = 1; high < 4000; high++) {
    try {
      full.add(high, Math.imul(high, 0x9e3779b1) >>> 0, noonMs + 3_600_000, noonMs);
    } catch (error) {
      if ((error as AuctionError).code !== 'SEEN_NOTICES_FULL') throw error;
      refusals++;
    }
  }
  expect(refusals).toBeGreaterThan(0);
  const crowded = { ...world, seen: full };
  const { bill } = world.signer.sign(claimsOf({}));
  const answer = await send(crowded, 'bill', `t=${bill}&p=0.5&c=USD`);
  expect(answer).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
  expect(spent(world)).toBe(0);
  expect(world.channel.records).toEqual([]);
  expect(await send(world, 'bill', `t=${bill}&p=0.5&c=USD`)).toMatchObject({ status: 204 });
});

test('nobody is answered before the disk is: not the first, not the repetition, and a slow disk is 503', async () => {
  const world = noticeWorld();
  const { bill } = world.signer.sign(claimsOf());
  world.channel.holds = true;
  const answered: number[] = [];
  const answers = [1, 2].map(async () => answered.push((await send(world, 'bill', `t=${bill}&p=0.5`)).status));
  await new Promise((resolve) => setImmediate(resolve));
  expect(answered).toEqual([]);
  world.channel.outcome = 'EVENT_LOG_SLOW';
  world.channel.letGo();
  await Promise.all(answers);
  expect(answered).toEqual([503, 503]);
  world.channel.outcome = 'DURABLE';
  expect(await send(world, 'bill', `t=${bill}&p=0.5`)).toMatchObject({ status: 204 });
  expect(spent(world)).toBe(500_000);
  expect(world.channel.records.length).toBe(1);
});

import { afterEach, expect, test } from 'vitest';
import { Rates } from '#server/rates.ts';
import { Edge, type EdgeOptions } from '../support/edge.ts';
import { banner, bidBody, catalogOf } from '../support/small-catalog.ts';

/**
 * The endpoint as its callers meet it, rule by rule. The numbers are those of the list of OpenRTB rules that the README of
 * `server` publishes under "What a request may look like".
 */
const edges: Edge[] = [];
async function start(options: EdgeOptions = {}): Promise<Edge> {
  const edge = await Edge.start(options);
  edges.push(edge);
  return edge;
}
afterEach(async () => {
  for (const edge of edges.splice(0)) await edge.stop();
});

test('13: whatever `at` says, our price is our own value: the exchange clears', async () => {
  const edge = await start();
  for (const at of [undefined, 1, 2, 3, 500, 'two', -1]) expect((await edge.bid(bidBody({ at }))).bid?.price).toBe(2);
});

const far = 8e15;
const eurUsd = { currency: 'EUR', numerator: 11, denominator: 10 };

test('15: the answer is in a currency that the request allows, converted once, rounded down', async () => {
  const edge = await start({ rates: new Rates([eurUsd, { currency: 'JPY', numerator: 2, denominator: 300 }], far) });
  const prices = async (cur: unknown): Promise<unknown[]> => {
    const { json, bid } = await edge.bid(bidBody({ cur }));
    return [json?.cur, bid?.price];
  };
  expect(await prices(undefined)).toEqual(['USD', 2]);
  expect(await prices(['USD'])).toEqual(['USD', 2]);
  // 2 USD ÷ 1.10 = 1.8181818…
  expect(await prices(['EUR'])).toEqual(['EUR', 1.818181]);
  expect(await prices(['GBP', 'JPY'])).toEqual(['JPY', 300]);
  expect(await prices(['EUR', 'USD'])).toEqual(['USD', 2]);
  expect((await edge.bid(bidBody({ cur: ['GBP'] }))).status).toBe(204);
  const why = await edge.bid(bidBody({ cur: ['GBP'], test: 1 }));
  expect(why.json?.ext?.gavelin.reason).toBe('noRate');
});

test('15: a bill without a currency is in that of its bid, at the last rate there was', async () => {
  const edge = await start({
    catalog: catalogOf([{ id: 'cpm', priceType: 'CPM', bidNanos: 2_200_000, creative: {} }]),
    rates: new Rates([eurUsd], performance.timeOrigin + performance.now() + 1_800_000),
  });
  const { bid } = await edge.bid(bidBody({ cur: ['EUR'] }));
  expect(bid?.price).toBe(2);
  edge.skewMs = 1_800_001;
  const { pathname, searchParams } = new URL(bid!.burl);
  const answer = await edge.request('GET', `${pathname}?t=${searchParams.get('t')}&p=1`);
  expect(answer.status).toBe(204);
  expect(edge.notices.at(-1)).toMatchObject({ kind: 'bill', chargedNanos: 1_100_000 });
});

test('15: a stale rate is none', async () => {
  const edge = await start({ rates: new Rates([eurUsd], 1000) });
  expect((await edge.bid(bidBody({ cur: ['EUR'] }))).status).toBe(204);
  expect((await edge.bid(bidBody({ imp: [{ id: '1', banner, bidfloor: 0.01, bidfloorcur: 'EUR' }] }))).status).toBe(
    204,
  );
  expect((await edge.bid(bidBody())).status).toBe(200);
});

test('15, 16, G9: a floor of 1.00 EUR is met by 1.10 USD exactly, and not by a nano less', async () => {
  const item = (bidNanos: number) => catalogOf([{ id: 'cpm', priceType: 'CPM', bidNanos, creative: {} }]);
  const rates = new Rates([eurUsd], far);
  const imp = [{ id: '1', banner, bidfloor: 1, bidfloorcur: 'EUR' }];
  const exact = await start({ catalog: item(1_100_000), rates });
  expect((await exact.bid(bidBody({ imp }))).bid?.price).toBe(1.1);
  // In the floor's own currency the price is the floor: rounding loses no bid that holds.
  expect((await exact.bid(bidBody({ imp, cur: ['EUR'] }))).bid?.price).toBe(1);
  const less = await start({ catalog: item(1_099_999), rates });
  expect((await less.bid(bidBody({ imp }))).status).toBe(204);
  const noRate = await start({ catalog: item(9_000_000) });
  expect((await noRate.bid(bidBody({ imp }))).status).toBe(204);
});

test('16: floors are inclusive, gross, and of a video the highest that is stated', async () => {
  const edge = await start();
  const floor = async (bidfloor: number): Promise<number> =>
    (await edge.bid(bidBody({ imp: [{ id: '1', banner, bidfloor }] }))).status;
  expect([await floor(2), await floor(2.000001), await floor(0), await floor(1e300)]).toEqual([200, 204, 200, 204]);
  const film = async (video: object): Promise<number> =>
    (await edge.bid(bidBody({ imp: [{ id: '1', video: { mimes: ['video/mp4'], maxduration: 30, ...video } }] })))
      .status;
  expect(await film({})).toBe(200);
  expect(await film({ mincpmpersec: 0.16 })).toBe(200);
  expect(await film({ mincpmpersec: 0.17 })).toBe(204);
  expect(await film({ durfloors: [{ mindur: 1, maxdur: 20, bidfloor: 5 }] })).toBe(200);
  expect(
    await film({
      durfloors: [
        { mindur: 1, maxdur: 20, bidfloor: 1 },
        { mindur: 15, maxdur: 30, bidfloor: 5.1 },
      ],
    }),
  ).toBe(204);
});

test('24: a value that is nothing in the answer’s currency is below every floor there, and reserves nothing', async () => {
  const catalog = catalogOf([{ id: 'cpm', priceType: 'CPM', bidNanos: 9, creative: {} }]);
  const dear = { currency: 'KWD', numerator: 10, denominator: 1 };
  const edge = await start({ catalog, rates: new Rates([dear], far) });
  expect((await edge.bid(bidBody())).bid?.price).toBe(0.000009);
  const before = edge.ledger.snapshot(0).reservedNanos;
  expect((await edge.bid(bidBody({ cur: ['KWD'] }))).status).toBe(204);
  expect(edge.ledger.snapshot(0).reservedNanos).toBe(before);
  expect(edge.records.at(-1)!.impWinner[0]).toBe(-1);
  const why = await edge.bid(bidBody({ cur: ['KWD'], test: 1 }));
  expect(why.json?.ext?.gavelin.reason).toBe('belowFloor');
  // With a margin that takes the last nano of a value, the nano itself is offered.
  const margin = await start({ catalog, marginPpm: 900_000 });
  expect((await margin.bid(bidBody())).bid?.price).toBe(0.000001);
});

test('24: prices are CPM in whole nanos per impression, rounded down; the margin comes off the value', async () => {
  const catalog = catalogOf([{ id: 'cpc', priceType: 'CPC', bidNanos: 33_333_333, creative: {} }]);
  const edge = await start({ catalog, click: () => 0.0123 });
  const { bid } = await edge.bid(bidBody());
  const record = edge.records[0]!;
  const valueNanos = (BigInt(record.candidateBidNanos[0]!) * BigInt(record.candidateClickQ30[0]!)) >> 30n;
  expect(bid?.price).toBe(Number(valueNanos) / 1e6);
  const margin = await start({ catalog, click: () => 0.0123, marginPpm: 100_000 });
  const kept = (valueNanos * 900_000n) / 1_000_000n;
  expect((await margin.bid(bidBody())).bid?.price).toBe(Number(kept) / 1e6);
  // The floor is met by the value, so it is met by the answer.
  const floor = Number(valueNanos) / 1e6;
  expect((await margin.bid(bidBody({ imp: [{ id: '1', banner, bidfloor: floor }] }))).bid?.price).toBe(floor);
});

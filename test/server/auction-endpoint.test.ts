import { afterEach, expect, test } from 'vitest';
import { mechanismNumbers } from '#auction/mechanisms.ts';
import { surfaceNumbers } from '#training-bridge/event-records.ts';
import { Edge, type EdgeOptions } from '../support/edge.ts';
import { catalogOf } from '../support/small-catalog.ts';

const edges: Edge[] = [];
async function start(options: EdgeOptions = {}): Promise<Edge> {
  const edge = await Edge.start(options);
  edges.push(edge);
  return edge;
}
afterEach(async () => {
  for (const edge of edges.splice(0)) await edge.stop();
});

const slot = { id: 's1', width: 300, height: 250 };
const body = (change: Readonly<Record<string, unknown>> = {}) => ({
  id: 'a1',
  user: { id: 'u1' },
  context: { country: 'USA' },
  slots: [slot],
  ...change,
});

/** Three CPM line items: 10, 4 and 2 USD CPM. */
const three = catalogOf(
  [10, 4, 2].map((usd) => ({ id: `cpm${usd}`, priceType: 'CPM' as const, bidNanos: usd * 1_000_000, creative: {} })),
);

test('sells to the highest at the second price, unless another mechanism is asked for', async () => {
  const edge = await start({ catalog: three });
  const { status, json } = await edge.post('/v1/auction', body());
  expect(status).toBe(200);
  expect(json).toMatchObject({ id: 'a1', model_id: 'test-model', rung: 'full' });
  expect(json?.auction_id).toMatch(/^[0-9a-f]{16}$/u);
  expect(json?.slots).toMatchObject([
    {
      id: 's1',
      status: 'sold',
      ad_id: 'cpm10.cr-cpm10',
      line_item_id: 'cpm10',
      advertiser_id: 'adv-cpm10',
      price_nanos: 4_000_000,
      price_type: 'cpm',
    },
  ]);
  const price = async (change: Record<string, unknown>): Promise<number | undefined> =>
    (await edge.post('/v1/auction', body(change))).json?.slots?.[0]?.price_nanos;
  expect(await price({ mechanism: 'second' })).toBe(4_000_000);
  expect(await price({ mechanism: 'second', increment_nanos: 10_000 })).toBe(4_010_000);
  expect(await price({ mechanism: 'first' })).toBe(10_000_000);
  expect(await price({ mechanism: 'gsp' })).toBe(4_000_000);
  expect(await price({ mechanism: 'vcg' })).toBe(4_000_000);
  expect(await price({ slots: [{ ...slot, floor_nanos: 7_000_000 }] })).toBe(7_000_000);
  const record = edge.records[0]!;
  expect([record.surface, record.mechanism]).toEqual([surfaceNumbers.auction, mechanismNumbers.second]);
});

test('several slots: one advertiser each, and the reason where nothing was sold', async () => {
  const edge = await start({ catalog: three });
  const slots = [
    slot,
    { ...slot, id: 's2' },
    { ...slot, id: 's3', floor_nanos: 50_000_000 },
    { ...slot, id: 's4', width: 7 },
  ];
  const { json } = await edge.post('/v1/auction', body({ slots, mechanism: 'gsp' }));
  expect(
    json?.slots?.map(({ id, status, line_item_id, price_nanos, reason }) => [
      id,
      status,
      line_item_id,
      price_nanos,
      reason,
    ]),
  ).toEqual([
    ['s1', 'sold', 'cpm10', 4_000_000, 'won'],
    ['s2', 'sold', 'cpm4', 2_000_000, 'won'],
    ['s3', 'unsold', undefined, undefined, 'belowFloor'],
    ['s4', 'unsold', undefined, undefined, 'noCandidate'],
  ]);
});

test('a price per click is in nanos per click, and its notices charge it', async () => {
  const catalog = catalogOf([{ id: 'cpc', priceType: 'CPC', bidNanos: 50_000_000, creative: {} }]);
  const edge = await start({ catalog, click: () => 0.0625 });
  const { json } = await edge.post('/v1/auction', body({ slots: [{ ...slot, floor_nanos: 1_000_000 }] }));
  const sold = json!.slots![0]!;
  expect([sold.price_type, sold.price_nanos]).toEqual(['cpc', 16_000_000]);
  const notice = (url: string): Promise<number> =>
    edge.request('GET', url.slice(url.indexOf('/notice/'))).then(({ status }) => status);
  expect(await notice(sold.notices!['view_url']!)).toBe(204);
  expect(await notice(sold.notices!['bill_url']!)).toBe(204);
  expect(await notice(sold.notices!['click_url']!)).toBe(302);
  const { spentNanos } = edge.ledger.snapshot(edge.writer.lineItemOf('cpc'));
  expect(spentNanos).toBe(16_000_000n);
});

test('a CPM price is charged by its bill notice, and its reservation ends', async () => {
  const edge = await start({ catalog: three });
  const { json } = await edge.post('/v1/auction', body());
  expect(edge.reservedNanos()).toBe(10_000_000n);
  const url = json!.slots![0]!.notices!['bill_url']!;
  expect((await edge.request('GET', url.slice(url.indexOf('/notice/')))).status).toBe(204);
  expect(edge.reservedNanos()).toBe(0n);
  expect(edge.ledger.snapshot(edge.writer.lineItemOf('cpm10')).spentNanos).toBe(4_000_000n);
});

test('a test auction sells the same and moves nothing', async () => {
  const edge = await start({ catalog: three });
  const before = edge.money();
  const tested = await edge.post('/v1/auction', body({ test: 1 }));
  expect(tested.json?.slots?.[0]?.price_nanos).toBe(4_000_000);
  expect(edge.money()).toBe(before);
  expect(edge.records[0]?.test).toBe(true);
  await edge.post('/v1/auction', body({}));
  expect([edge.counter('auctions'), edge.counter('live_auctions')]).toEqual([2, 1]);
});

test('a rehearsal is asked for by true, false, 1 or 0: nobody pays for what was meant as one', async () => {
  const edge = await start({ catalog: three });
  for (const [test, tests] of [
    [true, 1],
    [1, 2],
    [false, 2],
    [0, 2],
    [null, 2],
  ]) {
    expect((await edge.post('/v1/auction', body({ test }))).status).toBe(200);
    expect(edge.counter('test_requests')).toBe(tests);
  }
});

test('too late is unsold, with nothing held', async () => {
  const edge = await start({ catalog: three, scoringMs: 60, safetyMs: 5 });
  for (const tmax of [3, 40]) {
    const { status, json } = await edge.post('/v1/auction', body({ tmax }));
    expect([status, json?.slots]).toEqual([200, [{ id: 's1', status: 'unsold', reason: 'tooLate' }]]);
  }
  expect(edge.reservedNanos()).toBe(0n);
  expect([edge.counter('refused'), edge.counter('late')]).toEqual([1, 1]);
});

test('says what is wrong, with its path', async () => {
  const edge = await start({ catalog: three });
  const faults: readonly [Record<string, unknown>, string, string][] = [
    [{ id: '' }, 'FIELD_MISSING', 'id'],
    [{ slots: undefined }, 'FIELD_MISSING', 'slots'],
    [{ slots: {} }, 'FIELD_TYPE', 'slots'],
    [{ slots: [] }, 'FIELD_RANGE', 'slots'],
    [{ slots: Array.from({ length: 17 }, (_, index) => ({ ...slot, id: `s${index}` })) }, 'FIELD_RANGE', 'slots'],
    [{ slots: [3] }, 'FIELD_TYPE', 'slots[0]'],
    [{ slots: [{ ...slot, id: undefined }] }, 'FIELD_MISSING', 'slots[0].id'],
    [{ slots: [slot, slot] }, 'DUPLICATE_ID', 'slots[1].id'],
    [{ slots: [{ id: 's', height: 250 }] }, 'FIELD_MISSING', 'slots[0].width'],
    [{ slots: [{ ...slot, width: -1 }] }, 'FIELD_RANGE', 'slots[0].width'],
    [{ slots: [{ ...slot, height: 2.5 }] }, 'FIELD_RANGE', 'slots[0].height'],
    [{ slots: [{ ...slot, height: '250' }] }, 'FIELD_TYPE', 'slots[0].height'],
    [{ slots: [{ ...slot, floor_nanos: -1 }] }, 'FIELD_RANGE', 'slots[0].floor_nanos'],
    [{ slots: [{ ...slot, floor_nanos: 1e300 }] }, 'FIELD_RANGE', 'slots[0].floor_nanos'],
    [{ mechanism: 'bid' }, 'FIELD_RANGE', 'mechanism'],
    [{ mechanism: 2 }, 'FIELD_RANGE', 'mechanism'],
    [{ increment_nanos: 0.5 }, 'FIELD_RANGE', 'increment_nanos'],
    ...['yes', '1', 'true', 2, -1, {}].map((test): [Record<string, unknown>, string, string] => [
      { test },
      'FIELD_TYPE',
      'test',
    ]),
  ];
  for (const [change, code, path] of faults) {
    const answer = await edge.post('/v1/auction', body(change));
    expect([answer.status, answer.json?.error?.code, answer.json?.error?.path]).toEqual([400, code, path]);
  }
  expect((await edge.request('GET', '/v1/auction')).status).toBe(405);
});

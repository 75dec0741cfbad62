import { afterEach, expect, test } from 'vitest';
import { Callers, defaultCaller } from '#server/callers.ts';
import { rungNames } from '#server/rungs.ts';
import { surfaceNumbers } from '#training-bridge/event-records.ts';
import { Edge, type EdgeOptions } from '../support/edge.ts';
import { bidBody, catalogOf } from '../support/small-catalog.ts';

const edges: Edge[] = [];
async function start(options: EdgeOptions = {}): Promise<Edge> {
  const edge = await Edge.start(options);
  edges.push(edge);
  return edge;
}
afterEach(async () => {
  for (const edge of edges.splice(0)) await edge.stop();
});

const body = (change: Readonly<Record<string, unknown>> = {}) => ({
  id: 'p1',
  user: { id: 'u1' },
  context: { site: 'news.example', category: 'IAB12', country: 'USA', device: 'phone', os: 'ios', size: '300x250' },
  ad_ids: ['cpc.cr-cpc', 'cpm.cr-cpm'],
  ...change,
});

test('predicts in the order asked, duplicates included', async () => {
  const edge = await start({ click: (adId) => (adId.startsWith('cpm') ? 0.25 : 0.5) });
  const { status, json } = await edge.post('/v1/predict', body({ ad_ids: ['cpc.cr-cpc', 'cpm.cr-cpm', 'cpc.cr-cpc'] }));
  expect(status).toBe(200);
  expect(json).toEqual({
    id: 'p1',
    model_id: 'test-model',
    rung: 'full',
    predictions: [
      { ad_id: 'cpc.cr-cpc', p_click: 0.5, p_conversion: expect.closeTo(0.1, 6) as number },
      { ad_id: 'cpm.cr-cpm', p_click: 0.25, p_conversion: expect.closeTo(0.1, 6) as number },
      { ad_id: 'cpc.cr-cpc', p_click: 0.5, p_conversion: expect.closeTo(0.1, 6) as number },
    ],
  });
});

test('is logged as what it is: candidates and scores, no imp, no winner, no money', async () => {
  const edge = await start({ knownUsers: ['u1'] });
  const before = edge.money();
  await edge.post('/v1/predict', body());
  const record = edge.records[0]!;
  expect([record.surface, record.impCount, record.candidateCount]).toEqual([surfaceNumbers.predict, 0, 2]);
  expect([record.requestId, record.userKey, record.callerId]).toEqual(['p1', 'u1', 'default']);
  expect(edge.money()).toBe(before);
  expect(edge.counter('predictions')).toBe(2);
  expect(edge.counter('auctions')).toBe(0);
});

test('takes a thousand ads and an unknown user, and says what it does not take', async () => {
  const edge = await start();
  const many = Array.from({ length: 1000 }, (_, index) => (index % 2 === 0 ? 'cpc.cr-cpc' : 'small.cr-small'));
  const { json } = await edge.post('/v1/predict', body({ ad_ids: many, user: undefined, context: undefined }));
  expect(json?.predictions?.map(({ ad_id }) => ad_id)).toEqual(many);
  const faults: readonly [Record<string, unknown>, string, string][] = [
    [{ id: undefined }, 'FIELD_MISSING', 'id'],
    [{ id: 5 }, 'FIELD_TYPE', 'id'],
    [{ id: 'x'.repeat(10_000) }, 'FIELD_RANGE', 'id'],
    [{ ad_ids: undefined }, 'FIELD_MISSING', 'ad_ids'],
    [{ ad_ids: [] }, 'FIELD_RANGE', 'ad_ids'],
    [{ ad_ids: [...many, 'cpc.cr-cpc'] }, 'FIELD_RANGE', 'ad_ids'],
    [{ ad_ids: 'cpc.cr-cpc' }, 'FIELD_TYPE', 'ad_ids'],
    [{ ad_ids: ['cpc.cr-cpc', 7] }, 'FIELD_TYPE', 'ad_ids[1]'],
    [{ ad_ids: ['cpc.cr-cpc', 'cpc.none'] }, 'UNKNOWN_AD', 'ad_ids[1]'],
    [{ user: 'u1' }, 'FIELD_TYPE', 'user'],
    [{ user: { id: 1 } }, 'FIELD_TYPE', 'user.id'],
    [{ user: { id: 'u', consent: 'yes' } }, 'FIELD_TYPE', 'user.consent'],
    [{ context: [] }, 'FIELD_TYPE', 'context'],
    [{ context: { country: 1 } }, 'FIELD_TYPE', 'context.country'],
    [{ context: { size: 'huge' } }, 'FIELD_RANGE', 'context.size'],
    [{ context: { surface: 'radio' } }, 'FIELD_RANGE', 'context.surface'],
    [{ tmax: 0 }, 'FIELD_RANGE', 'tmax'],
    [{ tmax: '100' }, 'FIELD_TYPE', 'tmax'],
    [{ test: 'yes' }, 'FIELD_TYPE', 'test'],
  ];
  for (const [change, code, path] of faults) {
    const answer = await edge.post('/v1/predict', body(change));
    expect([answer.status, answer.json?.error?.code, answer.json?.error?.path]).toEqual([400, code, path]);
  }
  const unknown = await edge.post('/v1/predict', body({ ad_ids: ['no "such" ad'] }));
  expect(unknown.json?.error?.message).toBe('no ad has the id "no "such" ad"');
  const broken = await edge.post('/v1/predict', '{');
  expect([broken.status, broken.json?.error?.code]).toEqual([400, 'BODY_NOT_JSON']);
});

test('an ad of a paused line item is predicted, a withdrawn one is unknown', async () => {
  const item = { priceType: 'CPC', bidNanos: 1_000_000, creative: {} } as const;
  const edge = await start({
    catalog: catalogOf([
      { id: 'on', ...item },
      { id: 'off', ...item, more: { status: 'paused' } },
    ]),
  });
  const both = await edge.post('/v1/predict', body({ ad_ids: ['on.cr-on', 'off.cr-off'] }));
  expect(both.status).toBe(200);
  edge.writer.apply({ remove_line_items: ['off'] });
  const gone = await edge.post('/v1/predict', body({ ad_ids: ['on.cr-on', 'off.cr-off'] }));
  expect(gone.json?.error).toMatchObject({ code: 'UNKNOWN_AD', path: 'ad_ids[1]' });
});

test('what has no time left is answered all the same, on the cheapest rung', async () => {
  const edge = await start({ safetyMs: 5 });
  const { status, json } = await edge.post('/v1/predict', body({ tmax: 1 }));
  expect([status, json?.rung]).toEqual([200, 'smoothed-rate']);
  // The line items' own expectations.
  expect(json?.predictions?.[0]?.p_click).toBeCloseTo(0.01, 6);
  expect(rungNames).toContain(json?.rung);
});

test('more than the process holds is 503, and no fault of the request', async () => {
  const edge = await start({ inFlightMax: 1, scoringMs: 60 });
  const bidding = edge.bid(bidBody());
  await expect.poll(() => edge.admission.inFlight, { interval: 2 }).toBe(1);
  const shed = await edge.post('/v1/predict', body());
  expect([shed.status, shed.json?.error?.code, shed.headers.get('retry-after')]).toEqual([503, 'OVERLOADED', '1']);
  expect((await bidding).status).toBe(200);
});

test('without consent where it is needed the user is nobody', async () => {
  const edge = await start({ knownUsers: ['u1'] });
  const keyOf = async (change: Record<string, unknown>): Promise<string> => {
    await edge.post('/v1/predict', body(change));
    return edge.records.at(-1)!.userKey;
  };
  expect(await keyOf({})).toBe('u1');
  expect(await keyOf({ user: { id: 'u1', consent: false } })).toBe('');
  expect(await keyOf({ context: { country: 'DE' } })).toBe('');
  expect(await keyOf({ context: { country: 'DE' }, user: { id: 'u1', consent: true } })).toBe('u1');
});

test('callers need a key as soon as there is no default one', async () => {
  const caller = { ...defaultCaller({ tmaxMs: 1000 }), id: 'c', key: 'sixteen-chars-00' };
  const edge = await start({ callers: new Callers([caller], undefined) });
  for (const path of ['/v1/predict', '/v1/auction']) {
    const refused = await edge.post(path, body());
    expect([refused.status, refused.json?.error?.code]).toEqual([401, 'CALLER_UNKNOWN']);
  }
  const answered = await edge.post('/v1/predict', body(), { 'x-gavelin-key': 'sixteen-chars-00' });
  expect(answered.status).toBe(200);
  expect(edge.records[0]?.callerId).toBe('c');
  expect((await edge.bid(bidBody())).status).toBe(401);
  expect((await edge.post('/openrtb2/bid/wrong-key-000000', bidBody())).status).toBe(401);
  expect((await edge.post('/openrtb2/bid/sixteen-chars-00', bidBody())).status).toBe(200);
});

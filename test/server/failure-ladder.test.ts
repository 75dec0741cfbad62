import { afterEach, expect, test } from 'vitest';
import { wordKeyOf } from '#auction/ad-keys.ts';
import { interests } from '#auction/click-rates.ts';
import { storedValue } from '#embeddings/stores/stored-value.ts';
import { userEmbeddingVersion } from '#embeddings/users/user-embedding-row.ts';
import { ratedAd } from '#server/counted-rates.ts';
import { userTablePrefixes } from '#server/user-tables.ts';
import { Edge, edgeUserRows, type EdgeOptions } from '../support/edge.ts';
import { catalogOf } from '../support/small-catalog.ts';

const edges: Edge[] = [];
async function start(options: EdgeOptions = {}): Promise<Edge> {
  const edge = await Edge.start({ catalog: market, ...options });
  edges.push(edge);
  return edge;
}
afterEach(async () => {
  for (const edge of edges.splice(0)) await edge.stop();
});

/** By probability 0.02 a click of `click` is worth 2 USD a thousand; `prior` says 0.01. */
const market = catalogOf([
  { id: 'view', priceType: 'CPM', bidNanos: 500_000, creative: {} },
  { id: 'click', priceType: 'CPC', bidNanos: 100_000_000, creative: {}, more: { prior_click: 0.01 } },
]);

const body = {
  id: 'r1',
  test: 1,
  imp: [{ id: '1', banner: { w: 300, h: 250 } }],
  site: { domain: 'news.example' },
  device: { geo: { country: 'USA' } },
};
const rungOf = async (edge: Edge): Promise<{ rung: unknown; click: unknown; ad: string | undefined }> => {
  const { bid } = await edge.bid(body);
  return { rung: bid?.ext?.gavelin['rung'], click: bid?.ext?.gavelin['p_click'], ad: bid?.adid };
};

test.each(['TOO_LATE', 'FAILED', 'RING_FULL'] as const)(
  'scores that are %s are answered with what the head said before, and without that by the light ranker',
  async (outcome) => {
    let click = 0.02;
    const edge = await start({ click: () => click });
    edge.scoringOutcome = outcome;
    expect(await rungOf(edge)).toMatchObject({ rung: 'light-ranker', ad: 'click.cr-click' });
    edge.scoringOutcome = 'SCORED';
    expect((await rungOf(edge)).rung).toBe('full');
    edge.scoringOutcome = outcome;
    expect((await rungOf(edge)).rung).toBe('cached-prediction');
    expect(edge.records.at(-1)?.rung).toBe(4);
    // An hour later nobody remembers.
    edge.skewMs = 3_602_000;
    expect((await rungOf(edge)).rung).toBe('light-ranker');
    click = 0.5;
    const answer = await edge.post('/v1/predict', { id: 'p', ad_ids: ['click.cr-click'] });
    expect(answer.json).toMatchObject({ rung: 'light-ranker', predictions: [{ p_click: 0.5 }] });
  },
);

test.each(['throws', 'no number'] as const)('a light ranker that gives %s leaves rates', async (fault) => {
  const edge = await start();
  edge.rankerFault = fault;
  const { rung, click, ad } = await rungOf(edge);
  // The line item's own expectation, before anything was seen.
  expect([rung, ad]).toEqual(['smoothed-rate', 'click.cr-click']);
  expect(click).toBeCloseTo(0.01, 5);
  expect(edge.counter('ranker_failed')).toBe(1);
  for (let request = 0; request < 20; request++) await rungOf(edge);
  // Told, but not once per request.
  expect(edge.rankerErrors.length).toBeLessThanOrEqual(2);
  edge.rankerFault = undefined;
  expect((await rungOf(edge)).rung).toBe('full');
});

test('without profiles a user is seen by their vector, and without that or the head as somebody unknown', async () => {
  const edge = await start({ readsVectors: true });
  const vector = new Float32Array(64).fill(0.5);
  const key = Buffer.concat([Buffer.from(userTablePrefixes.embedding), edgeUserRows.keyOf('u1')]);
  const value = storedValue(edgeUserRows.encode(vector), userEmbeddingVersion, edge.now());
  await edge.store.write([{ key, value }]);
  const rungFor = async (id: string) => (await edge.bid({ ...body, user: { id } })).bid?.ext?.gavelin;
  expect((await rungFor('u1'))?.['rung']).toBe('full');
  expect(edge.rankedVector).toBeUndefined();
  edge.areProfilesDown = true;
  expect((await rungFor('u1'))?.['rung']).toBe('vector-only');
  expect(edge.records.at(-1)?.rung).toBe(9);
  expect(edge.rankedVector?.[0]).toBeCloseTo(0.5, 2);
  // Nothing is known of this one but that nobody could be asked.
  expect((await rungFor('u2'))?.['rung']).toBe('default-features');
  expect(edge.rankedVector).toBeUndefined();
  edge.scoringOutcome = 'FAILED';
  // Chosen by the vector, rated without it.
  const rated = await rungFor('u1');
  expect(rated?.['rung']).toBe('default-features');
  expect(rated?.['p_click']).toBeCloseTo(0.02, 6);
});

test('rates follow what is seen and clicked, ad by ad and site by site', async () => {
  const edge = await start();
  edge.rankerFault = 'throws';
  const ad = ratedAd(edge.catalog, edge.writer.rowOfAd('click.cr-click'));
  for (let view = 0; view < 3000; view++)
    edge.clickRates.recordView(ad, { site: wordKeyOf('news.example'), interest: interests.unknown });
  // Nobody clicks: a click is worth so little now that the bid per view wins.
  expect(await rungOf(edge)).toMatchObject({ rung: 'smoothed-rate', ad: 'view.cr-view' });
});

test('without rates either, only bids per impression are left, and predictions are the line items own', async () => {
  const edge = await start();
  edge.rankerFault = 'throws';
  edge.clickRates.visitLift = () => {
    throw new Error('broken on purpose');
  };
  expect(await rungOf(edge)).toMatchObject({ rung: 'cpm-only', ad: 'view.cr-view' });
  expect(edge.counter('rates_failed')).toBe(1);
  const answer = await edge.post('/v1/predict', { id: 'p', ad_ids: ['click.cr-click'] });
  expect(answer.json?.rung).toBe('cpm-only');
  expect(answer.json?.predictions?.[0]?.p_click).toBeCloseTo(0.01, 6);
});

test('scoring threads that let five requests down in a row are left alone for a second, then one request looks again', async () => {
  const edge = await start();
  expect((await rungOf(edge)).rung).toBe('full');
  edge.scoringOutcome = 'TOO_LATE';
  for (let request = 0; request < 5; request++) expect((await rungOf(edge)).rung).toBe('cached-prediction');
  expect([edge.counter('scoring_late'), edge.counter('scoring_spared')]).toEqual([5, 0]);
  // Nobody waits any more, and all are answered on the same rung.
  for (let request = 0; request < 10; request++) expect((await rungOf(edge)).rung).toBe('cached-prediction');
  expect([edge.counter('scoring_late'), edge.counter('scoring_spared')]).toEqual([5, 10]);
  edge.skewMs += 1100;
  await rungOf(edge);
  await rungOf(edge);
  expect([edge.counter('scoring_late'), edge.counter('scoring_spared')]).toEqual([6, 11]);
  edge.scoringOutcome = 'SCORED';
  edge.skewMs += 1100;
  expect((await rungOf(edge)).rung).toBe('full');
  expect((await rungOf(edge)).rung).toBe('full');
});

test('requests in a hurry of their own say nothing about the scoring threads', async () => {
  const edge = await start();
  edge.scoringOutcome = 'TOO_LATE';
  for (let request = 0; request < 20; request++) await edge.bid({ ...body, tmax: 500 });
  expect(edge.counter('scoring_spared')).toBe(0);
});

test('what is seen and clicked is counted by ad and site, from the notices of the bid itself', async () => {
  const edge = await start();
  const { bid } = await edge.bid({ ...body, test: 0 });
  const pathOf = (kind: string): string => new RegExp(`/notice/${kind}\\?t=[\\w-]+`, 'u').exec(bid!.adm)![0];
  const ad = ratedAd(edge.catalog, edge.writer.rowOfAd(bid!.adid));
  const visit = { site: wordKeyOf('news.example'), interest: interests.unknown };
  const before = edge.clickRates.pairLogit(ad, visit.site, -4);
  await edge.request('GET', pathOf('view'));
  const seen = edge.clickRates.pairLogit(ad, visit.site, -4);
  expect(seen).toBeLessThan(before);
  await edge.request('GET', pathOf('click'));
  const clicked = edge.clickRates.pairLogit(ad, visit.site, -4);
  expect(clicked).toBeGreaterThan(seen);
  // Each counts once, however often it comes.
  const answer = await edge.request('GET', pathOf('click'));
  expect(edge.clickRates.pairLogit(ad, visit.site, -4)).toBe(clicked);
  expect(edge.clickRates.conversionRate(ad, 0.05)).toBeLessThan(0.05);
  const token = new URL(answer.headers.get('location')!).searchParams.get('gavelin_ct')!;
  for (let time = 0; time < 2; time++) await edge.request('GET', `/notice/conversion?t=${token}`);
  const converted = edge.clickRates.conversionRate(ad, 0.05);
  expect(converted).toBeCloseTo((1 + 100 * ((1 + 100 * 0.05) / 101)) / 101, 6);
  edge.rankerFault = 'throws';
  const { json } = await edge.post('/v1/predict', { id: 'p', ad_ids: [bid!.adid] });
  expect(json?.rung).toBe('smoothed-rate');
  const prior = edge.catalog.liPriorConversionQ30[edge.catalog.adLineItem[edge.writer.rowOfAd(bid!.adid)]!]! / 2 ** 30;
  expect(json?.predictions?.[0]?.p_conversion).toBeCloseTo(edge.clickRates.conversionRate(ad, prior), 8);
});

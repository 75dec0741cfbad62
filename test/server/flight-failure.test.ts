import { afterEach, expect, test, vi } from 'vitest';
import { TargetingIndex } from '#auction/targeting-index.ts';
import { UserWindow } from '#embeddings/users/user-window.ts';
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

const bid = { id: 'r1', imp: [{ id: '1', banner: { w: 300, h: 250 } }], device: { geo: { country: 'USA' } } };
const slots = { id: 'a1', context: { country: 'USA' }, slots: [{ id: 's', width: 300, height: 250 }] };

test.each([
  ['/openrtb2/bid', bid],
  ['/v1/auction', slots],
])('a bug met while %s is finished costs that request a 500 and nothing else', async (path, body) => {
  const edge = await start();
  const broken = vi.spyOn(edge.ledger, 'spendableNanos').mockImplementation(() => {
    throw new Error('broken on purpose');
  });
  for (let round = 0; round < 3; round++) expect((await edge.post(path, body)).status).toBe(500);
  expect(edge.errors.splice(0).map(String)).toEqual(Array.from({ length: 3 }, () => 'Error: broken on purpose'));
  expect(edge.admission.inFlight).toBe(0);
  expect(edge.records).toEqual([]);
  broken.mockRestore();
  expect((await edge.post(path, body)).status).toBe(200);
});

test.each([
  ['while what the stores said is taken', UserWindow.prototype, 'clear'],
  ['while what could be shown is found', TargetingIndex.prototype, 'begin'],
] as const)(
  'a bug met %s, long after the handler returned, costs that request a 500 and nothing else',
  async (_, on, name) => {
    const edge = await start();
    const read = edge.store.read.bind(edge.store);
    vi.spyOn(edge.store, 'read').mockImplementation((...words) => Promise.resolve(read(...words)) as never);
    const broken = vi.spyOn(on as UserWindow, name as 'clear').mockImplementation(() => {
      throw new Error('broken on purpose');
    });
    const known = { ...bid, user: { id: 'u1' } };
    for (let round = 0; round < 3; round++) expect((await edge.post('/openrtb2/bid', known)).status).toBe(500);
    broken.mockRestore();
    expect(edge.errors.splice(0).map(String)).toEqual(Array.from({ length: 3 }, () => 'Error: broken on purpose'));
    expect([edge.admission.inFlight, edge.records.length]).toEqual([0, 0]);
    expect((await edge.post('/openrtb2/bid', known)).status).toBe(200);
  },
);

/** Of two advertisers, since one may win only one place of a page. */
const two = catalogOf(
  [10, 4].map((usd) => ({ id: `cpm${usd}`, priceType: 'CPM' as const, bidNanos: usd * 1_000_000, creative: {} })),
);

test('what a winner already held is given back when a later imp meets the bug', async () => {
  const edge = await start({ catalog: two });
  const real = edge.ledger.reserve.bind(edge.ledger);
  const reserve = vi
    .spyOn(edge.ledger, 'reserve')
    .mockImplementationOnce(real)
    .mockImplementationOnce(() => {
      throw new Error('broken on purpose');
    });
  const imps = [1, 2].map((id) => ({ id: String(id), banner: { w: 300, h: 250 } }));
  expect((await edge.post('/openrtb2/bid', { ...bid, imp: imps })).status).toBe(500);
  expect(reserve).toHaveBeenCalledTimes(2);
  expect(edge.errors.splice(0).map(String)).toEqual(['Error: broken on purpose']);
  for (let lineItem = 0; lineItem < edge.catalog.lineItemCount; lineItem++)
    expect(edge.ledger.snapshot(lineItem).reservedNanos).toBe(0n);
});

test.each(['CPC', 'CPA', 'CPM'] as const)('a late %s bid leaves nothing held or expected', async (priceType) => {
  const catalog = catalogOf([{ id: 'only', priceType, bidNanos: 10_000_000, creative: {} }]);
  const edge = await start({ catalog, scoringMs: 80 });
  const before = edge.ledger.spendableNanos(0);
  expect((await edge.post('/openrtb2/bid', { ...bid, tmax: 40 })).status).toBe(204);
  expect(edge.counter('late')).toBe(1);
  expect([edge.ledger.committedNanos(0), edge.ledger.spendableNanos(0)]).toEqual([0, before]);
  // In time the same bid does count.
  expect((await edge.post('/openrtb2/bid', bid)).status).toBe(200);
  expect(edge.ledger.committedNanos(0)).toBeGreaterThan(0);
});

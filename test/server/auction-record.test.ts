import { afterEach, expect, test } from 'vitest';
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

const requestOf = (sizes: readonly (readonly [number, number])[]) => ({
  id: 'r1',
  imp: sizes.map(([w, h], index) => ({ id: String(index), banner: { w, h } })),
  device: { geo: { country: 'USA' } },
});
const three = catalogOf(
  ['a', 'b', 'c'].map((id) => ({ id, priceType: 'CPM' as const, bidNanos: 4_000_000, creative: {} })),
);

test('the user vector is that of the first imp that had candidates', async () => {
  const edge = await start({ catalog: three });
  await edge.post(
    '/openrtb2/bid',
    requestOf([
      [333, 77],
      [300, 250],
    ]),
  );
  await edge.post('/openrtb2/bid', requestOf([[300, 250]]));
  expect(
    edge.records.map(({ userVectorCount, userVectorImp, impContextCount }) => [
      userVectorCount,
      userVectorImp,
      impContextCount,
    ]),
  ).toEqual([
    [64, 1, 2],
    [64, 0, 0],
  ]);
});

test('ads that pacing held back are counted, and no candidate', async () => {
  const edge = await start({ catalog: three });
  // Below what one auction in 2^32 would pass.
  edge.pacing.setRate(edge.writer.lineItemOf('b'), 0);
  await edge.post('/openrtb2/bid', requestOf([[300, 250]]));
  expect(edge.records[0]).toMatchObject({ eligibleCount: 3, throttledCount: 1, cappedCount: 0, candidateCount: 2 });
});

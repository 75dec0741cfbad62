import { afterEach, expect, test } from 'vitest';
import { Callers, defaultCaller, readCallers } from '#server/callers.ts';
import { PlaceValues } from '#server/value-tiers.ts';
import { Edge } from '../support/edge.ts';
import { bidBody } from '../support/small-catalog.ts';

const edges: Edge[] = [];
afterEach(async () => {
  for (const edge of edges.splice(0)) await edge.stop();
});
const limits = { premiumNanos: 5_000_000, standardNanos: 500_000 };
const sellTimes = (values: PlaceValues, place: string, nanos: number, times: number): void => {
  for (let auction = 0; auction < times; auction++) values.sold(place, nanos);
};

test('a place is of the tier that its auctions are worth, and standard until that is known', () => {
  const values = new PlaceValues(limits);
  expect(values.tierOf('new.example')).toBe('standard');
  sellTimes(values, 'dear.example', 6_000_000, 8);
  sellTimes(values, 'fair.example', 1_000_000, 8);
  sellTimes(values, 'cheap.example', 100_000, 8);
  sellTimes(values, 'few.example', 0, 7);
  expect(['dear.example', 'fair.example', 'cheap.example', 'few.example'].map((place) => values.tierOf(place))).toEqual(
    ['premium', 'standard', 'basic', 'standard'],
  );
  // Worth changes: about fifty auctions later it is another.
  sellTimes(values, 'dear.example', 0, 100);
  expect(values.tierOf('dear.example')).toBe('basic');
  expect(values.tierOf('')).toBe('standard');
});

test('bounded: any number of places, and never somebody else’s tier', () => {
  const values = new PlaceValues(limits);
  for (let place = 0; place < 50_000; place++) sellTimes(values, `p${place}.example`, 9_000_000, 8);
  expect(values.tierOf('other.example')).toBe('standard');
});

test('callers say their tier by name, or by its number of before', () => {
  const tierOf = (tier: unknown): unknown => {
    const text = JSON.stringify({ callers: [{ id: 'a', key: 'k'.repeat(16), tier }] });
    const read = readCallers(text, { tmaxMs: 100 });
    return read.kind === 'problems' ? read.problems[0]?.message : read.callers.find('k'.repeat(16), () => '')?.tier;
  };
  expect(['premium', 'standard', 'basic', 'by-value', 1, 2, 3].map(tierOf)).toEqual([
    'premium',
    'standard',
    'basic',
    'by-value',
    'premium',
    'standard',
    'basic',
  ]);
  expect(tierOf(undefined)).toBe('standard');
  expect([tierOf(4), tierOf('gold')]).toEqual(Array.from({ length: 2 }, () => expect.stringContaining('by-value')));
});

test('a basic caller starts below the whole head, a premium one keeps a model when the process is overloaded', async () => {
  const key = (tier: string): string => `key-of-${tier}-caller`;
  const callers = new Callers(
    (['premium', 'standard', 'basic', 'by-value'] as const).map((tier) => ({
      ...defaultCaller({ tmaxMs: 5000 }),
      id: tier,
      key: key(tier),
      tier,
    })),
    undefined,
  );
  const edge = await Edge.start({ callers });
  edges.push(edge);
  const rungOf = async (tier: string): Promise<unknown> => {
    const { bid } = await edge.bid({ ...bidBody(), test: 1 }, { 'x-gavelin-key': key(tier) });
    return bid?.ext?.gavelin['rung'];
  };
  expect([await rungOf('premium'), await rungOf('standard'), await rungOf('basic')]).toEqual([
    'full',
    'full',
    'reduced',
  ]);
  for (let nowMs = 0; nowMs < 200; nowMs += 5) edge.admission.ladder.observe(100, edge.now() + nowMs);
  expect(edge.admission.ladder.level).toBe('critical');
  expect([await rungOf('premium'), await rungOf('standard'), await rungOf('basic')]).toEqual([
    'light-ranker',
    'smoothed-rate',
    'smoothed-rate',
  ]);
});

test('a place that sells for little is answered on a cheaper rung to a caller by value', async () => {
  const caller = { ...defaultCaller({ tmaxMs: 5000 }), tier: 'by-value' as const };
  const edge = await Edge.start({ callers: new Callers([], caller) });
  edges.push(edge);
  const body = { ...bidBody(), test: 1, site: { domain: 'poor.example' } };
  expect((await edge.bid(body)).bid?.ext?.gavelin['rung']).toBe('full');
  sellTimes(edge.placeValues, 'poor.example', 0, 50);
  expect((await edge.bid(body)).bid?.ext?.gavelin['rung']).toBe('reduced');
});

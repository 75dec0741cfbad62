import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MemcachedRing } from '#embeddings/stores/memcached-ring.ts';

const serverNames = fc.uniqueArray(fc.stringMatching(/^[a-z]{1,8}:\d{2,5}$/u), { minLength: 2, maxLength: 12 });
const keys = Array.from({ length: 2000 }, (_, index) => Buffer.from(`user ${index}`));
const named = (names: readonly string[]) => names.map((name) => ({ name }));

test('one server more: keys go to it or stay where they are', () => {
  fc.assert(
    fc.property(serverNames, (names) => {
      const before = new MemcachedRing(named(names.slice(0, -1)));
      const after = new MemcachedRing(named(names));
      const added = names.length - 1;
      const moved = keys.filter((key) => after.serverOf(key) === added).length;
      expect(keys.filter((key) => ![added, before.serverOf(key)].includes(after.serverOf(key)))).toEqual([]);
      // A fair share would be 1 / n; with 160 places it is rarely off by half of that.
      expect(moved).toBeLessThan((2 * keys.length) / names.length);
      expect(moved).toBeGreaterThan(0);
    }),
    { numRuns: 40 },
  );
});

test('the order in which servers are listed decides nothing', () => {
  fc.assert(
    fc.property(serverNames, (names) => {
      const turned = names.toReversed();
      const [one, other] = [new MemcachedRing(named(names)), new MemcachedRing(named(turned))];
      for (const key of keys.slice(0, 300)) {
        const [left, right] = [one.serverOf(key), other.serverOf(key)];
        expect(names[left]).toBe(turned[right]);
        expect(names[one.copyOf(left, 1)]).toBe(turned[other.copyOf(right, 1)]);
      }
    }),
    { numRuns: 20 },
  );
});

test('copies of a server are other servers, all different', () => {
  fc.assert(
    fc.property(serverNames, (names) => {
      const ring = new MemcachedRing(named(names));
      for (const server of names.keys()) {
        const holders = names.map((_, copy) => ring.copyOf(server, copy));
        expect(holders[0]).toBe(server);
        expect(new Set(holders).size).toBe(names.length);
      }
    }),
  );
});

test('shares are even, and follow the weights', () => {
  const count = (ring: MemcachedRing, servers: number) => {
    const shares = Array.from({ length: servers }, () => 0);
    for (let index = 0; index < 50_000; index++) shares[ring.serverOf(Buffer.from(`key ${index}`))]! += 1 / 50_000;
    return shares;
  };
  for (const share of count(new MemcachedRing(named(['a:1', 'b:1', 'c:1', 'd:1'])), 4)) {
    expect(share).toBeGreaterThan(0.19);
    expect(share).toBeLessThan(0.31);
  }
  const ring = new MemcachedRing([{ name: 'a:1', weight: 3 }, { name: 'b:1' }]);
  expect(count(ring, 2)[0]).toBeGreaterThan(0.68);
  expect(count(ring, 2)[0]).toBeLessThan(0.82);
});

test('keys lie where they lay in earlier versions', () => {
  const ring = new MemcachedRing(named(['cache1:11211', 'cache2:11211', 'cache3:11211']));
  expect([...Array(12).keys()].map((index) => ring.serverOf(Buffer.from(`user ${index}`)))).toMatchInlineSnapshot(`
    [
      1,
      2,
      0,
      0,
      0,
      2,
      0,
      2,
      0,
      0,
      1,
      0,
    ]
  `);
});

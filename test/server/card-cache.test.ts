import { expect, test } from 'vitest';
import type { AdCard } from '#auction/catalog.ts';
import { CardCache } from '#server/card-cache.ts';

/** A catalog that counts how often it decodes, and says what its sequence said while it did. */
function catalogOf(sequences: () => number): {
  catalog: ConstructorParameters<typeof CardCache>[0];
  decoded: () => number;
} {
  let decoded = 0;
  const catalog = {
    get sequence() {
      return sequences();
    },
    card: (row: number) => {
      decoded++;
      return { adId: `ad-${row}-${decoded}` } as AdCard;
    },
  };
  return { catalog, decoded: () => decoded };
}

test('a card is decoded once until the catalog changes', () => {
  let sequence = 2;
  const { catalog, decoded } = catalogOf(() => sequence);
  const cards = new CardCache(catalog);
  expect(cards.of(7)).toBe(cards.of(7));
  cards.of(8);
  expect(decoded()).toBe(2);
  sequence = 4;
  expect(cards.of(7).adId).toBe('ad-7-3');
});

test('what was read during a change is not kept', () => {
  let sequence = 3;
  const { catalog, decoded } = catalogOf(() => sequence);
  const cards = new CardCache(catalog);
  cards.of(7);
  cards.of(7);
  expect(decoded()).toBe(2);
  // A change that begins between the look at the sequence and the reading.
  const values = [4, 5, 6];
  const moving = catalogOf(() => values.shift() ?? 6);
  const others = new CardCache(moving.catalog);
  others.of(1);
  others.of(1);
  expect(moving.decoded()).toBe(2);
  sequence = 6;
  cards.of(7);
  cards.of(7);
  expect(decoded()).toBe(3);
});

test('while a change is being written, what was known just before it holds, and nothing older', () => {
  let sequence = 2;
  const { catalog, decoded } = catalogOf(() => sequence);
  const cards = new CardCache(catalog);
  const before = cards.of(7);
  sequence = 3;
  expect(cards.of(7)).toBe(before);
  // Another change has been made between: what is known may be older than its acknowledgement.
  sequence = 5;
  expect(cards.of(7)).not.toBe(before);
  expect(decoded()).toBe(2);
});

test('no more cards are kept than its bound', () => {
  const { catalog, decoded } = catalogOf(() => 2);
  const cards = new CardCache(catalog);
  for (let row = 0; row < 5000; row++) cards.of(row);
  cards.of(4999);
  expect(decoded()).toBe(5000);
  cards.of(0);
  expect(decoded()).toBe(5001);
});

import { expect, test } from 'vitest';
import { AdDictionary } from '#training-bridge/ad-dictionary.ts';
import { DictionaryRecords } from '#training-bridge/dictionary-records.ts';
import { decodeEvent } from '#training-bridge/event-codec.ts';
import type { DictionaryRow } from '#training-bridge/event-records.ts';

const rowOf = (adRow: number, round: number): DictionaryRow => ({
  adRow,
  adId: `li${adRow}.cr${round}`,
  lineItemId: `li${adRow}`,
  advertiserId: `adv${adRow % 7}`,
  campaignId: 'c',
});

test('rows told again and again keep their latest word and take no more room', () => {
  const dictionary = new DictionaryRecords();
  const count = 6000;
  const latest = new Map<number, number>();
  const tell = (rows: readonly number[], round: number): void => {
    for (const row of rows) latest.set(row, round);
    dictionary.add(rows.map((row) => rowOf(row, round)));
  };
  tell(
    Array.from({ length: count }, (_, row) => row),
    0,
  );
  for (let round = 1; round <= 500; round++)
    tell(
      Array.from({ length: 100 }, (_, index) => (round * 37 + index * 11) % count),
      round,
    );
  expect(dictionary.rowCount).toBeLessThanOrEqual(2 * count);
  const bytes = dictionary.records.reduce((sum, record) => sum + record.length, 0);
  expect(bytes).toBeLessThan(2 * count * 40);
  const read = new AdDictionary();
  for (const record of dictionary.records) {
    const event = decodeEvent(record);
    if (event?.kind === 'dictionary') read.take(event.rows);
  }
  for (let row = 0; row < count; row++) expect(read.rowOf(row)?.adId).toBe(`li${row}.cr${latest.get(row)}`);
});

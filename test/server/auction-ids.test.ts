import { expect, test } from 'vitest';
import { AuctionIds, auctionIdText, parseAuctionId } from '#server/auction-ids.ts';

test('a hundred thousand ids of one process are all different, and read back', () => {
  const ids = new AuctionIds(0xfedcba98);
  const seen = new Set<string>();
  for (let index = 0; index < 100_000; index++) {
    ids.next();
    const text = auctionIdText(ids.high, ids.low);
    expect(parseAuctionId(text)).toEqual({ high: ids.high, low: ids.low });
    seen.add(text);
  }
  expect(seen.size).toBe(100_000);
});

test('what is not an id is told apart', () => {
  for (const text of ['', 'xyz', '0123456789abcde', '0123456789abcdefg', '0123456789ABCDEF']) {
    expect(parseAuctionId(text)).toBeUndefined();
  }
});

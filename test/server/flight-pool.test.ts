import { expect, test } from 'vitest';
import { FlightPool } from '#server/flight-pool.ts';

test('lends as many as it may, the last used first, clean', () => {
  const pool = new FlightPool(10);
  const all = Array.from({ length: 10 }, () => pool.take()!);
  expect(new Set(all).size).toBe(10);
  expect([pool.take(), pool.freeCount]).toEqual([undefined, 0]);
  const [first, second] = [all[3]!, all[7]!];
  first.draft.requestId = 'old';
  first.closedImps[2] = 1;
  first.namedRowCount = 5;
  pool.giveBack(second);
  pool.giveBack(first);
  expect(pool.freeCount).toBe(2);
  expect(pool.take()).toBe(first);
  expect([first.draft.requestId, first.closedImps[2], first.namedRowCount, first.request, first.http]).toEqual([
    '',
    0,
    0,
    undefined,
    undefined,
  ]);
  expect(pool.take()).toBe(second);
});

test('giving back twice is a bug that shows', () => {
  const pool = new FlightPool(2);
  const flight = pool.take()!;
  pool.giveBack(flight);
  expect(() => pool.giveBack(flight)).toThrow('twice');
});

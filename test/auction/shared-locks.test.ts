import { expect, test } from 'vitest';
import { SharedLocks } from '#auction/shared-locks.ts';

test('a lock that nobody gives back fails the next one after a bounded wait, and the others stay free', () => {
  const shared = SharedLocks.allocate(2);
  const locks = new SharedLocks(shared, 20);
  locks.acquire(0);
  const other = new SharedLocks(shared, 20);
  expect(() => other.acquire(0)).toThrow(expect.objectContaining({ code: 'SHARED_LOCK_STUCK' }));
  other.acquire(1);
  locks.release(0);
  other.acquire(0);
  expect(() => locks.acquire(1)).toThrow(expect.objectContaining({ code: 'SHARED_LOCK_STUCK' }));
});

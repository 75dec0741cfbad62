import fc from 'fast-check';
import { expect, test } from 'vitest';
import { redisLimits } from '#embeddings/stores/redis-options.ts';
import { reconnectWaitMs } from '#embeddings/stores/server-node.ts';
import { entityHash, partitionsOf, ShardBuckets, slotCount } from '#embeddings/stores/redis-partitions.ts';

test.each([1, 3, 64, 1000, 4096])('the slots of %i partitions lie one in each part of all slots', (count) => {
  const partitions = partitionsOf(count);
  expect(partitions.map(({ slot }) => Math.floor((slot * count) / slotCount))).toEqual(
    Array.from({ length: count }, (_, index) => index),
  );
  expect(new Set(partitions.map(({ tag }) => tag.toString())).size).toBe(count);
  expect(partitions.every(({ tag }) => /^\{[\da-z]{1,4}\}$/u.test(tag.toString()))).toBe(true);
});

test('partitions are as they always were: what is stored lies behind these tags', () => {
  const written = partitionsOf(4).map(({ tag, slot }) => `${tag.toString()} ${slot}`);
  expect(written).toEqual(['{3} 1584', '{2} 5649', '{1} 9842', '{0} 13907']);
  for (const key of ['user_profile:u-1', ':u-1', 'u-1']) expect(entityHash(Buffer.from(key))).toBe(2_107_383_395);
});

test.each([0, -1, 1.5, 4097, Number.NaN])('%d partitions are refused', (count) => {
  expect(() => partitionsOf(count)).toThrow(/1 to 4096/u);
});

test('equal ids lie together, whatever the prefix of their table', () => {
  fc.assert(
    fc.property(
      fc.stringMatching(/^[a-z_]{1,20}:$/u),
      fc.stringMatching(/^[a-z_]{1,20}:$/u),
      fc.uint8Array({ maxLength: 60 }),
      (one, other, entity) => {
        const [left, right] = [one, other].map((prefix) => entityHash(Buffer.concat([Buffer.from(prefix), entity])));
        expect(left).toBe(right);
      },
    ),
  );
});

test('keys are spread evenly over shards, and one more shard moves only its share', () => {
  const keys = Array.from({ length: 30_000 }, (_, index) => Buffer.from(`feature:${index}`));
  const names = ['one', 'two', 'three', 'four'];
  const [before, after] = [new ShardBuckets(names.slice(0, 3)), new ShardBuckets(names)];
  const counts = [0, 0, 0, 0];
  let moved = 0;
  for (const key of keys) {
    const shard = after.shardOf(key);
    counts[shard]!++;
    if (shard === before.shardOf(key)) continue;
    moved++;
    expect(shard).toBe(3);
  }
  for (const count of counts) expect(Math.abs(count / keys.length - 0.25)).toBeLessThan(0.03);
  expect(moved).toBe(counts[3]);
});

test('attempts to connect come ever later, up to the most, half of the wait by chance', () => {
  const wait = (attempt: number, chance: number) => reconnectWaitMs(attempt, redisLimits, () => chance);
  expect([1, 2, 3, 6, 7, 50, 5000].map((attempt) => wait(attempt, 1))).toEqual([50, 100, 200, 1600, 2000, 2000, 2000]);
  expect([1, 7].map((attempt) => wait(attempt, 0))).toEqual([25, 1000]);
});

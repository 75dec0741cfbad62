import fc from 'fast-check';
import { expect, test } from 'vitest';
import { redisAddress } from '#embeddings/stores/redis-address.ts';
import { StoreError } from '#embeddings/stores/store-errors.ts';

test.each([
  [
    'redis://cache',
    { kind: 'redis', access: {}, shards: [{ name: 'cache:6379', copies: [{ host: 'cache', port: 6379 }] }] },
  ],
  [
    'rediss://anna:p%40ss%2F%3F@10.0.0.1:7000/3',
    {
      kind: 'redis',
      access: { username: 'anna', password: 'p@ss/?', tls: {}, db: 3 },
      shards: [{ name: '10.0.0.1:7000', copies: [{ host: '10.0.0.1', port: 7000 }] }],
    },
  ],
  [
    'redis://:secret@one=a,two=[::1]:6380/?replicas=b|c:1,d',
    {
      kind: 'redis',
      access: { password: 'secret' },
      shards: [
        {
          name: 'one',
          copies: [
            { host: 'a', port: 6379 },
            { host: 'b', port: 6379 },
            { host: 'c', port: 1 },
          ],
        },
        {
          name: 'two',
          copies: [
            { host: '::1', port: 6380 },
            { host: 'd', port: 6379 },
          ],
        },
      ],
    },
  ],
  [
    'redis-cluster://h1:7000,h2',
    {
      kind: 'redis-cluster',
      access: {},
      partitionCount: 64,
      seeds: [
        { host: 'h1', port: 7000 },
        { host: 'h2', port: 6379 },
      ],
    },
  ],
  [
    'rediss-cluster://u:p@h/0?partitions=128',
    {
      kind: 'redis-cluster',
      access: { username: 'u', password: 'p', tls: {}, db: 0 },
      partitionCount: 128,
      seeds: [{ host: 'h', port: 6379 }],
    },
  ],
])('%s', (text, expected) => {
  expect(redisAddress(text)).toEqual(expected);
});

test.each([
  ['', /begin with redis:/u],
  ['http://host', /begin with redis:/u],
  ['redis:host', /begin with redis:/u],
  ['redis://', /names no host/u],
  ['redis://u:secret@', /names no host/u],
  ['redis://a,,b', /"" is no host:port/u],
  ['redis://u:secret@ho st', /"ho st" is no host:port/u],
  ['redis://host:99999', /ports go from 1 to 65535/u],
  ['redis://host:port', /"host:port" is no host:port/u],
  ['redis://host/two', /"two" is no number of a database/u],
  ['redis://host/1/2', /more than one \//u],
  ['redis://host?replica=b', /knows replicas, not "replica"/u],
  ['redis://host?partitions=3', /knows replicas, not "partitions"/u],
  ['redis://a?replicas=b,c', /replicas of 2 shards for 1/u],
  ['redis://x=a,x=b', /the same name/u],
  ['redis://=a', /empty name/u],
  ['redis://u:%zz@host', /not percent-encoded/u],
  ['redis-cluster://host/1', /database 0 only/u],
  ['redis-cluster://host?partitions=0', /"0" partitions: 1 to 4096/u],
  ['redis-cluster://host?partitions=many', /"many" partitions/u],
])('%s is refused, and says why', (text, why) => {
  const fault = faultOf(text);
  expect(fault.code).toBe('STORE_ADDRESS_INVALID');
  expect(fault.message).toMatch(why);
  expect(fault.message).not.toContain('secret');
});

test('whatever is wrong, the password is not told', () => {
  const rubbish = fc.string({
    unit: fc.constantFrom('a', '1', ':', '/', '?', ',', '=', '%', '[', '&', '|', '#', ' '),
    maxLength: 12,
  });
  fc.assert(
    fc.property(rubbish, rubbish, rubbish, (before, after, hosts) => {
      const text = `redis://user:${before}pAssw0rd${after}@${hosts}`;
      expect(refusalOf(text)).not.toContain('pAssw0rd');
    }),
  );
});

/** Empty where it was taken. */
function refusalOf(text: string): string {
  try {
    redisAddress(text);
    return '';
  } catch (error) {
    if (error instanceof StoreError) return error.message;
    throw error;
  }
}

function faultOf(text: string): StoreError {
  try {
    redisAddress(text);
  } catch (error) {
    return error as StoreError;
  }
  throw new Error('it was taken');
}

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Lookup } from '#embeddings/lookup/lookup.ts';
import { LookupTicket, outcomeNumbers } from '#embeddings/lookup/lookup-table.ts';
import { RedisStore } from '#embeddings/stores/redis-store.ts';
import { storedValue } from '#embeddings/stores/stored-value.ts';
import { breakerDefaults } from '#embeddings/lookup/breaker.ts';
import { type RedisServer, startRedis } from '../../services/redis.ts';
import { DelayProxy } from '../../support/delay-proxy.ts';
import { redisServerPath } from '../../support/services.ts';
import { until } from '../../support/until.ts';

const command = redisServerPath();
const now = () => performance.timeOrigin + performance.now();
const keys = Array.from({ length: 50 }, (_, index) => Buffer.from(`key ${index}`));
const payloadOf = (index: number) => Buffer.from(`value of ${index}`);
const waitMs = 30;

describe.skipIf(command === undefined)('a lookup over Redis behind a network that fails', () => {
  let redis: RedisServer;
  let proxy: DelayProxy;
  let store: RedisStore;
  let lookup: Lookup;
  const errors: unknown[] = [];
  let asked = 0;
  let answered = 0;

  beforeAll(async () => {
    redis = await startRedis(command!);
    proxy = await DelayProxy.start(redis);
    store = new RedisStore({
      kind: 'redis',
      shards: [{ name: 'only', copies: [{ host: '127.0.0.1', port: proxy.port }] }],
      limits: { answerMs: 200, connectMs: 500, reconnectMsMin: 10, reconnectMsMax: 100 },
    });
    await store.ready();
    await store.write(
      keys.map((key, index) => ({
        key: Buffer.concat([Buffer.from('t:'), key]),
        value: storedValue(payloadOf(index), 1, Date.now()),
      })),
    );
    lookup = new Lookup({
      tables: [
        {
          name: 't',
          keyPrefix: 't:',
          store,
          format: { kind: 'value', version: 1, payloadBytes: -1 },
          cacheMs: 0,
          absentCacheMs: 0,
          staleMs: 0,
        },
      ],
      now,
      limits: { breaker: { ...breakerDefaults, openMs: 300 } },
      onError: (error) => errors.push(error),
    });
  });
  // A test that fails must not take the next ones with it.
  afterEach(() => {
    proxy.isSilent = false;
    proxy.isRefusing = false;
    proxy.garbage = undefined;
    proxy.delayMsOf = () => 0;
  });
  afterAll(async () => {
    await Promise.all([lookup?.close(), store?.close()]);
    await proxy?.end();
    await redis?.end();
  });

  /** Names of the outcomes that occurred; every value that is found must be the right one. */
  async function outcomes(): Promise<Set<string>> {
    const ticket = new LookupTicket();
    for (const key of keys) ticket.ask(0, key);
    asked += 1;
    await new Promise<void>((resolve) => {
      const done = () => {
        answered += 1;
        resolve();
      };
      if (lookup.begin(ticket, now() + waitMs, done)) done();
    });
    const names = new Set<string>();
    for (let place = 0; place < ticket.count; place++) {
      const found = ticket.outcomes[place] === outcomeNumbers.found;
      if (found && !ticket.values[place]!.equals(payloadOf(place)))
        throw new Error(`place ${place} has another's value`);
      names.add(Object.entries(outcomeNumbers).find(([, number]) => number === ticket.outcomes[place])![0]);
    }
    return names;
  }

  async function untilAllFound(): Promise<void> {
    await until(async () => {
      const names = await outcomes();
      return names.size === 1 && names.has('found');
    }, 'everything is found again');
  }

  async function untilSeen(name: string): Promise<void> {
    await until(async () => (await outcomes()).has(name), `something is ${name}`);
  }

  test('silence: late, then left alone, then back', async () => {
    await untilAllFound();
    proxy.isSilent = true;
    await untilSeen('late');
    await until(async () => {
      await outcomes();
      return lookup.status().copies[0]!.breaker === 'open';
    }, 'the breaker is open');
    expect((await outcomes()).has('found')).toBe(false);
    proxy.isSilent = false;
    await untilAllFound();
  });

  test('answers later than the cut-off', async () => {
    proxy.delayMsOf = () => 60;
    await untilSeen('late');
    await untilSeen('failed');
    proxy.delayMsOf = () => 0;
    await untilAllFound();
    expect(lookup.status().tables[0]!.lateAnswers).toBeGreaterThan(0);
  });

  test('connections cut while calls are under way', async () => {
    for (let round = 0; round < 5; round++) {
      const under = outcomes();
      proxy.cut();
      expect((await under).has('absent')).toBe(false);
    }
    await untilAllFound();
  });

  test('refused connections', async () => {
    proxy.isRefusing = true;
    proxy.cut();
    await untilSeen('failed');
    expect(lookup.status().copies[0]!.failures).toBeGreaterThan(0);
    proxy.isRefusing = false;
    await untilAllFound();
  });

  test.each([
    ['no protocol at all', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
    ['another type of reply', Buffer.from('+OK\r\n')],
    ['fewer values than keys', Buffer.from('*1\r\n$3\r\nabc\r\n')],
    ['values that are none of ours', Buffer.from(`*50\r\n${'$3\r\nabc\r\n'.repeat(50)}`)],
    ['an error', Buffer.from('-ERR no\r\n')],
    ['zeros', Buffer.alloc(5000)],
  ])('garbage: %s', async (_, garbage) => {
    await untilAllFound();
    proxy.garbage = garbage;
    const names = await outcomes();
    proxy.garbage = undefined;
    expect(names.has('found')).toBe(false);
    await untilAllFound();
  });

  test('nothing was unexpected, and nothing is left', async () => {
    await until(() => lookup.status().pending.calls === 0, 'no call is under way');
    expect(errors).toEqual([]);
    expect(answered).toBe(asked);
    expect(lookup.status().copies[0]!.inFlight).toBe(0);
  });
});

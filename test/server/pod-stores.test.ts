import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RedisServer, startRedis } from '../services/redis.ts';
import { freePort } from '../services/server-process.ts';
import { startPodOnStores } from '../support/fault-drill.ts';
import type { Pod } from '../support/pod.ts';
import { redisServerPath } from '../support/services.ts';
import { startSmallPod } from '../support/small-demo.ts';

type Facts = {
  readonly rung: string;
  readonly user_state: Readonly<Record<string, number>>;
  readonly lookups: readonly { readonly table: string; readonly outcome: string; readonly source: string }[];
};

const command = redisServerPath();
/** Somebody of the small demo's users file. */
const user = 'u000042';

const request = (id: string, search?: string): unknown => ({
  id,
  tmax: 1000,
  imp: [{ id: '1', banner: { format: [{ w: 300, h: 250 }] } }],
  site: { domain: 'news.example', ...(search === undefined ? {} : { search }) },
  device: { geo: { country: 'USA' }, devicetype: 4, os: 'iOS', language: 'en' },
  user: { id: user },
});

/** Bids, and what the log says about that auction. */
async function bidAndExplain(pod: Pod, body: unknown): Promise<{ clickUrl: string; facts: Facts }> {
  const answer = await pod.bid(body, { 'x-gavelin-debug': '1' });
  expect(answer.status).toBe(200);
  const { seatbid } = (await answer.json()) as {
    seatbid: { bid: { adm: string; ext: { gavelin: { auction_id: string } } }[] }[];
  };
  const [bid] = seatbid[0]!.bid;
  const clickUrl = /http:\/\/127\.0\.0\.1:\d+\/notice\/click\?t=[\w-]+/u.exec(bid!.adm)?.[0] ?? '';
  const explained = await pod.admin(`/admin/v1/explain/${bid!.ext.gavelin.auction_id}`);
  const { facts } = (await explained.json()) as { facts: Facts };
  return { clickUrl, facts };
}

/** A click and a query of one auction are known to the user's next auctions, within a second as the poll shows. */
async function expectWindowFollows(pod: Pod): Promise<void> {
  const first = await bidAndExplain(pod, request('first', 'red shoes'));
  expect(first.facts.user_state).toEqual({});
  const clicked = await fetch(first.clickUrl, { redirect: 'manual' });
  expect([204, 302]).toContain(clicked.status);
  await expect
    .poll(async () => (await bidAndExplain(pod, request('next'))).facts.user_state, { timeout: 5000 })
    .toMatchObject({ window_clicks: 1, window_queries: 1, session_clicks: 1, session_queries: 1 });
}

describe.skipIf(command === undefined)('a pod whose users are in Redis', () => {
  let redis: RedisServer;
  let pod: Pod;

  beforeAll(async () => {
    redis = await startRedis(command!, { password: 'secret' });
    const address = `redis://:secret@${redis.name}`;
    pod = await startPodOnStores({
      GAVELIN_STORE_REALTIME: address,
      GAVELIN_STORE_EMBEDDINGS: address,
      GAVELIN_STORE_BATCH: address,
    });
  });

  afterAll(async () => {
    await pod?.stop();
    await redis?.end();
  });

  test('finds profile and vector there, and says so in the record', async () => {
    const { facts } = await bidAndExplain(pod, request('known'));
    expect(facts.rung).toBe('full');
    expect(facts.lookups).toMatchObject([
      { table: 'user_profile', outcome: 'found', source: 'store' },
      { table: 'user_embedding', outcome: 'found', source: 'store' },
      { table: 'user_window', outcome: 'absent' },
    ]);
  });

  test('a click and a search enter the window of their user', () => expectWindowFollows(pod));

  test('bytes that are no value are passed over and counted, and never kept', async () => {
    const keys = ((await redis.call('KEYS', `p:${user}`)) as string[]).concat(
      (await redis.call('KEYS', '*')) as string[],
    );
    expect(keys).toContain(`p:${user}`);
    await redis.call('SET', `p:${user}`, 'no envelope at all');
    const { facts } = await bidAndExplain(pod, request('damaged'));
    expect(facts.lookups[0]).toMatchObject({ table: 'user_profile', outcome: 'invalid' });
    expect(facts.rung).toBe('full');
    await expect
      .poll(async () => {
        const metrics = await pod.metrics();
        return metrics.get('gavelin_lookup_invalid_total{table="user_profile",condition="LENGTH_WRONG"}') ?? 0;
      })
      .toBeGreaterThan(0);
  });

  test('a wrong password stops the start, names the setting and repeats no secret', async () => {
    const wrong = startSmallPod({ env: { GAVELIN_STORE_BATCH: `redis://:not-it@${redis.name}` } });
    const message = await wrong.then(
      async (started) => {
        await started.stop();
        return 'it started';
      },
      (error: unknown) => String(error),
    );
    expect(message).toMatch(/GAVELIN_STORE_BATCH: STORE_REFUSED/u);
    expect(message).not.toContain('not-it');
  });
});

test('embedded, the same window follows', async () => {
  const pod = await startSmallPod();
  await expectWindowFollows(pod);
  expect(await pod.stop()).toBe(0);
});

test('a lock that another process never lets go holds up no stop', { timeout: 120_000 }, async () => {
  const pod = await startSmallPod({ env: { GAVELIN_DRAIN_MS: '500' } });
  const holder = spawn(
    process.execPath,
    [join(import.meta.dirname, '../embeddings/stores/lmdb-child.ts'), 'hold', join(pod.dataDir, 'stores')],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  try {
    await once(holder.stdout, 'data');
    const { clickUrl } = await bidAndExplain(pod, request('held', 'red shoes'));
    // Its place in the user's window waits for the lock from now on.
    await fetch(clickUrl, { redirect: 'manual' });
    expect(await pod.stop()).toBe(null);
    expect(pod.output).toMatch(/stopped\n.*the process is killed: serving threads that do not end: 1/u);
  } finally {
    holder.kill('SIGKILL');
  }
});

test('a store that is not there stops the start by the name of its setting, unless a degraded start is asked for', async () => {
  const address = `redis://127.0.0.1:${await freePort()}`;
  const env = {
    GAVELIN_STORE_REALTIME: address,
    GAVELIN_STORE_EMBEDDINGS: address,
    GAVELIN_HOT_USERS_MAX: '0',
    // On a busy machine the folder that is well may take longer than 3 ms.
    GAVELIN_LOOKUP_MS: '50',
  };
  await expect(startSmallPod({ env })).rejects.toThrow(
    /GAVELIN_STORE_REALTIME, GAVELIN_STORE_EMBEDDINGS: STORE_UNREACHABLE/u,
  );
  const pod = await startSmallPod({ env: { ...env, GAVELIN_START_DEGRADED: 'yes' } });
  expect(pod.output).toContain('starts degraded: GAVELIN_STORE_REALTIME');
  const { facts } = await bidAndExplain(pod, request('degraded'));
  expect(facts.rung).toBe('average-embedding');
  expect(facts.lookups).toMatchObject([{ outcome: 'absent' }, { outcome: 'failed' }, { outcome: 'failed' }]);
  expect(await pod.stop()).toBe(0);
});

test.each([
  ['GAVELIN_STORE_BATCH', 'memcachd://h', /GAVELIN_STORE_BATCH: .*memcached:\/\//u],
  ['GAVELIN_STORE_REALTIME', 'memcached://127.0.0.1:1', /GAVELIN_STORE_REALTIME: .*cannot keep lists/u],
])('%s=%s stops the start with what is wrong', async (name, address, message) => {
  await expect(startSmallPod({ env: { [name]: address } })).rejects.toThrow(message);
});

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LmdbStore } from '#embeddings/stores/lmdb-store.ts';
import { RedisStore } from '#embeddings/stores/redis-store.ts';
import { storedValue } from '#embeddings/stores/stored-value.ts';
import { encodeUserProfile, userProfileVersion } from '#embeddings/users/user-profile.ts';
import { readConfig } from '#server/config.ts';
import { openStores } from '#server/pod-stores.ts';
import { type RedisServer, startRedis } from '../services/redis.ts';
import { freePort } from '../services/server-process.ts';
import { startPodOnStores } from '../support/fault-drill.ts';
import { newLineItemFile } from '../support/new-line-item.ts';
import type { Pod } from '../support/pod.ts';
import { redisServerPath } from '../support/services.ts';
import { smallDataDir, startSmallPod } from '../support/small-demo.ts';

type Facts = {
  readonly rung: string;
  readonly user_state: Readonly<Record<string, number>>;
  readonly lookups: readonly { readonly table: string; readonly outcome: string; readonly source: string }[];
};

const command = redisServerPath();
/** Somebody of the small demo's users file. */
const user = 'u000042';
/** Somebody else, whose profile changes. */
const keenUser = 'u000077';

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
  let address: string;
  let store: RedisStore;
  let pod: Pod;

  beforeAll(async () => {
    redis = await startRedis(command!, { password: 'secret' });
    address = `redis://:secret@${redis.name}`;
    store = new RedisStore({
      kind: 'redis',
      shards: [{ name: 'only', copies: [redis] }],
      access: { password: 'secret' },
    });
    await store.ready();
    pod = await startPodOnStores({
      GAVELIN_STORE_REALTIME: address,
      GAVELIN_STORE_EMBEDDINGS: address,
      GAVELIN_STORE_BATCH: address,
    });
  });

  afterAll(async () => {
    await pod?.stop();
    await store?.close();
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

  test('what a thread keeps of users goes when the admin port is told so: by user, and the whole table', async () => {
    const caching = await startPodOnStores({
      GAVELIN_STORE_REALTIME: address,
      GAVELIN_STORE_EMBEDDINGS: address,
      GAVELIN_STORE_BATCH: address,
      GAVELIN_STORE_CACHE_MS: '3600000',
    });
    const [item] = newLineItemFile.line_items;
    const wanted = { ...item, targeting: { segments_any: ['keen-on-kites'] } };
    const added = await caching.admin('/admin/v1/catalog', {
      method: 'POST',
      body: JSON.stringify({ ...newLineItemFile, line_items: [wanted] }),
    });
    expect(added.status).toBe(200);
    const invalidate = async (body: unknown): Promise<unknown> => {
      const answer = await caching.admin('/admin/v1/invalidate', { method: 'POST', body: JSON.stringify(body) });
      return [answer.status, await answer.json()];
    };
    /** The user's profile in the store: with or without the segment that the new ad is for. */
    const put = async (isKeen: boolean): Promise<void> => {
      const profile = { age: '25-34', gender: 'f', segments: isKeen ? ['keen-on-kites'] : ['none'] };
      const value = storedValue(encodeUserProfile(profile), userProfileVersion, Date.now());
      await store.write([{ key: Buffer.from(`p:${keenUser}`), value }]);
    };
    let asked = 0;
    const isOffered = async (): Promise<boolean> => {
      const answer = await caching.bid({
        id: `keen-${asked++}`,
        tmax: 1000,
        imp: [{ id: '1', banner: { w: 333, h: 77 } }],
        site: { domain: 'kites.example' },
        device: { geo: { country: 'USA' } },
        user: { id: keenUser },
      });
      expect([200, 204]).toContain(answer.status);
      return answer.status === 200;
    };

    await put(true);
    await expect.poll(isOffered, { timeout: 5000 }).toBe(true);
    await put(false);
    expect(await isOffered()).toBe(true);
    expect(await invalidate({ users: [keenUser, 'somebody'] })).toEqual([200, { invalidated: 2 }]);
    await expect.poll(isOffered, { timeout: 5000 }).toBe(false);
    await put(true);
    expect(await isOffered()).toBe(false);
    expect(await invalidate({ table: 'user_embedding' })).toEqual([200, { table: 'user_embedding' }]);
    expect(await isOffered()).toBe(false);
    expect(await invalidate({ table: 'user_profile' })).toEqual([200, { table: 'user_profile' }]);
    await expect.poll(isOffered, { timeout: 5000 }).toBe(true);

    for (const [body, path] of [
      [{ table: 'users' }, 'table'],
      [{ table: 0 }, 'table'],
      [{ table: 'user_profile', users: [keenUser] }, 'table'],
      [{ users: keenUser }, 'users'],
      [{}, 'users'],
      [null, 'users'],
    ] as const)
      expect(await invalidate(body)).toMatchObject([400, { error: { path } }]);
    expect(await caching.stop()).toBe(0);
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

test(
  'threads walk through no file that the check before the start has walked through',
  { timeout: 60_000 },
  async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'gavelin-walk-'));
    const path = join(dataDir, 'stores');
    const config = readConfig({ GAVELIN_DATA_DIR: dataDir });
    const store = new LmdbStore({ path, now: Date.now });
    const entries = Array.from({ length: 2000 }, (_, index) => ({
      key: Buffer.from(`k${index}`),
      value: Buffer.alloc(300, 'v'),
    }));
    await store.write(entries);
    await store.close();
    const file = join(path, 'data.mdb');
    const damaged = readFileSync(file);
    damaged.fill(0x5a, 44 * 8192, 64 * 8192);
    writeFileSync(file, damaged);
    // Only a walk finds what is wrong with the pages.
    const outcomes = [];
    for (const answering of [new Set([config.storeRealtime]), new Set<string>(), undefined]) {
      rmSync(join(path, 'closed'), { force: true });
      const stores = await openStores(config, answering === undefined ? {} : { answering });
      const [write] = await Promise.allSettled([stores.realtime.remove([])]);
      outcomes.push(write.status === 'fulfilled' ? 'open' : (write.reason as { code: string }).code);
      await stores.close();
    }
    expect(outcomes).toEqual(['open', 'STORE_UNREACHABLE', 'STORE_FAULTY']);
    rmSync(dataDir, { recursive: true });
  },
);

test('a local folder that could not be opened serves once it can be', { timeout: 120_000 }, async () => {
  const dataDir = smallDataDir();
  const inTheWay = join(dataDir, 'stores');
  writeFileSync(inTheWay, 'x');
  const pod = await startSmallPod({
    dataDir,
    ownsDataDir: true,
    env: { GAVELIN_START_DEGRADED: 'yes', GAVELIN_HOT_USERS_MAX: '0' },
  });
  expect(pod.output).toContain('starts degraded: GAVELIN_STORE_REALTIME');
  const { facts } = await bidAndExplain(pod, request('degraded'));
  expect(facts.lookups.map(({ outcome }) => outcome)).toContain('failed');
  rmSync(inTheWay);
  await expect
    .poll(async () => (await bidAndExplain(pod, request('again'))).facts.lookups.map(({ outcome }) => outcome), {
      timeout: 60_000,
      interval: 2500,
    })
    .not.toContain('failed');
  expect(await pod.stop()).toBe(0);
});

test.each([
  ['GAVELIN_STORE_BATCH', 'memcachd://h', /GAVELIN_STORE_BATCH: .*memcached:\/\//u],
  ['GAVELIN_STORE_REALTIME', 'memcached://127.0.0.1:1', /GAVELIN_STORE_REALTIME: .*cannot keep lists/u],
])('%s=%s stops the start with what is wrong', async (name, address, message) => {
  await expect(startSmallPod({ env: { [name]: address } })).rejects.toThrow(message);
});

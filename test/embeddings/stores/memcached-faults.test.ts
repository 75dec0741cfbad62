import { createServer, type Socket } from 'node:net';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { MemcachedStore } from '#embeddings/stores/memcached-store.ts';
import type { KeyValueStore } from '#embeddings/stores/store.ts';
import { type MemcachedProcess, startMemcached } from '../../services/memcached.ts';
import { memcachedPath } from '../../support/services.ts';
import { until } from '../../support/until.ts';
import { codeOf, faultOf, expectFault, expectSame, ownKey, valuesOf } from './store.contract.ts';

const command = memcachedPath();
const limits = { connectMs: 500, answerMs: 200, silenceMs: 400, reconnectMsMax: 200 };
const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

function open(
  servers: readonly { host: string; port: number }[],
  copyCount = 1,
  more: Partial<typeof limits> = {},
): MemcachedStore {
  const store = new MemcachedStore({ servers, copyCount, now: Date.now, limits: { ...limits, ...more } });
  closers.push(() => store.close());
  return store;
}

type Talk = (socket: Socket) => unknown;

/** Somebody who talks as told instead of a Memcached. */
async function listen(
  talk: (socket: Socket) => void,
): Promise<{ host: string; port: number; connections: () => number }> {
  let count = 0;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    count++;
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => sockets.delete(socket));
    talk(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return { host: '127.0.0.1', port: address.port, connections: () => count };
}

describe.skipIf(command === undefined)('with real servers', () => {
  async function start(args: readonly string[] = []): Promise<MemcachedProcess> {
    const server = await startMemcached(command!, args);
    closers.push(() => server.end());
    return server;
  }

  /** A key of each shard. */
  function keyOn(store: KeyValueStore, shard: number): Buffer {
    for (let index = 0; ; index++) {
      const key = ownKey(`on ${shard} ${index}`);
      if (store.shardOf(key) === shard) return key;
    }
  }

  test('a server that is killed fails its own shard at once, and serves again when it is back', async () => {
    const servers = [await start(), await start()];
    const store = open(servers);
    await store.ready();
    const [lost, kept] = [keyOn(store, 0), keyOn(store, 1)];
    await store.write([lost, kept].map((key) => ({ key, value: key })));
    await servers[0]!.process.kill();
    await until(
      async () => (await faultOf(() => valuesOf(store, [lost]))) === 'STORE_UNREACHABLE',
      'it is known to be gone',
    );
    expectSame(await valuesOf(store, [kept]), [kept]);
    await expect(store.ready()).rejects.toThrow(`127.0.0.1:${servers[0]!.port}`);
    await servers[0]!.process.startAgain();
    await until(async () => (await faultOf(() => store.ready())) === undefined, 'it is back');
    expectSame(await valuesOf(store, [lost, kept]), [undefined, kept]);
  });

  test('the next server has the copy', async () => {
    const servers = await Promise.all([start(), start(), start()]);
    const store = open(servers, 2);
    await store.ready();
    const keys = Array.from({ length: 60 }, (_, index) => ownKey(`copied ${index}`));
    await store.write(keys.map((key) => ({ key, value: key })));
    await servers[1].process.kill();
    expectSame(
      await valuesOf(
        store,
        keys.filter((key) => store.shardOf(key) === 1),
        1,
      ),
      keys.filter((key) => store.shardOf(key) === 1),
    );
    expect(store.copyName(1, 1)).not.toBe(store.copyName(1, 0));
  });

  test('a server that hangs: calls are given up in time, nothing stays pending, and it serves when it wakes', async () => {
    const server = await start();
    const store = open([server]);
    await store.ready();
    const key = ownKey('hung');
    await store.write([{ key, value: key }]);
    server.process.stop();
    const calls = [
      valuesOf(store, [key]),
      valuesOf(store, [key]),
      store.write([{ key, value: key }]),
      store.remove([ownKey('x')]),
    ];
    const codes = (await Promise.allSettled(calls)).map((each) =>
      each.status === 'rejected' ? codeOf(each.reason) : 'answered',
    );
    expect(codes.every((code) => code === 'STORE_TIMEOUT')).toBe(true);
    // Its connection is cut for its silence; new ones are taken by the kernel and do not count.
    await until(
      async () => (await faultOf(() => valuesOf(store, [key]))) === 'STORE_UNREACHABLE',
      'the silent connection is cut',
    );
    await expectFault(() => store.ready(), 'STORE_UNREACHABLE');
    server.process.resume();
    await until(async () => (await faultOf(() => store.ready())) === undefined, 'it wakes');
    expectSame(await valuesOf(store, [key]), [key]);
  });

  test('a pause that ends before the connection is cut mixes up no answers', async () => {
    const server = await start();
    const store = open([server], 1, { silenceMs: 60_000 });
    await store.ready();
    const keys = Array.from({ length: 20 }, (_, index) => ownKey(`late ${index}`));
    await store.write(keys.map((key) => ({ key, value: key })));
    server.process.stop();
    await Promise.all(keys.slice(0, 10).map((key) => expectFault(() => valuesOf(store, [key]), 'STORE_TIMEOUT')));
    server.process.resume();
    await until(async () => (await faultOf(() => valuesOf(store, keys))) === undefined, 'it answers again');
    for (const key of keys) expectSame(await valuesOf(store, [key]), [key]);
  });

  test('a time to live beyond 30 days is not taken for a date in 1970', async () => {
    const server = await start();
    const store = open([server]);
    await store.ready();
    const [long, longer] = [ownKey('long'), ownKey('longer')];
    await store.write([
      { key: long, value: long, ttlMs: 30 * 24 * 3_600_000 },
      { key: longer, value: longer, ttlMs: 400 * 24 * 3_600_000 },
    ]);
    expectSame(await valuesOf(store, [long, longer]), [long, longer]);
  });

  test('a value that the server has no room for is an error, and the connection goes on', async () => {
    const server = await start(['-I', '32k', '-o', 'slab_chunk_max=16384']);
    const store = open([server]);
    await store.ready();
    const [big, small] = [ownKey('big'), ownKey('small')];
    await expectFault(
      () =>
        store.write([
          { key: big, value: Buffer.alloc(60_000) },
          { key: small, value: small },
        ]),
      'STORE_FAULTY',
    );
    expectSame(await valuesOf(store, [big, small]), [undefined, small]);
  });

  test('more calls than it may have under way are refused, the others answered', async () => {
    const server = await start();
    const store = new MemcachedStore({ servers: [server], now: Date.now, limits: { callsInFlightMax: 10 } });
    closers.push(() => store.close());
    await store.ready();
    const outcomes = await Promise.allSettled(Array.from({ length: 30 }, () => valuesOf(store, [ownKey('k')])));
    const codes = outcomes.map((each) => (each.status === 'rejected' ? codeOf(each.reason) : 'answered'));
    expect(codes.filter((code) => code === 'answered').length).toBe(10);
    expect(codes.filter((code) => code === 'STORE_BUSY').length).toBe(20);
  });
});

const strangers: [string, Talk][] = [
  ['garbage', (socket) => socket.on('data', () => socket.write(Buffer.alloc(500, 0xfe)))],
  ['another protocol', (socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')],
  ['an old Memcached', (socket) => socket.on('data', () => socket.write('ERROR\r\n'))],
];
test.each(strangers)('%s instead of a greeting is STORE_FAULTY, with the address', async (_, talk) => {
  const server = await listen(talk);
  const store = open([server]);
  await expectFault(() => store.ready(), 'STORE_FAULTY');
  await expect(store.ready()).rejects.toThrow(`127.0.0.1:${server.port}`);
});

test('garbage in the middle rejects what is under way, and the next connection is clean', async () => {
  let isWell = false;
  const server = await listen((socket) => {
    let isGreeted = false;
    socket.on('data', (data) => {
      if (!isGreeted) socket.write('MN\r\n');
      else if (isWell) socket.write(`VA 2 ${/O\d+/u.exec(data.toString())?.[0]}\r\nok\r\nMN\r\n`);
      else socket.write('VA 2 O0\r\nok\r\nVA 999999 nonsense\r\n');
      isGreeted = true;
    });
  });
  const store = open([server]);
  await store.ready().catch(() => undefined);
  const key = ownKey('k');
  await until(async () => (await faultOf(() => valuesOf(store, [key]))) === 'STORE_FAULTY', 'the garbage is noticed');
  isWell = true;
  await until(async () => (await faultOf(() => valuesOf(store, [key]))) === undefined, 'it is well again');
});

test('an answer that nobody asked for is not believed', async () => {
  const server = await listen((socket) => {
    let isGreeted = false;
    socket.on('data', () => {
      socket.write(isGreeted ? 'VA 2 O7777\r\nok\r\nMN\r\n' : 'MN\r\n');
      isGreeted = true;
    });
  });
  const store = open([server]);
  await until(async () => (await faultOf(() => valuesOf(store, [ownKey('k')]))) === 'STORE_FAULTY', 'it is refused');
});

test('a server that is away is tried again with growing waits, not in a storm', async () => {
  const server = await listen((socket) => void socket.destroy());
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
  closers.push(() => Promise.resolve(vi.useRealTimers()));
  let planned = 0;
  const random = (): number => {
    planned++;
    return 1;
  };
  const store = new MemcachedStore({
    servers: [server],
    now: Date.now,
    random,
    limits: { ...limits, reconnectMsMax: 400 },
  });
  closers.push(() => store.close());
  const waits: number[] = [];
  for (let attempt = 1; attempt <= 5; attempt++) {
    await until(() => planned === attempt, `attempt ${attempt} has failed and the next is planned`);
    expect([vi.getTimerCount(), server.connections()]).toEqual([1, attempt]);
    const before = Date.now();
    vi.advanceTimersToNextTimer();
    waits.push(Date.now() - before);
  }
  expect(waits).toEqual([50, 100, 200, 400, 400]);
  await until(() => planned === 6, 'the last attempt has failed');
  await store.close();
  expect(vi.getTimerCount()).toBe(0);
});

test('more copies than servers, or no server, is an invalid address', async () => {
  await expectFault(() => new MemcachedStore({ servers: [], now: Date.now }), 'STORE_ADDRESS_INVALID');
  await expectFault(
    () => new MemcachedStore({ servers: [{ host: 'a', port: 1 }], copyCount: 2, now: Date.now }),
    'STORE_ADDRESS_INVALID',
  );
});

import { execFile, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { RedisClusterStore } from '#embeddings/stores/redis-cluster-store.ts';
import type { RedisAccess } from '#embeddings/stores/redis-options.ts';
import type { ServerNode } from '#embeddings/stores/server-node.ts';
import { RedisStore } from '#embeddings/stores/redis-store.ts';
import type { StoreError } from '#embeddings/stores/store-errors.ts';
import type { KeyValueStore } from '#embeddings/stores/store.ts';
import { type RedisServer, startRedis } from '../../services/redis.ts';
import { freePort } from '../../services/server-process.ts';
import { redisServerPath } from '../../support/services.ts';
import { until } from '../../support/until.ts';
import { expectFault, expectSame, ownKey, valuesOf } from './store.contract.ts';

const command = redisServerPath();
/** Short enough to wait for; long enough for a server of the tests that gets no turn for a while. */
const limits = { connectMs: 1500, answerMs: 800, reconnectMsMax: 200 };

function storeAt(nodes: readonly ServerNode[], access: RedisAccess = {}): RedisStore {
  return new RedisStore({ kind: 'redis', shards: [{ name: 'only', copies: nodes }], access, limits });
}

async function faultOf(call: () => unknown): Promise<StoreError> {
  try {
    await call();
  } catch (error) {
    return error as StoreError;
  }
  throw new Error('it went well');
}

describe.skipIf(command === undefined)('a Redis that lets nobody in', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis(command!, { password: 'opensesame' });
    await server.call('ACL', 'SETUSER', 'reader', 'on', '>readerpass', '~*', '+@read', '+@connection');
  });
  afterAll(() => server.end());

  test('a wrong password and a missing one are STORE_REFUSED, which names the address and not the password', async () => {
    for (const access of [{ password: 'wrong-one' }, {}, { username: 'nobody', password: 'wrong-one' }]) {
      const store = storeAt([server], access);
      const fault = await faultOf(() => store.ready());
      expect(fault.code).toBe('STORE_REFUSED');
      expect(fault.message).toContain(server.name);
      expect(fault.message).not.toContain('wrong-one');
      await expectFault(() => store.read(0, 0, [Buffer.from('key')]), 'STORE_REFUSED');
      await store.close();
    }
  });

  test('the right one opens; a user who may only read is refused when he writes', async () => {
    const owner = storeAt([server], { password: 'opensesame' });
    await owner.ready();
    const key = ownKey('secret');
    await owner.write([{ key, value: key }]);
    const reader = storeAt([server], { username: 'reader', password: 'readerpass' });
    await reader.ready();
    expectSame(await valuesOf(reader, [key]), [key]);
    await expectFault(() => reader.write([{ key, value: key }]), 'STORE_REFUSED');
    await Promise.all([owner.close(), reader.close()]);
  });

  test('a database that is not there is said to be so, and never another one used', async () => {
    const store = storeAt([server], { password: 'opensesame', db: 99 });
    const fault = await faultOf(() => store.ready());
    expect(fault.code).toBe('STORE_ADDRESS_INVALID');
    expect((await faultOf(() => store.read(0, 0, [Buffer.from('key')]))).code).not.toBe('STORE_FAULTY');
    await store.close();
  });

  test('a Redis that is no cluster is said to be none', async () => {
    const seeds = [server];
    const store = new RedisClusterStore({ kind: 'redis-cluster', seeds, access: { password: 'opensesame' }, limits });
    const fault = await faultOf(() => store.ready());
    expect([fault.code, fault.message]).toEqual(['STORE_ADDRESS_INVALID', expect.stringContaining(server.name)]);
    await expect(store.close()).resolves.toBeUndefined();
  });

  test('databases are apart', async () => {
    const [zero, three] = [
      storeAt([server], { password: 'opensesame' }),
      storeAt([server], { password: 'opensesame', db: 3 }),
    ];
    await Promise.all([zero.ready(), three.ready()]);
    const key = ownKey('apart');
    await three.write([{ key, value: key }]);
    expectSame([...(await valuesOf(zero, [key])), ...(await valuesOf(three, [key]))], [undefined, key]);
    await Promise.all([zero.close(), three.close()]);
  });
});

describe.skipIf(command === undefined)('a Redis over TLS', () => {
  let server: RedisServer;
  let folder: string;
  let ca: Buffer;
  let node: ServerNode;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gavelin-tls-'));
    const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')];
    const words = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
    words.push('-keyout', key, '-out', certificate, '-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1');
    await promisify(execFile)('openssl', words);
    ca = await readFile(certificate);
    node = { host: '127.0.0.1', port: await freePort() };
    const files = ['--tls-cert-file', certificate, '--tls-key-file', key, '--tls-auth-clients', 'no'];
    server = await startRedis(command!, { args: ['--tls-port', String(node.port), ...files] });
  });
  afterAll(async () => {
    await server.end();
    await rm(folder, { recursive: true });
  });

  test('who knows the certificate is served', async () => {
    const store = storeAt([node], { tls: { ca } });
    await store.ready();
    const key = ownKey('over TLS');
    const value = Buffer.alloc(50_000, 'long');
    await store.write([{ key, value }]);
    expectSame(await valuesOf(store, [key, ownKey('absent')]), [value, undefined]);
    await store.close();
  });

  test('who does not is told why, and so is who speaks plainly', async () => {
    const stranger = storeAt([node], { tls: {} });
    const fault = await faultOf(() => stranger.ready());
    expect([fault.code, fault.message]).toEqual(['STORE_FAULTY', expect.stringMatching(/self-signed certificate/u)]);
    const plain = storeAt([node]);
    expect((await faultOf(() => plain.ready())).code).toMatch(/^STORE_(?:FAULTY|UNREACHABLE)$/u);
    await Promise.all([stranger.close(), plain.close()]);
  });
});

describe.skipIf(command === undefined)('a Redis that falls, hangs and comes back', () => {
  let server: RedisServer;
  beforeEach(async () => {
    server = await startRedis(command!);
  });
  afterEach(() => server.end());

  test('killed, everything under way is rejected and new calls fail at once; started again, it is found', async () => {
    const store = storeAt([server]);
    await store.ready();
    server.process.stop();
    const underWay = Array.from({ length: 50 }, (_, index) => store.read(0, 0, [ownKey(String(index))]));
    const settled = Promise.allSettled(underWay);
    await server.process.kill();
    const codes = (await settled).map((each) =>
      each.status === 'rejected' ? (each.reason as StoreError).code : 'answered',
    );
    expect([...new Set(codes)]).toEqual(['STORE_UNREACHABLE']);
    await expectFault(() => store.read(0, 0, [ownKey('down')]), 'STORE_UNREACHABLE');
    await expectFault(() => store.ready(), 'STORE_UNREACHABLE');
    await server.process.startAgain();
    const key = ownKey('again');
    await until(
      () =>
        store.write([{ key, value: key }]).then(
          () => true,
          () => false,
        ),
      'it can be written to again',
    );
    expectSame(await valuesOf(store, [key]), [key]);
    await store.append(ownKey('list'), Buffer.from('r'), 1, 10_000);
    await store.close();
  });

  test('stopped, it holds nobody for longer than the limit; woken, it answers again', async () => {
    const store = storeAt([server]);
    await store.ready();
    const key = ownKey('before');
    await store.write([{ key, value: key }]);
    server.process.stop();
    const faults = await Promise.all([
      faultOf(() => store.read(0, 0, [key])),
      faultOf(() => store.write([{ key, value: key }])),
      faultOf(() => store.append(ownKey('list'), Buffer.from('r'), 1, 10_000)),
    ]);
    expect(faults.map(({ code }) => code)).toEqual(['STORE_TIMEOUT', 'STORE_TIMEOUT', 'STORE_TIMEOUT']);
    // The kernel takes the new connection in the stopped server's place; nothing comes of it.
    const later = await faultOf(() => store.ready());
    expect(['STORE_TIMEOUT', 'STORE_UNREACHABLE']).toContain(later.code);
    server.process.resume();
    await until(
      () =>
        store.read(0, 0, [key]).then(
          ([value]) => value?.equals(key) === true,
          () => false,
        ),
      'it answers again',
    );
    await store.close();
  });

  test('other shards do not notice', async () => {
    const other = await startRedis(command!);
    const shards = [server, other].map((each, index) => ({ name: String(index), copies: [each] }));
    const store = new RedisStore({ kind: 'redis', shards, limits });
    await store.ready();
    server.process.stop();
    const hanging = faultOf(() => store.read(0, 0, [ownKey('hangs')]));
    for (let round = 0; round < 20; round++) expectSame(await store.read(1, 0, [ownKey('fine')]), [undefined]);
    expect((await hanging).code).toBe('STORE_TIMEOUT');
    expectSame(await store.read(1, 0, [ownKey('fine')]), [undefined]);
    await store.close();
    await other.end();
  });

  test('more calls than allowed are refused at once, and those before are answered', async () => {
    const store = new RedisStore({
      kind: 'redis',
      shards: [{ name: 'only', copies: [server] }],
      limits: { ...limits, commandsInFlightMax: 10 },
    });
    await store.ready();
    const outcomes = await Promise.allSettled(Array.from({ length: 15 }, () => store.read(0, 0, [ownKey('busy')])));
    const codes = outcomes.map((each) => (each.status === 'rejected' ? (each.reason as StoreError).code : 'answered'));
    expect(codes).toEqual([
      ...Array.from({ length: 10 }, () => 'answered'),
      ...Array.from({ length: 5 }, () => 'STORE_BUSY'),
    ]);
    expectSame(await store.read(0, 0, [ownKey('busy')]), [undefined]);
    await store.close();
  });

  test('a replica that was made primary is found, and written to', async () => {
    const replica = await startRedis(command!, { replicaOf: server });
    const store = storeAt([server, replica]);
    await store.ready();
    const key = ownKey('kept');
    await store.write([{ key, value: key }]);
    await server.untilCopied();
    await server.process.kill();
    expectSame(await valuesOf(store, [key], 1), [key]);
    await replica.call('REPLICAOF', 'NO', 'ONE');
    await until(
      () =>
        store.write([{ key: ownKey('new'), value: key }]).then(
          () => true,
          () => false,
        ),
      'the new primary is written to',
    );
    expect(store.copyName(0, 0)).toBe(replica.name);
    expectSame(await valuesOf(store, [key, ownKey('new')]), [key, key]);
    await store.close();
    await replica.end();
  });

  test('a primary made a replica refuses a write, and the other is found', async () => {
    const second = await startRedis(command!, { replicaOf: server });
    const store = storeAt([server, second]);
    await store.ready();
    await second.call('REPLICAOF', 'NO', 'ONE');
    await server.call('REPLICAOF', second.host, second.port);
    const key = ownKey('turned');
    await until(
      () =>
        store.write([{ key, value: key }]).then(
          () => true,
          () => false,
        ),
      'the write finds the new primary',
    );
    expect(store.copyName(0, 0)).toBe(second.name);
    await store.close();
    await second.end();
  });

  test.each(['redis', 'redis-cluster'])(
    'a process that closes its %s store ends by itself, the server stopped or not',
    async (kind) => {
      expect(await endOfChild(kind, server, false)).toBe(0);
      expect(await endOfChild(kind, server, true)).toBe(0);
    },
  );
});

describe('a Redis that is none', () => {
  test('a wrong address is STORE_UNREACHABLE and named', async () => {
    const port = await freePort();
    const single = storeAt([{ host: '127.0.0.1', port }]);
    const cluster = new RedisClusterStore({ kind: 'redis-cluster', seeds: [{ host: '127.0.0.1', port }], limits });
    for (const store of [single, cluster] as KeyValueStore[]) {
      const fault = await faultOf(() => store.ready());
      expect(fault.code).toBe('STORE_UNREACHABLE');
      expect(fault.message).toContain(`127.0.0.1:${port}`);
      await expectFault(() => store.read(0, 0, [Buffer.from('key')]), 'STORE_UNREACHABLE');
      await expectFault(
        () => store.write([{ key: Buffer.from('key'), value: Buffer.from('value') }]),
        'STORE_UNREACHABLE',
      );
      await store.close();
    }
  });

  test.each([
    ['rubbish', (socket: Socket) => socket.write(Buffer.from([0, 1, 2, 255, 13, 10, 42, 57, 13, 10]))],
    ['HTTP', (socket: Socket) => socket.write('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n')],
    ['the end of the connection', (socket: Socket) => socket.end()],
    ['a reset', (socket: Socket) => socket.resetAndDestroy()],
    ['nothing', () => {}],
    ['half an answer', (socket: Socket) => socket.write('$1000\r\nabc')],
    ['far too many answers', (socket: Socket) => socket.write('+OK\r\n'.repeat(1000))],
  ])('a server that answers with %s is an error for whoever asks, and no more than that', async (_what, answer) => {
    const { server, port } = await listening((socket) => socket.on('data', () => answer(socket)));
    for (const store of [
      storeAt([{ host: '127.0.0.1', port }]),
      new RedisClusterStore({ kind: 'redis-cluster', seeds: [{ host: '127.0.0.1', port }], limits }),
    ]) {
      const fault = await faultOf(() => store.ready());
      expect(fault.code).toMatch(/^STORE_(?:UNREACHABLE|FAULTY|TIMEOUT)$/u);
      expect((await faultOf(() => store.read(0, 0, [Buffer.from('key')]))).code).toMatch(
        /^STORE_(?:UNREACHABLE|FAULTY|TIMEOUT)$/u,
      );
      await store.close();
    }
    await ended(server);
  });

  test('a server that repeats the arguments of a command it does not know: neither password nor key is passed on', async () => {
    const { server, port } = await listening((socket) => {
      socket.on('data', (data) => {
        for (const [name = '', ...args] of commandsOf(data)) {
          const quoted = args.map((each) => `'${each}' `).join('');
          const isUnknown = ['HELLO', 'AUTH', 'MGET', 'SET'].includes(name.toUpperCase());
          socket.write(
            isUnknown ? `-ERR unknown command '${name}', with args beginning with: ${quoted}\r\n` : '+OK\r\n',
          );
        }
      });
    });
    const node = { host: '127.0.0.1', port };
    const key = Buffer.from('user:of-somebody');
    const guarded = storeAt([node], { username: 'gavelin', password: 'opensesame' });
    const open = storeAt([node]);
    await until(
      () =>
        open.ready().then(
          () => true,
          () => false,
        ),
      'it takes our commands',
    );
    const faults = await Promise.all([
      faultOf(() => guarded.ready()),
      faultOf(() => open.read(0, 0, [key])),
      faultOf(() => open.write([{ key, value: Buffer.from('of-somebody, too') }])),
    ]);
    for (const [index, { code, message }] of faults.entries()) {
      expect([code, message]).toEqual(['STORE_FAULTY', expect.stringContaining(`127.0.0.1:${port} says: ERR unknown`)]);
      expect(message).toMatch([/'auth'$/iu, /'mget'$/iu, /'set'$/iu][index]!);
    }
    await Promise.all([guarded.close(), open.close()]);
    await ended(server);
  });

  test('answers that mean nothing, after a good handshake, are STORE_FAULTY', async () => {
    const answers = ['+OK\r\n', '*1\r\n$1\r\nx\r\n', ':5\r\n', '$-1\r\n', '-ERR something\r\n', '*2\r\n:5\r\n$-1\r\n'];
    for (const answer of answers) {
      const { server, port } = await listening((socket) => {
        socket.on('data', (data) => {
          const commands = data.toString('latin1').split('*').length - 1;
          socket.write(data.includes('MGET') ? answer : '+OK\r\n'.repeat(commands));
        });
      });
      const store = storeAt([{ host: '127.0.0.1', port }]);
      await until(
        () =>
          store.ready().then(
            () => true,
            () => false,
          ),
        'it takes our commands',
      );
      expect((await faultOf(() => store.read(0, 0, [Buffer.from('a'), Buffer.from('b')]))).code).toBe('STORE_FAULTY');
      await store.close();
      await ended(server);
    }
  });
});

function listening(welcome: (socket: Socket) => void): Promise<{ server: Server; port: number }> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      socket.on('error', () => socket.destroy());
      welcome(socket);
    });
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve({ server, port: (server.address() as { port: number }).port }));
  });
}

/** The commands in what a client sent: none of them is cut by the end of it. */
function commandsOf(data: Buffer): string[][] {
  const lines = data.toString('latin1').split('\r\n');
  const commands: string[][] = [];
  for (let at = 0; lines[at]?.startsWith('*') === true;) {
    const count = Number(lines[at]!.slice(1));
    commands.push(Array.from({ length: count }, (_, index) => lines[at + 2 * index + 2]!));
    at += 2 * count + 1;
  }
  return commands;
}

function ended(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}

/** Exit code of a process that opens a store, uses it, closes it and has nothing else to do. */
async function endOfChild(kind: string, server: RedisServer, stopped: boolean): Promise<number | null> {
  const child = spawn(
    process.execPath,
    [join(import.meta.dirname, 'redis-close-child.ts'), kind, String(server.port), String(stopped)],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  const code = new Promise<number | null>((resolve) => child.once('exit', resolve));
  if (stopped) {
    child.stdout.once('data', () => server.process.stop());
  }
  const result = await code;
  server.process.resume();
  return result;
}

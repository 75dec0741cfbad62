import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { openStore } from '#embeddings/stores/open-store.ts';
import { storeAddress } from '#embeddings/stores/store-address.ts';
import { StoreError } from '#embeddings/stores/store-errors.ts';
import { expectFault } from './store.contract.ts';

test.each([
  ['memory:', { kind: 'memory' }],
  ['memory:?mib=2', { kind: 'memory', bytesMax: 2_097_152 }],
  ['local:', { kind: 'lmdb' }],
  ['local:/var/lib/gavelin/a b?mib=1', { kind: 'lmdb', path: '/var/lib/gavelin/a b', bytesMax: 1_048_576 }],
  [
    'memcached://one:1,[::1]:2*2.5,three?copies=2',
    {
      kind: 'memcached',
      copyCount: 2,
      servers: [
        { host: 'one', port: 1, weight: 1 },
        { host: '::1', port: 2, weight: 2.5 },
        { host: 'three', port: 11_211, weight: 1 },
      ],
    },
  ],
  [
    'bigtable://my-project/main/features?endpoint=127.0.0.1:8086',
    { kind: 'bigtable', project: 'my-project', instance: 'main', table: 'features', endpoint: '127.0.0.1:8086' },
  ],
  ['bigtable://p/i/t', { kind: 'bigtable', project: 'p', instance: 'i', table: 't' }],
])('reads %s', (text, expected) => {
  expect(storeAddress(text)).toEqual(expected);
});

test('hands Redis to whoever reads its addresses', () => {
  expect(storeAddress('redis://host:1')).toMatchObject({ kind: 'redis' });
  expect(storeAddress('rediss-cluster://host:1')).toMatchObject({ kind: 'redis-cluster' });
});

test.each([
  ['', 'begins with none of'],
  ['/var/lib/gavelin', 'begins with none of'],
  ['http://host', 'begins with none of'],
  ['memory:here', 'names no place'],
  ['memory:?mib=0', 'mib "0"'],
  ['local:/a?mb=1', 'not "mb"'],
  ['memcached:host', '"//" is missing'],
  ['memcached://', 'is no host:port'],
  ['memcached://a:0', 'port "0"'],
  ['memcached://a:70000', 'port "70000"'],
  ['memcached://a*0', 'weights go from'],
  ['memcached://a,b,a', 'twice'],
  ['memcached://a,b?copies=3', 'copies "3": 1 to 2'],
  ['memcached://u:secret@a', 'without user and password'],
  ['bigtable://p/i', 'is no project/instance/table'],
  ['bigtable://p/i/t/x', 'is no project/instance/table'],
  ['bigtable://p/i/t?endpoint=http://x', 'is no host:port'],
])('refuses %s and says why', (text, why) => {
  expect(() => storeAddress(text)).toThrow(StoreError);
  expect(() => storeAddress(text)).toThrow(why);
});

test('whatever is wrong is a STORE_ADDRESS_INVALID that repeats no password', () => {
  const scheme = fc.constantFrom('redis', 'rediss', 'redis-cluster', 'memcached', 'bigtable', 'local', 'memory', 'x');
  fc.assert(
    fc.property(scheme, fc.string(), fc.string(), (name, user, place) => {
      const fault = faultOf(`${name}://${encodeURIComponent(user)}:geheim@${place}`);
      expect(fault === undefined || (fault instanceof StoreError && fault.code === 'STORE_ADDRESS_INVALID')).toBe(true);
      expect(String(fault)).not.toContain('geheim');
    }),
    { numRuns: 500 },
  );
});

test('opens what needs no server', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'gavelin-open-'));
  try {
    await expectFault(() => openStore('local:', { now: Date.now }), 'STORE_ADDRESS_INVALID');
    for (const [text, kind] of [
      ['memory:', 'memory'],
      ['local:', 'lmdb'],
      [`local:${folder}/other`, 'lmdb'],
    ] as const) {
      const store = await openStore(text, { now: Date.now, folder });
      expect(store.kind).toBe(kind);
      await store.ready();
      await store.write([{ key: Buffer.from('k'), value: Buffer.from('v') }]);
      expect((await store.read(0, 0, [Buffer.from('k')]))[0]?.toString()).toBe('v');
      await store.close();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('a client for servers that are not there says so when it is asked, and closes', async () => {
  for (const text of ['memcached://127.0.0.1:1', 'redis://127.0.0.1:1', 'bigtable://p/i/t?endpoint=127.0.0.1:1']) {
    const store = await openStore(text, { now: Date.now });
    await expectFault(() => store.ready(), 'STORE_UNREACHABLE');
    await expect(store.ready()).rejects.toThrow('127.0.0.1:1');
    await store.close();
  }
});

function faultOf(text: string): unknown {
  try {
    storeAddress(text);
    return undefined;
  } catch (error) {
    return error;
  }
}

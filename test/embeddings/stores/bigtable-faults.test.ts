import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type BigtableAddress, createBigtableTable } from '#embeddings/stores/bigtable-client.ts';
import { BigtableStore } from '#embeddings/stores/bigtable-store.ts';
import { type BigtableEmulator, startBigtable } from '../../services/bigtable.ts';
import { DelayProxy } from '../../support/delay-proxy.ts';
import { bigtableEmulatorPath } from '../../support/services.ts';
import { until } from '../../support/until.ts';
import { historyKey, historyPrefix } from './history-keys.ts';
import { codeOf, faultOf, expectFault, expectSame, ownKey, valuesOf } from './store.contract.ts';

const command = bigtableEmulatorPath();
const limits = { answerMs: 400, silenceMs: 800 };

describe.skipIf(command === undefined)('Bigtable behind faults', () => {
  let emulator: BigtableEmulator;
  let proxy: DelayProxy;
  let address: BigtableAddress;
  let store: BigtableStore;
  const key = ownKey('there');

  beforeEach(async () => {
    emulator = await startBigtable(command!);
    proxy = await DelayProxy.start({ host: '127.0.0.1', port: emulator.port });
    address = { project: 'p', instance: 'i', table: 'features', endpoint: `127.0.0.1:${proxy.port}` };
    await createBigtableTable({ ...address, endpoint: emulator.endpoint });
    store = new BigtableStore({ ...address, now: Date.now, limits });
    await until(async () => (await faultOf(() => store.ready())) === undefined, 'it is ready');
    await store.write([{ key, value: key }]);
  });
  afterEach(async () => {
    await store.close();
    await proxy.end();
    await emulator.end();
  });

  const works = async () => (await faultOf(async () => expectSame(await valuesOf(store, [key]), [key]))) === undefined;

  test('delays are waited for, and too long ones given up', { timeout: 60_000 }, async () => {
    proxy.delayMsOf = () => 40;
    expectSame(await valuesOf(store, [key]), [key]);
    proxy.delayMsOf = () => 3000;
    const reads = [valuesOf(store, [key]), valuesOf(store, [key]), allOf(store, Buffer.from('x'))];
    const codes = (await Promise.allSettled(reads)).map((each) =>
      each.status === 'rejected' ? codeOf(each.reason) : 'answered',
    );
    expect(codes).toEqual(['STORE_TIMEOUT', 'STORE_TIMEOUT', 'STORE_TIMEOUT']);
    proxy.delayMsOf = () => 0;
    await until(works, 'it works again');
  });

  test('a connection that died without a word is replaced', { timeout: 60_000 }, async () => {
    proxy.isSilent = true;
    const before = proxy.connectionCount;
    await until(async () => {
      expect(['STORE_TIMEOUT', 'STORE_UNREACHABLE']).toContain(await faultOf(() => valuesOf(store, [key])));
      return proxy.connectionCount > before;
    }, 'it connects anew');
    proxy.isSilent = false;
    await until(works, 'it works again');
  });

  test('cut connections and garbage are faults for whoever waits, and nothing more', { timeout: 60_000 }, async () => {
    proxy.cut();
    await until(works, 'it works after a cut');
    proxy.garbage = Buffer.from('HTTP/1.1 502 Bad Gateway\r\n\r\n');
    expect([undefined, 'STORE_UNREACHABLE', 'STORE_TIMEOUT', 'STORE_FAULTY']).toContain(
      await faultOf(() => valuesOf(store, [key])),
    );
    await until(works, 'it works after garbage');
    proxy.isRefusing = true;
    proxy.cut();
    await until(
      async () => (await faultOf(() => valuesOf(store, [key]))) === 'STORE_UNREACHABLE',
      'it is known to be away',
    );
    proxy.isRefusing = false;
    await until(works, 'it works when it is back');
  });

  test(
    'an emulator that is killed, and one that has lost its tables, are told apart',
    { timeout: 60_000 },
    async () => {
      await emulator.process.kill();
      await until(async () => (await faultOf(() => store.ready())) === 'STORE_UNREACHABLE', 'it is known to be away');
      await expect(store.ready()).rejects.toThrow(address.endpoint);
      await emulator.process.startAgain();
      await until(async () => (await faultOf(() => store.ready())) === 'STORE_FAULTY', 'it is there without the table');
      await expect(store.ready()).rejects.toThrow('features');
      await createBigtableTable({ ...address, endpoint: emulator.endpoint });
      await createBigtableTable({ ...address, endpoint: emulator.endpoint });
      await until(async () => (await faultOf(() => store.ready())) === undefined, 'it is whole again');
    },
  );

  test('closing settles what hangs', { timeout: 60_000 }, async () => {
    proxy.isSilent = true;
    const other = new BigtableStore({ ...address, now: Date.now, limits: { answerMs: 60_000 } });
    const calls = [valuesOf(other, [key]), other.write([{ key, value: key }]), allOf(other, Buffer.from('x'))];
    const settled = Promise.allSettled(calls);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await other.close();
    const codes = (await settled).map((each) => (each.status === 'rejected' ? codeOf(each.reason) : 'answered'));
    expect(codes).toEqual(['STORE_CLOSED', 'STORE_CLOSED', 'STORE_CLOSED']);
  });

  test('reads a history, the latest first, and nothing of a neighbour', async () => {
    const [own, neighbour] = [ownKey('user 1'), ownKey('user 11')];
    const times = Array.from({ length: 30 }, (_, index) => 1_700_000_000_000 + index * 1000);
    const entries = (entity: Buffer) =>
      times.map((timeMs) => ({ key: historyKey(entity, timeMs), value: Buffer.from(String(timeMs)) }));
    await store.write([...entries(own), ...entries(neighbour)]);
    const found = await allOf(store, historyPrefix(own), 5);
    expect(found.map((value) => Number(value.toString()))).toEqual(times.toReversed().slice(0, 5));
  });
});

test('an address where nobody is, is told with the address', async () => {
  const store = new BigtableStore({
    project: 'p',
    instance: 'i',
    table: 't',
    endpoint: '127.0.0.1:1',
    now: Date.now,
    limits,
  });
  await expectFault(() => store.ready(), 'STORE_UNREACHABLE');
  await expect(store.ready()).rejects.toThrow('p/i/t at 127.0.0.1:1');
  await store.close();
});

async function allOf(store: BigtableStore, prefix: Buffer, limit = 100): Promise<Buffer[]> {
  const values: Buffer[] = [];
  for await (const { value } of store.scan(prefix, limit)) values.push(value);
  return values;
}

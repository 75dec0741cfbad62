import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { type BigtableEmulator, startBigtable } from '../services/bigtable.ts';
import { type MemcachedProcess, startMemcached } from '../services/memcached.ts';
import { DelayProxy } from '../support/delay-proxy.ts';
import { expectServiceThrough, startPodOnStores } from '../support/fault-drill.ts';
import type { Pod } from '../support/pod.ts';
import { bigtableEmulatorPath, memcachedPath } from '../support/services.ts';

const memcached = memcachedPath();
const emulator = bigtableEmulatorPath();
const drillMsMax = 120_000;

describe.skipIf(memcached === undefined)('profiles in Memcached', () => {
  let servers: MemcachedProcess[] = [];
  let pod: Pod;

  beforeAll(async () => {
    servers = [await startMemcached(memcached!), await startMemcached(memcached!)];
    pod = await startPodOnStores({
      GAVELIN_STORE_BATCH: `memcached://${servers.map(({ host, port }) => `${host}:${port}`).join(',')}`,
    });
  });

  afterAll(async () => {
    await pod?.stop();
    for (const server of servers) await server.end();
  });

  test(
    'both servers are gone: users are seen by their vectors alone until they are back',
    async () => {
      await expectServiceThrough({
        pod,
        fault: async () => {
          for (const { process } of servers) await process.kill();
        },
        faultMs: 5000,
        mend: async () => {
          for (const { process } of servers) await process.startAgain();
        },
        rungs: { 'vector-only': 0.9, full: 0 },
      });
    },
    drillMsMax,
  );

  test(
    'one of two hangs and wakes: its users are seen by their vectors alone, the others get full service',
    async () => {
      await expectServiceThrough({
        pod,
        fault: async () => servers[0]!.process.stop(),
        faultMs: 5000,
        mend: async () => servers[0]!.process.resume(),
        rungs: { 'vector-only': 0.15, full: 0.15 },
      });
    },
    drillMsMax,
  );
});

describe.skipIf(emulator === undefined)('profiles in Bigtable', () => {
  let server: BigtableEmulator;
  let proxy: DelayProxy;
  let pod: Pod;

  beforeAll(async () => {
    server = await startBigtable(emulator!);
    proxy = await DelayProxy.start({ host: '127.0.0.1', port: server.port });
    pod = await startPodOnStores({
      GAVELIN_STORE_BATCH: `bigtable://drill/drill/profiles?endpoint=127.0.0.1:${proxy.port}`,
    });
  });

  afterAll(async () => {
    await pod?.stop();
    await proxy?.end();
    await server?.end();
  });

  test(
    'the network to it is slow, cut, half open and full of garbage: vectors alone until it is well',
    async () => {
      let network: Promise<void> | undefined;
      await expectServiceThrough({
        pod,
        fault: async () => {
          network = breakOneWayAfterAnother(proxy);
        },
        faultMs: 6000,
        mend: async () => {
          await network;
          proxy.garbage = undefined;
          proxy.isSilent = false;
          proxy.cut();
        },
        rungs: { 'vector-only': 0.9, full: 0 },
      });
    },
    drillMsMax,
  );
});

async function breakOneWayAfterAnother(proxy: DelayProxy): Promise<void> {
  proxy.delayMsOf = () => 400;
  await sleep(1500);
  proxy.delayMsOf = () => 0;
  proxy.isRefusing = true;
  proxy.cut();
  await sleep(1500);
  proxy.isRefusing = false;
  proxy.isSilent = true;
  await sleep(1500);
  proxy.isSilent = false;
  proxy.garbage = Buffer.from('HTTP/1.1 500 no\r\n\r\n\u0000\u0001garbage');
  proxy.cut();
}

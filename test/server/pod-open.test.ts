import { rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { readConfig } from '#server/config.ts';
import { freePort } from '#server/listen-address.ts';
import { startPod } from '#server/pod.ts';
import { makeSmallDemo, smallDataDir } from '../support/small-demo.ts';

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

/** A port that somebody else holds. */
async function takenPort(): Promise<number> {
  const server = createServer();
  servers.push(server);
  await new Promise<void>((settle) => server.listen(0, '127.0.0.1', settle));
  return (server.address() as { port: number }).port;
}

const threadsAlive = (): number =>
  process.getActiveResourcesInfo().filter((kind) => kind === 'MessagePort' || kind === 'Worker').length;

test('a pod whose admin port is taken ends its threads and timers and gives its log and bid port back', async () => {
  const { files, bundle } = await makeSmallDemo();
  const dataDir = smallDataDir();
  const bidPort = await freePort('127.0.0.1', 0);
  const settings = { GAVELIN_DATA_DIR: dataDir, GAVELIN_BID_PORT: String(bidPort) };
  const podFiles = { catalog: files.catalog, users: files.users, bundle, signingKey: join(dataDir, 'signing-key.pem') };
  const timersBefore = process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
  const threadsBefore = threadsAlive();
  const hooks = { log: () => {}, onProgress: () => {}, onHang: () => {} };
  const start = (adminPort: number): ReturnType<typeof startPod> =>
    startPod(readConfig({ ...settings, GAVELIN_ADMIN_PORT: String(adminPort) }), podFiles, hooks);
  await expect(start(await takenPort())).rejects.toThrow(/EADDRINUSE/u);
  expect(threadsAlive()).toBe(threadsBefore);
  expect(process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length).toBeLessThanOrEqual(
    timersBefore,
  );
  await expect(fetch(`http://127.0.0.1:${bidPort}/healthz`)).rejects.toThrow(/fetch failed/u);
  // The same folder and the same port, in the same process: whatever was left over would be in the way.
  const pod = await start(0);
  expect((await fetch(`${pod.bidUrl}/readyz`)).status).toBe(200);
  await pod.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { smallDataDir, smallDemoEnv, startSmallPod } from '../support/small-demo.ts';

const root = resolve(import.meta.dirname, '../..');

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test('serves with demo traffic, drains on SIGTERM and leaves a whole log', async () => {
  const pod = await startSmallPod({ traffic: 40 });
  await expect.poll(() => pod.output).toMatch(/^dashboard: http:\/\/127\.0\.0\.1:\d+\/#token=\S+$/mu);
  await expect
    .poll(async () => (await pod.metrics()).get('gavelin_bids_total') ?? 0, { timeout: 20_000 })
    .toBeGreaterThan(50);
  await expect
    .poll(async () => (await pod.metrics()).get('gavelin_notices_bill_total') ?? 0, { timeout: 20_000 })
    .toBeGreaterThan(10);
  expect((await fetch(`http://127.0.0.1:${pod.bidPort}/readyz`)).status).toBe(200);
  expect(await pod.stop('SIGTERM')).toBe(0);
});

test('SIGTERM to npm ends the whole tree', async () => {
  const dataDir = smallDataDir();
  const npm = spawn('npm', ['start', '--', '--traffic', '20'], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { ...process.env, ...smallDemoEnv, GAVELIN_DATA_DIR: dataDir, GAVELIN_BID_PORT: '0', GAVELIN_ADMIN_PORT: '0' },
  });
  let output = '';
  npm.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  await expect.poll(() => output, { timeout: 60_000 }).toMatch(/^gavelin ready bid=\S+ admin=\S+$/mu);
  const admin = /admin=(\S+)/u.exec(output)![1]!;
  const token = /#token=(\S+)/u.exec(output)![1]!;
  const status = (await (
    await fetch(`${admin}/admin/v1/status`, { headers: { authorization: `Bearer ${token}` } })
  ).json()) as { pid: number };
  expect(isAlive(status.pid)).toBe(true);
  npm.kill('SIGTERM');
  await expect.poll(() => isAlive(status.pid), { timeout: 20_000 }).toBe(false);
  rmSync(dataDir, { recursive: true, force: true });
});

test('a bad setting, a broken catalog and a broken bundle each stop the start with every reason', async () => {
  await expect(startSmallPod({ env: { GAVELIN_HTTP: 'telnet', GAVELIN_ML_BUDGET_MS: '0' } })).rejects.toThrow(
    /GAVELIN_HTTP="telnet"[\s\S]*GAVELIN_ML_BUDGET_MS="0"/u,
  );
  await expect(startSmallPod({ env: { GAVELIN_CATALOG_FILE: resolve(root, 'package.json') } })).rejects.toThrow(
    /catalog/iu,
  );
  await expect(startSmallPod({ env: { GAVELIN_BUNDLE_DIR: root } })).rejects.toThrow(/manifest/iu);
});

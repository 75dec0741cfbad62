import { execFile } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { makeSmallDemo, smallDataDir, smallDemoEnv, startSmallPod } from '../support/small-demo.ts';

const root = resolve(import.meta.dirname, '../..');
const dataDir = smallDataDir();

type Outcome = { readonly code: number; readonly stdout: string; readonly stderr: string };

function gavelin(...words: string[]): Promise<Outcome> {
  return new Promise((settle) => {
    execFile(
      process.execPath,
      [join(root, 'deploy/gavelin.js'), ...words],
      { env: { ...process.env, ...smallDemoEnv, GAVELIN_DATA_DIR: dataDir }, timeout: 60_000, maxBuffer: 1 << 24 },
      (error, stdout, stderr) => settle({ code: error === null ? 0 : Number(error.code ?? 1), stdout, stderr }),
    );
  });
}

let auctionId = '';
beforeAll(async () => {
  // A log with auctions, wins, bills, views and clicks.
  const pod = await startSmallPod({ dataDir, traffic: 80 });
  await vi.waitUntil(async () => ((await pod.metrics()).get('gavelin_notices_bill_total') ?? 0) > 100, {
    timeout: 30_000,
    interval: 200,
  });
  const overview = (await (await pod.admin('/admin/v1/overview')).json()) as {
    auctions: { auctionId: string; winner: string | null }[];
  };
  auctionId = overview.auctions.find(({ winner }) => winner !== null)!.auctionId;
  await pod.stop();
});
afterAll(() => rmSync(dataDir, { recursive: true, force: true }));

describe('gavelin on the command line', () => {
  test('says what it can do, and does not guess', async () => {
    expect((await gavelin('--help')).stdout).toContain('replay');
    expect(await gavelin('replya')).toMatchObject({ code: 2 });
  });

  test('replays every logged auction to the same winners and prices', async () => {
    const { code, stdout } = await gavelin('replay', '--json');
    const report = JSON.parse(stdout) as Record<string, unknown>;
    expect(report).toMatchObject({ mismatchCount: 0, ledgerMismatchCount: 0 });
    expect(report['auctions']).toBeGreaterThan(100);
    expect(report['sold']).toBeGreaterThan(100);
    expect(code).toBe(0);
  });

  test('explains one auction in English and as JSON', async () => {
    const { code, stdout } = await gavelin('explain', auctionId);
    expect(code).toBe(0);
    expect(stdout).toContain(auctionId);
    const facts = JSON.parse((await gavelin('explain', auctionId, '--json')).stdout) as { imps: unknown[] };
    expect(facts.imps).toHaveLength(1);
    expect(await gavelin('explain', '0123456789abcdef')).toMatchObject({ code: 1 });
    expect(await gavelin('explain', 'nonsense')).toMatchObject({ code: 2 });
  });

  test('verifies a bundle', async () => {
    const { bundle } = await makeSmallDemo();
    const { code, stdout } = await gavelin('bundle', 'verify', bundle);
    expect(code).toBe(0);
    expect(bundle.endsWith((JSON.parse(stdout) as { id: string }).id)).toBe(true);
    expect(await gavelin('bundle', 'verify', root)).toMatchObject({ code: 1 });
  });

  test('serve without a market says what is missing', async () => {
    const { code, stderr } = await gavelin('serve');
    expect(code).toBe(1);
    expect(stderr).toContain('GAVELIN_CATALOG_FILE, GAVELIN_USERS_FILE, GAVELIN_BUNDLE_DIR');
  });

  test('train explains itself', async () => {
    expect((await gavelin('train', '--help')).stdout).toContain('--impressions');
    expect(await gavelin('train')).toMatchObject({ code: 2 });
  });
});

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { seededRandom } from '#inference/seeded-random.ts';
import { readEventLog } from '#training-bridge/event-log-reader.ts';
import { replayLog } from '#training-bridge/replay.ts';

const bidCount = 250;
const kindCount = 6;

function pod(dir: string, life: number): ChildProcess {
  const script = join(import.meta.dirname, 'notice-conservation-child.ts');
  const child = spawn(process.execPath, [script, dir, String(life)], { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  return child;
}

type Line = { budget: number; sums: [available: number, reserved: number, spent: number, over: number] };

test.each([
  ['in one life', 0, 1],
  ['over five lives, four of them ended by kill -9', 4, 2],
  ['over seven lives', 6, 3],
])('what the log says was charged is what the ledger has spent, to the nano, %s', async (_name, kills, seed) => {
  const dir = mkdtempSync(join(tmpdir(), 'gavelin-conservation-'));
  onTestFinished(() => {
    rmSync(dir, { recursive: true, force: true });
  });
  const random = seededRandom(seed);
  for (let life = 0; life < kills; life++) {
    const child = pod(dir, life);
    const closed = once(child, 'close');
    await once(child.stdout!, 'data');
    await sleep(random() * 40);
    child.kill('SIGKILL');
    await closed;
  }
  const last = pod(dir, kills);
  const lines = JSON.parse((await text(last.stdout!)).split('\n')[1]!) as Line[];

  const report = await replayLog(dir);
  expect(report).toMatchObject({
    // Each of the six notices of each bid once, however often and on how many threads it came.
    notices: bidCount * kindCount,
    repeatedNotices: 0,
    ledgerMismatchCount: 0,
    read: { skippedBytes: 0, unfinishedBytes: 0 },
  });
  for (const [lineItem, { budget, sums }] of lines.entries()) {
    const [available, reserved, spent, over] = sums;
    const row = report.ledger.find(({ lineItemId }) => lineItemId === `li${lineItem}`)!;
    expect([spent, over]).toEqual([Number(row.chargedNanos), Number(row.overDeliveredNanos)]);
    expect(available + reserved + spent).toBe(budget);
    // The story is only worth telling when budgets run out.
    expect(over).toBeGreaterThan(0);
  }
  let cost = 0n;
  await readEventLog(dir, { notice: ({ kind, costNanos }) => void (kind === 'bill' && (cost += BigInt(costNanos))) });
  expect(cost).toBe(report.ledger.reduce((sum, row) => sum + row.costNanos, 0n));
});

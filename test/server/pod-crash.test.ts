import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { replayLog } from '#training-bridge/replay.ts';
import { smallDataDir, startSmallPod } from '../support/small-demo.ts';

type Spend = {
  readonly total: { readonly spent_nanos: string };
  readonly line_items: readonly Readonly<
    Record<'id' | 'budget_nanos' | 'available_nanos' | 'reserved_nanos' | 'spent_nanos' | 'adjustment_nanos', string>
  >[];
};

const request = (id: string): unknown => ({
  id,
  tmax: 1000,
  imp: [{ id: '1', banner: { w: 300, h: 250 } }],
  site: { domain: 'crash.example' },
  device: { geo: { country: 'USA' } },
  user: { id: 'u000007' },
});

async function spend(pod: Awaited<ReturnType<typeof startSmallPod>>): Promise<Spend> {
  return (await (await pod.admin('/admin/v1/spend')).json()) as Spend;
}

test('after kill -9 every acknowledged bill is still charged once, the rest of the budgets is there, and the log replays', async () => {
  const dataDir = smallDataDir();
  const first = await startSmallPod({ dataDir });
  const bills: string[] = [];
  let acknowledged = 0;
  for (let round = 0; round < 60; round++) {
    const answer = await first.bid(request(`crash-${round}`));
    if (answer.status !== 200) continue;
    const { seatbid } = (await answer.json()) as { seatbid: { bid: { price: number; burl: string }[] }[] };
    const { price, burl } = seatbid[0]!.bid[0]!;
    bills.push(burl.replace('${AUCTION_PRICE}', String(price)).replace('${AUCTION_CURRENCY}', 'USD'));
    if (round % 2 === 0 && (await fetch(bills.at(-1)!)).status === 204) acknowledged++;
  }
  expect(acknowledged).toBeGreaterThan(20);
  // Auctions, unlike what is owed, reach the log up to a tenth of a second later: those of the last moment may go with the process.
  const logged = async (): Promise<boolean> => {
    const metrics = await first.metrics();
    return metrics.get('gavelin_log_auctions_total')! >= metrics.get('gavelin_auctions_total')!;
  };
  await expect.poll(logged, { timeout: 5000 }).toBe(true);
  const before = await spend(first);
  const unanswered = bills.slice(-5).map((bill) => fetch(bill).catch(() => undefined));
  await first.stop('SIGKILL');
  await Promise.all(unanswered);

  const second = await startSmallPod({ dataDir });
  const after = await spend(second);
  expect(BigInt(after.total.spent_nanos)).toBeGreaterThanOrEqual(BigInt(before.total.spent_nanos));
  for (const line of after.line_items) {
    const sum = BigInt(line.available_nanos) + BigInt(line.reserved_nanos) + BigInt(line.spent_nanos);
    expect(sum).toBe(BigInt(line.budget_nanos) + BigInt(line.adjustment_nanos));
    expect(BigInt(line.available_nanos)).toBeGreaterThanOrEqual(0n);
  }
  // Every bill comes again, as senders do: what was charged stays charged once.
  const port = (bill: string): string => bill.replace(/127\.0\.0\.1:\d+/u, `127.0.0.1:${second.bidPort}`);
  for (const bill of bills.filter((_, index) => index % 2 === 0)) expect((await fetch(port(bill))).status).toBe(204);
  const repeated = (await second.metrics()).get('gavelin_notices_repeated_total') ?? 0;
  expect(repeated).toBeGreaterThanOrEqual(acknowledged);
  await second.stop();
  const replayed = await replayLog(join(dataDir, 'event-log'));
  expect(replayed).toMatchObject({ mismatchCount: 0, ledgerMismatchCount: 0 });
  expect(replayed.sold).toBeGreaterThanOrEqual(acknowledged);
  rmSync(dataDir, { recursive: true, force: true });
});

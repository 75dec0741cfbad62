import { parentPort, workerData } from 'node:worker_threads';
import { BudgetLedger, type LedgerShared } from '#auction/budget-ledger.ts';
import { type SeenShared, SeenNotices } from '#auction/seen-notices.ts';
import { seededRandom } from '#inference/seeded-random.ts';

export type StressOrder = {
  readonly ledger: LedgerShared;
  readonly seen: SeenShared;
  readonly seed: number;
  readonly lineItems: number;
  readonly rounds: number;
  /** Every thread gets the same bills to deliver, beside its own traffic. */
  readonly sharedBillCount: number;
};
export type StressResult = { readonly charged: readonly bigint[]; readonly firstDeliveries: number };

/** One thread of notices and bids: reserves, settles early, late, twice and with foreign handles, releases, expires. */
function run({
  ledger: ledgerShared,
  seen: seenShared,
  seed,
  lineItems,
  rounds,
  sharedBillCount,
}: StressOrder): StressResult {
  const ledger = new BudgetLedger(ledgerShared);
  const seen = new SeenNotices(seenShared);
  const random = seededRandom(seed);
  const charged = Array.from({ length: lineItems }, () => 0n);
  const held: { lineItem: number; handle: number; generation: number }[] = [];
  const settle = (lineItem: number, price: number, handle: number, generation: number): void => {
    ledger.settle(lineItem, price, handle, generation);
    charged[lineItem]! += BigInt(ledger.chargedNanos);
  };
  let firstDeliveries = 0;
  for (let round = 0; round < rounds; round++) {
    const lineItem = Math.floor(random() * lineItems);
    const price = Math.floor(random() * 3000);
    const bid = held[Math.floor(random() * held.length)];
    const draw = random();
    if (draw < 0.4) {
      const handle = ledger.reserve(lineItem, price, round + Math.floor(random() * 500));
      if (handle >= 0) held.push({ lineItem, handle, generation: ledger.generationOf(handle) });
      if (held.length > 200) held.shift();
    } else if (draw < 0.65 && bid !== undefined) {
      // What has been settled stays in the list: later draws repeat it, late.
      settle(bid.lineItem, price, bid.handle, bid.generation);
    } else if (draw < 0.75 && bid !== undefined) ledger.release(bid.handle, bid.generation);
    else if (draw < 0.8) settle(lineItem, price, -1, 0);
    else if (draw < 0.85) settle(lineItem, price, Math.floor(random() * 2000), Math.floor(random() * 100) * 4 + 2);
    else if (draw < 0.9) ledger.expectSpend(lineItem, price);
    else if (draw < 0.92) ledger.expire(round);
    else if (draw < 0.95) ledger.expireOldest(round);
    else {
      const bill = Math.floor(random() * sharedBillCount);
      if (seen.add(7, bill, 1e9, 0)) firstDeliveries++;
    }
  }
  for (let bill = 0; bill < sharedBillCount; bill++) if (seen.add(7, bill, 1e9, 0)) firstDeliveries++;
  return { charged, firstDeliveries };
}

parentPort!.postMessage(run(workerData as StressOrder));

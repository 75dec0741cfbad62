import { once } from 'node:events';
import { writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { BudgetLedger } from '#auction/budget-ledger.ts';
import { FrequencyCaps } from '#auction/frequency-caps.ts';
import { SeenNotices } from '#auction/seen-notices.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import type { NoticeClaims } from '#server/notice-claims.ts';
import { EventLog } from '#training-bridge/event-log.ts';
import type { ConservationWork } from './notice-conservation-worker.ts';

/**
 * A pod that sells the same bids in each of its lives: takes back what the log says, hears of all notices on two threads, and
 * prints the ledger when all are settled, unless somebody kills it before.
 */
const [dir = '', life = '0'] = process.argv.slice(2);
const nowMs = Date.UTC(2026, 4, 17, 12);
const bidCount = 250;
/** Of CPM, CPC and CPA: each runs out before its bids do. */
const budgetsNanos = [15_000_000, 1_000_000_000, 2_000_000_000];
const amountsNanos = [1_000_000, 40_000_000, 90_000_000];

const log = await EventLog.open(dir, {
  now: () => nowMs,
  limits: { syncMsMin: 1, segmentBytesMax: 20_000 },
  onFault: (fault) => {
    throw new Error(fault);
  },
});
const ledgerShared = BudgetLedger.allocate(3, 1024, Number(life));
const ledger = new BudgetLedger(ledgerShared);
const seenShared = SeenNotices.allocate(65_536);
const seen = new SeenNotices(seenShared);
for (const [lineItem, budget] of budgetsNanos.entries()) {
  ledger.setBudget(lineItem, budget);
  const charged = log.recovered.charges.get(`li${lineItem}`);
  ledger.restore(lineItem, charged?.chargedNanos ?? 0n, charged?.overDeliveredNanos ?? 0n);
}
log.recovered.forEachNoticeId((high, low, expiresMs) => void seen.add(high, low, expiresMs, nowMs));

const random = seededRandom(99);
const claims: NoticeClaims[] = [];
for (let bid = 0; bid < bidCount; bid++) {
  const priceType = Math.floor(random() * 3) as 0 | 1 | 2;
  const chargeNanos = Math.ceil(random() * amountsNanos[priceType]!);
  // Some expire before their bill comes: those are late.
  const expiresMs = nowMs + (random() < 0.3 ? -1 : 60_000);
  const handle = priceType === 0 ? ledger.reserve(0, chargeNanos, expiresMs) : -1;
  claims.push({
    auctionHigh: 1,
    auctionLow: bid,
    impIndex: bid % 3,
    adId: `ad${priceType}`,
    priceType,
    bidNanos: priceType === 0 ? chargeNanos : 500_000,
    chargeNanos,
    clickQ30: 1,
    reservationHandle: handle,
    reservationGeneration: handle < 0 ? 0 : ledger.generationOf(handle),
    reservedNanos: handle < 0 ? 0 : chargeNanos,
    userHashHigh: bid % 7,
    userHashLow: 5,
    siteKey: 0,
    interest: 0,
    issuedAtMs: nowMs,
    isTest: false,
    currency: 'USD',
    clickUrl: '',
  });
}
ledger.expire(nowMs);
const caps = FrequencyCaps.allocate();
const workers = [1, 2].map((thread) => {
  const work: ConservationWork = {
    ledger: ledgerShared,
    seen: seenShared,
    caps,
    channel: log.openChannel(),
    claims,
    nowMs,
    seed: Number(life) * 10 + thread,
  };
  return new Worker(new URL('notice-conservation-worker.ts', import.meta.url), { workerData: work });
});
writeSync(1, 'selling\n');
await Promise.all(workers.map((worker) => once(worker, 'message')));
await log.close();
const lines = budgetsNanos.map((budget, lineItem) => {
  const { availableNanos, reservedNanos, spentNanos, overDeliveredNanos } = ledger.snapshot(lineItem);
  return { budget, sums: [availableNanos, reservedNanos, spentNanos, overDeliveredNanos].map(Number) };
});
writeSync(1, `${JSON.stringify(lines)}\n`);
process.exit(0);

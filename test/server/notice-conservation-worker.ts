import { setImmediate as turn } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { BudgetLedger, type LedgerShared } from '#auction/budget-ledger.ts';
import { type CapsShared, FrequencyCaps } from '#auction/frequency-caps.ts';
import { SeenNotices, type SeenShared } from '#auction/seen-notices.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import { type NoticeClaims, noticeKinds } from '#server/notice-claims.ts';
import { NoticeSettlement } from '#server/notice-settlement.ts';
import { Telemetry } from '#server/telemetry.ts';
import { LogChannel, type LogChannelShared } from '#training-bridge/log-channel.ts';

/** One serving thread that hears of every bid's notices, in its own order, many of them more than once. */
export type ConservationWork = {
  readonly ledger: LedgerShared;
  readonly seen: SeenShared;
  readonly caps: CapsShared;
  readonly channel: LogChannelShared;
  readonly claims: readonly NoticeClaims[];
  readonly nowMs: number;
  readonly seed: number;
};

const work = workerData as ConservationWork;
const random = seededRandom(work.seed);
const settlement = new NoticeSettlement({
  ledger: new BudgetLedger(work.ledger),
  seen: new SeenNotices(work.seen),
  caps: new FrequencyCaps(work.caps),
  channel: new LogChannel(work.channel, () => performance.now()),
  userEvents: { clicked: () => {} },
  counts: { viewed: () => {}, clicked: () => {}, converted: () => {} },
  onError: (error) => {
    throw error;
  },
  telemetry: new Telemetry(),
  now: () => work.nowMs,
  lineItemOfAd: (adId) => Number(adId.slice(2)),
  lineItemId: (lineItem) => `li${lineItem}`,
  catalog: { liCapWindowMs: new Float64Array(3) },
});

/** Unsettled: refused by the log, or not on disk in time. They come again, as an exchange would send them. */
let queue = work.claims.flatMap((claims) => noticeKinds.map((kind) => ({ kind, claims })));
queue = [...queue, ...queue.filter(() => random() < 0.3)]
  .map((notice) => ({ notice, place: random() }))
  .toSorted((left, right) => left.place - right.place)
  .map(({ notice }) => notice);
while (queue.length > 0) {
  const again: typeof queue = [];
  const waits: Promise<void>[] = [];
  for (const [index, notice] of queue.entries()) {
    const price = { kind: 'price', nanos: Math.floor(random() * 1.2 * notice.claims.bidNanos) } as const;
    const verified = { ...notice, expiresAtMs: work.nowMs + 3_600_000 };
    const { outcome, durable } = settlement.settle(verified, { price, currency: 'USD', lossReason: 0 });
    if (outcome === 'UNLOGGED') again.push(notice);
    else if (durable !== undefined) {
      waits.push(durable.then((result) => void (result === 'DURABLE' || again.push(notice))));
    }
    if (index % 20 === 0) await turn();
  }
  await Promise.all(waits);
  queue = again;
}
parentPort!.postMessage('done');

import { BudgetLedger } from '#auction/budget-ledger.ts';
import { FrequencyCaps } from '#auction/frequency-caps.ts';
import { SeenNotices } from '#auction/seen-notices.ts';
import type { NoticeClaims } from '#server/notice-claims.ts';
import type { NoticeEndpointContext } from '#server/notice-endpoint.ts';
import type { NoticeLog } from '#server/notice-settlement.ts';
import { NoticeSigner } from '#server/notice-tokens.ts';
import { Telemetry } from '#server/telemetry.ts';
import type { DurableOutcome } from '#training-bridge/log-channel.ts';
import type { NoticeRecord } from '#training-bridge/event-records.ts';

export const noonMs = Date.UTC(2026, 4, 17, 12);
export const key = Uint8Array.from({ length: 32 }, (_, index) => index * 7);

export function claimsOf(change: Partial<NoticeClaims> = {}): NoticeClaims {
  return {
    auctionHigh: 0x1234_5678,
    auctionLow: 0x9abc_def0,
    impIndex: 0,
    adId: 'li1.cr1',
    priceType: 0,
    bidNanos: 1_000_000,
    chargeNanos: 1_000_000,
    clickQ30: 21_474_836,
    reservationHandle: -1,
    reservationGeneration: 0,
    reservedNanos: 0,
    userHashHigh: 0,
    userHashLow: 0,
    siteKey: 0,
    interest: 0,
    issuedAtMs: noonMs,
    isTest: false,
    currency: 'USD',
    clickUrl: '',
    ...change,
  };
}

/** A log in memory whose disk answers when it is told to. */
export class MemoryLog implements NoticeLog {
  fault: string | undefined;
  readonly records: NoticeRecord[] = [];
  outcome: DurableOutcome = 'DURABLE';
  /** Resolvers of those who wait, while `holds` is set. */
  holds = false;
  readonly #waiting: (() => void)[] = [];

  writeNotice(notice: NoticeRecord): number | undefined {
    this.records.push({ ...notice });
    return this.records.length;
  }

  onDurable(): Promise<DurableOutcome> {
    return this.holds
      ? new Promise((resolve) => this.#waiting.push(() => resolve(this.outcome)))
      : Promise.resolve(this.outcome);
  }

  onAllDurable(): Promise<DurableOutcome> {
    return this.onDurable();
  }

  letGo(): void {
    this.holds = false;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

export type NoticeWorld = NoticeEndpointContext & {
  readonly ledger: BudgetLedger;
  readonly caps: FrequencyCaps;
  readonly channel: MemoryLog;
  /** Of which the user's window was told. */
  readonly clicks: NoticeClaims[];
  /** What click rates were told. */
  readonly counted: ['view' | 'click' | 'conversion', NoticeClaims][];
  /** What could not be counted. */
  readonly errors: unknown[];
  nowMs: number;
};

/** One ad of one line item with `budgetNanos`, the real ledger, caps and ids, and a log in memory. */
export function noticeWorld(budgetNanos = 1e9): NoticeWorld {
  const ledger = new BudgetLedger(BudgetLedger.allocate(4, 64));
  ledger.setBudget(1, budgetNanos);
  const world: NoticeWorld = {
    signer: new NoticeSigner(key),
    ledger,
    seen: new SeenNotices(SeenNotices.allocate(4096)),
    caps: new FrequencyCaps(FrequencyCaps.allocate()),
    channel: new MemoryLog(),
    userEvents: { clicked: (claims) => world.clicks.push(claims) },
    clicks: [],
    counts: {
      viewed: (claims) => world.counted.push(['view', claims]),
      clicked: (claims) => world.counted.push(['click', claims]),
      converted: (claims) => world.counted.push(['conversion', claims]),
    },
    counted: [],
    onError: (error) => world.errors.push(error),
    errors: [],
    telemetry: new Telemetry(),
    nowMs: noonMs,
    now: () => world.nowMs,
    lineItemOfAd: (adId) => (adId === 'li1.cr1' ? 1 : -1),
    lineItemId: (lineItem) => `li${lineItem}`,
    catalog: { liCapWindowMs: Float64Array.of(0, 3_600_000) },
  };
  return world;
}

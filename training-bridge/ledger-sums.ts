import type { LedgerLine, NoticeRecord } from './event-records.ts';

const dayMs = 24 * 3_600_000;

/** Whole UTC days since the epoch. */
export function dayOf(timeMs: number): number {
  return Math.floor(timeMs / dayMs);
}

export type LedgerSum = {
  chargedNanos: bigint;
  overDeliveredNanos: bigint;
  costNanos: bigint;
  chargeCount: number;
};

/** What notices add up to, per UTC day and line item, exactly. A record may come twice only if its id is checked before. */
export class LedgerSums {
  readonly #days = new Map<number, Map<string, LedgerSum>>();

  add(notice: NoticeRecord): void {
    if (notice.chargedNanos === 0 && notice.overDeliveredNanos === 0 && notice.costNanos === 0) return;
    const sum = this.#sumOf(dayOf(notice.timeMs), notice.lineItemId);
    sum.chargedNanos += BigInt(notice.chargedNanos);
    sum.overDeliveredNanos += BigInt(notice.overDeliveredNanos);
    sum.costNanos += BigInt(notice.costNanos);
    if (notice.chargedNanos > 0) sum.chargeCount++;
  }

  /** A checkpoint knows all that was before it, also what has been deleted since. */
  set(line: LedgerLine): void {
    const sum = this.#sumOf(line.day, line.lineItemId);
    sum.chargedNanos = line.chargedNanos;
    sum.overDeliveredNanos = line.overDeliveredNanos;
    sum.costNanos = line.costNanos;
    sum.chargeCount = line.chargeCount;
  }

  ofDay(day: number): ReadonlyMap<string, Readonly<LedgerSum>> {
    return this.#days.get(day) ?? new Map();
  }

  lines(): LedgerLine[] {
    const lines: LedgerLine[] = [];
    for (const [day, sums] of this.#days) {
      for (const [lineItemId, sum] of sums) lines.push({ lineItemId, day, ...sum });
    }
    return lines;
  }

  /** Bounds the memory: a checkpoint tells of yesterday and today, reports read the log. */
  forgetBefore(day: number): void {
    for (const known of this.#days.keys()) if (known < day) this.#days.delete(known);
  }

  #sumOf(day: number, lineItemId: string): LedgerSum {
    let sums = this.#days.get(day);
    if (sums === undefined) {
      sums = new Map();
      this.#days.set(day, sums);
    }
    let sum = sums.get(lineItemId);
    if (sum === undefined) {
      sum = { chargedNanos: 0n, overDeliveredNanos: 0n, costNanos: 0n, chargeCount: 0 };
      sums.set(lineItemId, sum);
    }
    return sum;
  }
}

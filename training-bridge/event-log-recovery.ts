import type { CheckpointPart } from './event-codec.ts';
import { readEventLog, type ReadSummary } from './event-log-reader.ts';
import { type NoticeRecord, noticeFlags } from './event-records.ts';
import { dayOf, type LedgerSum, LedgerSums } from './ledger-sums.ts';
import { NoticeIdTable } from './notice-id-table.ts';

export type RecoveryLimits = {
  /** Ids beyond this are not kept: 4 M are a week of 7 notices/s, and 160 MB at worst. */
  readonly noticeIdCountMax: number;
  /** The newest views that can be restored, and how far back caps look. */
  readonly viewCountMax: number;
  readonly viewMsMax: number;
};
export const recoveryLimits: RecoveryLimits = {
  noticeIdCountMax: 4_000_000,
  viewCountMax: 1_000_000,
  viewMsMax: 30 * 24 * 3_600_000,
};

/** What a log says about the moment at which it ended: what a process needs to go on as if it had never died. */
export type RecoveredLog = {
  /** Per line item id, for the UTC day of `nowMs`. */
  readonly charges: ReadonlyMap<string, Readonly<LedgerSum>>;
  readonly noticeIdCount: number;
  /** Ids that a repetition could still bear. */
  forEachNoticeId(visit: (high: number, low: number, expiresMs: number) => void): void;
  readonly viewCount: number;
  /** Oldest first. */
  forEachView(visit: (userHashHigh: number, userHashLow: number, lineItemId: string, timeMs: number) => void): void;
  /** Yesterday and today, of all line items: what the next checkpoint says. */
  readonly sums: LedgerSums;
  readonly summary: ReadSummary;
};

/** Reads the notices of a log as of `nowMs`. Checkpoints stand for what was deleted before them; a repeated id counts once. */
export async function recoverEventLog(
  dir: string,
  nowMs: number,
  limits: RecoveryLimits = recoveryLimits,
): Promise<RecoveredLog> {
  const today = dayOf(nowMs);
  const sums = new LedgerSums();
  const ids = new NoticeIdTable(limits.noticeIdCountMax);
  const views = new RecentViews(limits.viewCountMax);
  const oldestViewMs = nowMs - limits.viewMsMax;
  const parts: CheckpointPart[] = [];
  const notice = (record: NoticeRecord): void => {
    const day = dayOf(record.timeMs);
    const isRepeated =
      (record.expiresMs >= nowMs || day >= today - 1) &&
      !ids.add(record.noticeIdHigh, record.noticeIdLow, record.expiresMs);
    if (isRepeated || (record.flags & noticeFlags.test) !== 0) return;
    if (day >= today - 1) sums.add(record);
    if (record.kind === 'view' && record.timeMs >= oldestViewMs) views.add(record);
  };
  const checkpoint = (part: CheckpointPart): void => {
    if (part.part === 0) parts.length = 0;
    if (part.part !== parts.length) return;
    parts.push(part);
    if (parts.length < part.partCount) return;
    for (const { lines } of parts) for (const line of lines) if (line.day >= today - 1) sums.set(line);
    parts.length = 0;
  };
  const summary = await readEventLog(dir, { notice, checkpoint });
  return {
    charges: sums.ofDay(today),
    noticeIdCount: ids.count,
    forEachNoticeId: (visit) => {
      ids.forEach((high, low, expiresMs) => {
        if (expiresMs >= nowMs) visit(high, low, expiresMs);
      });
    },
    viewCount: views.count,
    forEachView: (visit) => views.forEach(visit),
    sums,
    summary,
  };
}

/** The newest views, in a ring of columns that grows up to its bound. */
class RecentViews {
  readonly #countMax: number;
  readonly #lineItems: string[] = [];
  readonly #lineItemNumbers = new Map<string, number>();
  #high = new Uint32Array(1024);
  #low = new Uint32Array(1024);
  #lineItem = new Uint32Array(1024);
  #timeMs = new Float64Array(1024);
  #added = 0;

  constructor(countMax: number) {
    this.#countMax = countMax;
  }

  get count(): number {
    return Math.min(this.#added, this.#countMax);
  }

  add(view: NoticeRecord): void {
    if (view.userHashHigh === 0 && view.userHashLow === 0) return;
    if (this.#added === this.#high.length && this.#added < this.#countMax) this.#grow();
    const at = this.#added % Math.min(this.#high.length, this.#countMax);
    this.#high[at] = view.userHashHigh;
    this.#low[at] = view.userHashLow;
    this.#lineItem[at] = this.#numberOf(view.lineItemId);
    this.#timeMs[at] = view.timeMs;
    this.#added++;
  }

  forEach(visit: (userHashHigh: number, userHashLow: number, lineItemId: string, timeMs: number) => void): void {
    const { count } = this;
    const first = this.#added - count;
    const length = Math.min(this.#high.length, this.#countMax);
    for (let index = 0; index < count; index++) {
      const at = (first + index) % length;
      visit(this.#high[at]!, this.#low[at]!, this.#lineItems[this.#lineItem[at]!]!, this.#timeMs[at]!);
    }
  }

  #numberOf(lineItemId: string): number {
    let number = this.#lineItemNumbers.get(lineItemId);
    if (number === undefined) {
      number = this.#lineItems.push(lineItemId) - 1;
      this.#lineItemNumbers.set(lineItemId, number);
    }
    return number;
  }

  #grow(): void {
    const length = this.#high.length * 2;
    const wider = <Column extends Uint32Array | Float64Array>(from: Column, to: Column): Column => {
      to.set(from);
      return to;
    };
    this.#high = wider(this.#high, new Uint32Array(length));
    this.#low = wider(this.#low, new Uint32Array(length));
    this.#lineItem = wider(this.#lineItem, new Uint32Array(length));
    this.#timeMs = wider(this.#timeMs, new Float64Array(length));
  }
}

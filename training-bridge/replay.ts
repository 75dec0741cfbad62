import { AuctionDecider, type DeciderOptions } from '#auction/auction-decision.ts';
import { AdDictionary } from './ad-dictionary.ts';
import { auctionIdText } from './auction-id-text.ts';
import type { CheckpointPart } from './event-codec.ts';
import { readEventLog, type ReadRange, type ReadSummary } from './event-log-reader.ts';
import { type AuctionDraft, type NoticeRecord, surfaceNumbers } from './event-records.ts';
import { dayOf, type LedgerSum, LedgerSums } from './ledger-sums.ts';
import { NoticeIdTable } from './notice-id-table.ts';

export type ReplayOptions = {
  readonly range?: ReadRange;
  /** As the server was run; left out: its defaults. */
  readonly decider?: DeciderOptions;
  readonly onProgress?: (auctions: number) => void;
};

/** Something that came out differently. `imp` −1: the auction as a whole. */
export type ReplayMismatch = {
  readonly auctionId: string;
  readonly imp: number;
  readonly what: 'winner' | 'price' | 'reason' | 'undecidable';
  readonly logged: number;
  readonly replayed: number;
};

export type LedgerRow = Readonly<LedgerSum> & { readonly lineItemId: string; readonly day: number };

export type ReplayReport = {
  readonly auctions: number;
  readonly imps: number;
  readonly sold: number;
  /** `/v1/predict` asks for probabilities only: nothing was decided. */
  readonly predictions: number;
  /** Imps whose ad was drawn by exploration: the decider did not choose it. */
  readonly explored: number;
  readonly mismatchCount: number;
  /** The first few. */
  readonly mismatches: readonly ReplayMismatch[];
  readonly notices: number;
  readonly repeatedNotices: number;
  /** What notices add up to per line item and UTC day: the rows of every report, exactly. */
  readonly ledger: readonly LedgerRow[];
  /** Lines of checkpoints that say something else than the notices before them. */
  readonly ledgerMismatchCount: number;
  readonly read: ReadSummary;
};

const mismatchesKept = 20;
/** Ids of notices that one replay tells apart: 16 M, 640 MB at worst. */
const noticeIdCountMax = 16_000_000;
const progressEvery = 1000;

/**
 * Runs the log's auctions again from their quantised probabilities and logged verdicts, through the code that decided them, and
 * compares winners, prices and reasons bit for bit; adds up its notices and compares them with its checkpoints. Needs
 * nothing but the log.
 */
export async function replayLog(dir: string, options: ReplayOptions = {}): Promise<ReplayReport> {
  const auctions = new AuctionReplay(options);
  const ledger = new LedgerReplay(options.range?.fromMs === undefined);
  const read = await readEventLog(
    dir,
    {
      dictionary: (rows) => auctions.dictionary.take(rows),
      auction: (draft) => auctions.take(draft),
      notice: (notice) => ledger.take(notice),
      checkpoint: (part) => ledger.check(part),
    },
    options.range,
  );
  return { ...auctions.counts, mismatches: auctions.mismatches, ...ledger.report(), read };
}

class AuctionReplay {
  readonly dictionary = new AdDictionary();
  readonly counts = { auctions: 0, imps: 0, sold: 0, predictions: 0, explored: 0, mismatchCount: 0 };
  readonly mismatches: ReplayMismatch[] = [];
  readonly #decider: AuctionDecider;
  readonly #onProgress: (auctions: number) => void;
  readonly #winners = new Int32Array(64);
  readonly #prices = new Float64Array(64);
  #reasons = new Uint8Array(4096);
  readonly #advertiserOf = (adRow: number): number => this.dictionary.advertiserOf(adRow);

  constructor(options: ReplayOptions) {
    this.#decider = new AuctionDecider(options.decider ?? {});
    this.#onProgress = options.onProgress ?? (() => {});
  }

  take(draft: AuctionDraft): void {
    if (draft.surface === surfaceNumbers.predict) {
      this.counts.predictions++;
      return;
    }
    this.counts.auctions++;
    this.counts.imps += draft.impCount;
    if (this.counts.auctions % progressEvery === 0) this.#onProgress(this.counts.auctions);
    const { impCount, candidateCount } = draft;
    this.#winners.set(draft.impWinner.subarray(0, impCount));
    this.#prices.set(draft.impPriceNanos.subarray(0, impCount));
    if (candidateCount > this.#reasons.length) this.#reasons = new Uint8Array(candidateCount);
    this.#reasons.set(draft.candidateReason.subarray(0, candidateCount));
    try {
      this.#decider.decide(draft, this.#advertiserOf);
    } catch {
      // A setting or mechanism that this code does not know: from a newer writer.
      this.#differs(draft, -1, 'undecidable', draft.mechanism, -1);
      return;
    }
    this.#compare(draft);
  }

  #compare(draft: AuctionDraft): void {
    for (let imp = 0; imp < draft.impCount; imp++) {
      if (draft.impExplored[imp] === 1) {
        this.counts.explored++;
        continue;
      }
      const winner = this.#winners[imp]!;
      if (winner >= 0) this.counts.sold++;
      if (draft.impWinner[imp] !== winner) this.#differs(draft, imp, 'winner', winner, draft.impWinner[imp]!);
      else if (winner >= 0 && draft.impPriceNanos[imp] !== this.#prices[imp]) {
        this.#differs(draft, imp, 'price', this.#prices[imp]!, draft.impPriceNanos[imp]!);
      }
    }
    for (let candidate = 0; candidate < draft.candidateCount; candidate++) {
      const imp = draft.candidateImp[candidate]!;
      if (draft.impExplored[imp] === 1 || draft.candidateReason[candidate] === this.#reasons[candidate]) continue;
      this.#differs(draft, imp, 'reason', this.#reasons[candidate]!, draft.candidateReason[candidate]!);
    }
  }

  #differs(draft: AuctionDraft, imp: number, what: ReplayMismatch['what'], logged: number, replayed: number): void {
    this.counts.mismatchCount++;
    if (this.mismatches.length >= mismatchesKept) return;
    const auctionId = auctionIdText(draft.auctionIdHigh, draft.auctionIdLow);
    this.mismatches.push({ auctionId, imp, what, logged, replayed });
  }
}

class LedgerReplay {
  readonly #sums = new LedgerSums();
  readonly #ids = new NoticeIdTable(noticeIdCountMax);
  /** Only a reading from the beginning has all that a checkpoint adds up. */
  readonly #isWhole: boolean;
  #notices = 0;
  #repeated = 0;
  #mismatches = 0;

  constructor(isWhole: boolean) {
    this.#isWhole = isWhole;
  }

  take(notice: NoticeRecord): void {
    if (this.#ids.add(notice.noticeIdHigh, notice.noticeIdLow, notice.expiresMs)) {
      this.#notices++;
      this.#sums.add(notice);
    } else this.#repeated++;
  }

  /** Before the first notice a checkpoint tells what was deleted; later it must say what the notices say. */
  check(part: CheckpointPart): void {
    if (!this.#isWhole) return;
    for (const line of part.lines) {
      if (this.#notices === 0) {
        this.#sums.set(line);
        continue;
      }
      const sum = this.#sums.ofDay(line.day).get(line.lineItemId);
      const isSame =
        sum !== undefined &&
        sum.chargedNanos === line.chargedNanos &&
        sum.overDeliveredNanos === line.overDeliveredNanos &&
        sum.costNanos === line.costNanos;
      if (!isSame) this.#mismatches++;
    }
  }

  report(): Pick<ReplayReport, 'notices' | 'repeatedNotices' | 'ledger' | 'ledgerMismatchCount'> {
    const ledger = this.#sums
      .lines()
      .toSorted((left, right) => left.day - right.day || (left.lineItemId < right.lineItemId ? -1 : 1));
    return {
      notices: this.#notices,
      repeatedNotices: this.#repeated,
      ledger,
      ledgerMismatchCount: this.#mismatches,
    };
  }
}

/** The rows of one UTC day. */
export function ledgerOfDay(report: ReplayReport, timeMs: number): readonly LedgerRow[] {
  const day = dayOf(timeMs);
  return report.ledger.filter((row) => row.day === day);
}

import { type Catalog } from '#auction/catalog.ts';
import type { CatalogShared, IndexShared } from '#auction/catalog-shared.ts';
import type { CatalogWriter } from '#auction/catalog-writer.ts';
import { idCharsMax } from '#auction/entry-reader.ts';
import { BudgetLedger, type LedgerShared } from '#auction/budget-ledger.ts';
import { ClickRates, type ClickRatesShared } from '#auction/click-rates.ts';
import { type CapsShared, FrequencyCaps, viewWindowMsDefault } from '#auction/frequency-caps.ts';
import { PacingController } from '#auction/pacing-controller.ts';
import { PacingRates, type PacingShared } from '#auction/pacing.ts';
import { SeenNotices, type SeenShared } from '#auction/seen-notices.ts';
import { type IdIndexShared, SharedIdIndex } from '#embeddings/shared-id-index.ts';
import type { RecoveredLog } from '#training-bridge/event-log-recovery.ts';
import type { DictionaryRow } from '#training-bridge/event-records.ts';

/** The market's part of what a serving thread gets. */
export type MarketShared = {
  readonly catalog: CatalogShared;
  readonly index: IndexShared;
  readonly ledger: LedgerShared;
  readonly caps: CapsShared;
  readonly pacing: PacingShared;
  readonly clickRates: ClickRatesShared;
  readonly seen: SeenShared;
  readonly lineItemIds: IdIndexShared;
};

export type MarketOptions = {
  readonly nowMs: number;
  /** Differs between processes: handles of an earlier one must fit no reservation of this one. */
  readonly generationNonce: number;
  /** Live notice ids that are told apart. */
  readonly seenNoticesMax: number;
};

const dayMs = 86_400_000;
/** Of a half-life of a week: each time 0.4 %. */
const decayEveryMs = 3_600_000;
/** The longest id of a line item (ASCII). What is not used is never touched, so it is not resident. */
const lineItemIdBytes = idCharsMax;
/** Rows of withdrawn ads are given to new ads this long after: no request that could see them is under way any more. */
const reclaimMsMin = 60_000;
/**
 * Counts of an ad outlive it, and those that were clicked have another for conversions, so there is room for more than are on sale. 16
 * bytes each, up to the next power of two: twice the ads would be 67 MB for a million where this is 34.
 */
const countRoom = 1.5;
const siteCountMax = 16_384;
const pairCountMax = 262_144;

/**
 * What is sold and what it may cost, on the main thread: catalog, budgets, caps, pacing and the ids of notices, all in shared
 * memory. Ticks once a second; changed by the admin API; restored from the event log at start.
 */
export class PodMarket {
  readonly writer: CatalogWriter;
  readonly ledger: BudgetLedger;
  readonly caps: FrequencyCaps;
  readonly seen: SeenNotices;
  readonly pacingRates: PacingRates;
  readonly clickRates: ClickRates;
  readonly shared: MarketShared;
  readonly #pacing: PacingController;
  readonly #lineItemIds: SharedIdIndex;
  #namedLineItems = 0;
  readonly #absentCharges = new Map<string, { readonly chargedNanos: bigint; readonly overDeliveredNanos: bigint }>();
  #day: number;
  #auctionsBefore = 0;
  #ratesDecayedMs: number;

  constructor(writer: CatalogWriter, { nowMs, generationNonce, seenNoticesMax }: MarketOptions) {
    this.writer = writer;
    const { lineItemCapacity } = writer.catalog;
    const ledger = BudgetLedger.allocate(lineItemCapacity, undefined, generationNonce);
    const caps = FrequencyCaps.allocate();
    const pacing = PacingRates.allocate(lineItemCapacity);
    const clickRates = ClickRates.allocate({
      singles: countRoom * writer.catalog.adCapacity + siteCountMax,
      pairs: pairCountMax,
    });
    const seen = SeenNotices.allocate(seenNoticesMax);
    const lineItemIds = SharedIdIndex.allocate(lineItemCapacity, lineItemCapacity * lineItemIdBytes);
    this.shared = {
      catalog: writer.shared,
      index: writer.indexShared,
      ledger,
      caps,
      pacing,
      clickRates,
      seen,
      lineItemIds,
    };
    this.ledger = new BudgetLedger(ledger);
    this.caps = new FrequencyCaps(caps);
    this.seen = new SeenNotices(seen);
    this.pacingRates = new PacingRates(pacing);
    this.clickRates = new ClickRates(clickRates);
    this.#pacing = new PacingController(this.pacingRates, this.ledger);
    this.#lineItemIds = new SharedIdIndex(lineItemIds);
    this.#day = Math.floor(nowMs / dayMs);
    this.#ratesDecayedMs = nowMs;
    this.ledger.openDay(this.#day);
    this.noteLineItems();
  }

  get catalog(): Catalog {
    return this.writer.catalog;
  }

  /** Names and budgets of line items as the catalog has them now: of all at start, and after each change of those that it touched. */
  noteLineItems(changed?: Iterable<number>): void {
    const { lineItemCount, liBudgetNanos } = this.catalog;
    const firstNew = this.#namedLineItems;
    for (; this.#namedLineItems < lineItemCount; this.#namedLineItems++) {
      this.#lineItemIds.set(this.catalog.lineItemId(this.#namedLineItems), this.#namedLineItems);
    }
    for (let lineItem = changed === undefined ? 0 : firstNew; lineItem < lineItemCount; lineItem++) {
      this.ledger.setBudget(lineItem, liBudgetNanos[lineItem]!);
    }
    for (const lineItem of changed ?? []) this.ledger.setBudget(lineItem, liBudgetNanos[lineItem]!);
    if (this.#namedLineItems > firstNew || changed === undefined) this.#restoreAbsent();
  }

  /** Charges of today for line items that are known by now: whoever comes back today has spent what he has spent. */
  #restoreAbsent(): void {
    for (const [id, { chargedNanos, overDeliveredNanos }] of this.#absentCharges) {
      const lineItem = this.writer.lineItemOf(id);
      if (lineItem < 0) continue;
      this.ledger.restore(lineItem, chargedNanos, overDeliveredNanos);
      this.#absentCharges.delete(id);
    }
  }

  /**
   * What the log says of today: charges, notices that may still be repeated, views. Charges of line items that are not in the
   * catalog wait for them until the day ends; their views are gone.
   */
  restore(log: RecoveredLog, nowMs: number): { chargedLineItems: number; notices: number; views: number } {
    let chargedLineItems = 0;
    for (const [id, sum] of log.charges) {
      this.#absentCharges.set(id, { chargedNanos: sum.chargedNanos, overDeliveredNanos: sum.overDeliveredNanos });
      chargedLineItems++;
    }
    this.#restoreAbsent();
    log.forEachNoticeId((high, low, expiresMs) => this.seen.add(high, low, expiresMs, nowMs));
    log.forEachView((high, low, lineItemId, timeMs) => {
      const lineItem = this.writer.lineItemOf(lineItemId);
      if (lineItem < 0) return;
      const windowMs = this.catalog.liCapWindowMs[lineItem]! || viewWindowMsDefault;
      if (nowMs - timeMs < windowMs) this.caps.recordView(high, low, lineItem, timeMs, windowMs);
    });
    return { chargedLineItems, notices: log.noticeIdCount, views: log.viewCount };
  }

  /** About once a second. `auctionCount`: auctions since the process started. */
  tick(nowMs: number, auctionCount: number): void {
    const day = Math.floor(nowMs / dayMs);
    if (day > this.#day) {
      this.#day = day;
      this.ledger.startDay(day);
      // What an earlier process charged for line items that are not here is of a day that has ended.
      this.#absentCharges.clear();
    }
    this.ledger.expireOldest(nowMs);
    this.ledger.decayExpected(nowMs);
    const { lineItemCount, liPacesEvenly } = this.catalog;
    this.#pacing.tick(nowMs, lineItemCount, liPacesEvenly, auctionCount - this.#auctionsBefore);
    this.#auctionsBefore = auctionCount;
  }

  /** About once a minute: forgets what has expired, and lets rows of withdrawn ads be used again. */
  tidy(nowMs: number): void {
    this.ledger.expire(nowMs);
    this.seen.sweep(nowMs);
    this.writer.reclaim(nowMs, reclaimMsMin);
    if (nowMs - this.#ratesDecayedMs < decayEveryMs) return;
    this.clickRates.decay(nowMs - this.#ratesDecayedMs);
    this.#ratesDecayedMs = nowMs;
  }

  planNanos(lineItem: number, nowMs: number): number {
    return this.#pacing.planNanos(lineItem, nowMs);
  }

  /** What the rows of the catalog mean, for the event log. */
  dictionary(rows: Iterable<number>): DictionaryRow[] {
    const { catalog } = this;
    return Array.from(rows, (adRow) => {
      const lineItem = catalog.adLineItem[adRow]!;
      return {
        adRow,
        adId: catalog.adId(adRow),
        lineItemId: catalog.lineItemId(lineItem),
        advertiserId: catalog.advertiserId(catalog.adAdvertiser[adRow]!),
        campaignId: catalog.campaignId(lineItem),
      };
    });
  }
}

import { type Catalog } from '#auction/catalog.ts';
import type { CatalogShared, IndexShared } from '#auction/catalog-shared.ts';
import type { CatalogWriter } from '#auction/catalog-writer.ts';
import { BudgetLedger, type LedgerShared } from '#auction/budget-ledger.ts';
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
  readonly seen: SeenShared;
  readonly adIds: IdIndexShared;
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
/** Bytes of text per ad id, capacity included: `li00001.cr00042` has 15. */
const adIdBytes = 48;
const lineItemIdBytes = 24;
/** Rows of withdrawn ads are given to new ads this long after: no request that could see them is under way any more. */
const reclaimMsMin = 60_000;

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
  readonly shared: MarketShared;
  readonly #pacing: PacingController;
  readonly #adIds: SharedIdIndex;
  readonly #lineItemIds: SharedIdIndex;
  #namedLineItems = 0;
  #day: number;
  #auctionsBefore = 0;

  constructor(writer: CatalogWriter, { nowMs, generationNonce, seenNoticesMax }: MarketOptions) {
    this.writer = writer;
    const { adCapacity, lineItemCapacity } = writer.catalog;
    const ledger = BudgetLedger.allocate(lineItemCapacity, undefined, generationNonce);
    const caps = FrequencyCaps.allocate();
    const pacing = PacingRates.allocate(lineItemCapacity);
    const seen = SeenNotices.allocate(seenNoticesMax);
    const adIds = SharedIdIndex.allocate(adCapacity, adCapacity * adIdBytes);
    const lineItemIds = SharedIdIndex.allocate(lineItemCapacity, lineItemCapacity * lineItemIdBytes);
    this.shared = { catalog: writer.shared, index: writer.indexShared, ledger, caps, pacing, seen, adIds, lineItemIds };
    this.ledger = new BudgetLedger(ledger);
    this.caps = new FrequencyCaps(caps);
    this.seen = new SeenNotices(seen);
    this.pacingRates = new PacingRates(pacing);
    this.#pacing = new PacingController(this.pacingRates, this.ledger);
    this.#adIds = new SharedIdIndex(adIds);
    this.#lineItemIds = new SharedIdIndex(lineItemIds);
    this.#day = Math.floor(nowMs / dayMs);
    for (let row = 0; row < this.catalog.adCount; row++) this.#adIds.set(this.catalog.adId(row), row);
    this.noteLineItems();
  }

  get catalog(): Catalog {
    return this.writer.catalog;
  }

  /** Names and budgets of line items as the catalog has them now: at start, and after each change of it. */
  noteLineItems(): void {
    const { lineItemCount, liBudgetNanos } = this.catalog;
    for (; this.#namedLineItems < lineItemCount; this.#namedLineItems++) {
      this.#lineItemIds.set(this.catalog.lineItemId(this.#namedLineItems), this.#namedLineItems);
    }
    for (let lineItem = 0; lineItem < lineItemCount; lineItem++)
      this.ledger.setBudget(lineItem, liBudgetNanos[lineItem]!);
  }

  /** Makes new rows known by id; before they are published. */
  nameAds(rows: readonly number[]): void {
    for (const row of rows) this.#adIds.set(this.catalog.adId(row), row);
  }

  /** What the log says of today: charges, notices that may still be repeated, views. Line items that are gone are skipped. */
  restore(log: RecoveredLog, nowMs: number): { chargedLineItems: number; notices: number; views: number } {
    let chargedLineItems = 0;
    for (const [id, sum] of log.charges) {
      const lineItem = this.writer.lineItemOf(id);
      if (lineItem < 0) continue;
      this.ledger.restore(lineItem, sum.chargedNanos, sum.overDeliveredNanos);
      chargedLineItems++;
    }
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
      this.ledger.startDay();
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

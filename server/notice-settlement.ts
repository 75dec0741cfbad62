import { lineItemIdOf } from '#auction/catalog-spec.ts';
import { AuctionError } from '#auction/errors.ts';
import { viewWindowMsDefault } from '#auction/frequency-caps.ts';
import type { DurableOutcome } from '#training-bridge/log-channel.ts';
import { emptyNotice, noticeFlags, type NoticeRecord } from '#training-bridge/event-records.ts';
import type { NoticeClaims, NoticeKind, Settlement, VerifiedNotice } from './notice-claims.ts';
import { type BilledPrice, billedPrice, impressionChargeNanos, type PriceReading } from './notice-price.ts';
import { counterIndex, type Telemetry } from './telemetry.ts';

/** What settlement asks of auction/budget-ledger.ts. The three numbers are those of the last `settle`. */
export type SettlingLedger = {
  settle(lineItem: number, priceNanos: number, handle: number, generation: number): void;
  readonly chargedNanos: number;
  readonly overDeliveredNanos: number;
  readonly wasLate: boolean;
  /** When the day ends that was charged. */
  readonly dayEndMs: number;
  release(handle: number, generation: number): boolean;
};

/** What it asks of auction/seen-notices.ts: true the first time, whichever thread asks. */
export type SeenIds = { add(high: number, low: number, expiresMs: number, nowMs: number): boolean };

/** What it asks of auction/frequency-caps.ts. */
export type ViewCounts = {
  recordView(userHigh: number, userLow: number, lineItem: number, nowMs: number, windowMs: number): void;
};

/** What it asks of counted-notices.ts: views, clicks and conversions by ad and visit. */
export type ShownCounts = {
  viewed(claims: NoticeClaims, lineItem: number): void;
  clicked(claims: NoticeClaims, lineItem: number): void;
  converted(claims: NoticeClaims, lineItem: number): void;
};

/** What it asks of training-bridge/log-channel.ts. */
export type NoticeLog = {
  /** Defined while notices cannot be recorded. */
  readonly fault: string | undefined;
  writeNotice(notice: NoticeRecord): number | undefined;
  onDurable(sequence: number): Promise<DurableOutcome>;
  onAllDurable(): Promise<DurableOutcome>;
};

export type SettlementContext = {
  readonly ledger: SettlingLedger;
  readonly seen: SeenIds;
  readonly caps: ViewCounts;
  readonly channel: NoticeLog;
  /** Told of each click once, as soon as its record is written. */
  readonly userEvents: { clicked(claims: NoticeClaims, nowMs: number): void };
  readonly telemetry: Telemetry;
  /** Epoch ms. */
  readonly now: () => number;
  /**
   * Line item of an ad's id; −1 when there never was one. Not by the ad's row: rows are given to other ads in time, while a line
   * item keeps its number for good, and what is owed for an ad that was withdrawn meanwhile is still owed.
   */
  readonly lineItemOfAd: (adId: string) => number;
  readonly lineItemId: (lineItem: number) => string;
  readonly catalog: { readonly liCapWindowMs: Float64Array };
  readonly counts: ShownCounts;
  /** Told what could not be counted; the notice stands. */
  readonly onError: (error: unknown) => void;
  /** An amount in the catalog's currency; undefined without a rate. Left out: only the catalog's own currency is known. */
  readonly toCatalogNanos?: (nanos: number, currency: string) => number | undefined;
};

/** What the sender added to the token. */
export type NoticeFacts = { readonly price: PriceReading; readonly currency: string; readonly lossReason: number };

/** What was done, and the promise that it is on disk; undefined where nothing needs to be. 'UNLOGGED': nothing was done, nothing can be written. */
export type Settled = {
  readonly outcome: Settlement | 'UNLOGGED';
  readonly durable: Promise<DurableOutcome> | undefined;
};

const catalogCurrency = 'USD';
const priceTypes = { cpm: 0, cpc: 1, cpa: 2 } as const;
const nothing: BilledPrice = { nanos: 0, isClamped: false, isUnexpanded: false };
const q30One = 2 ** 30;

/**
 * What a notice moves: money, reservations, caps, and a record of it. All in one turn of the thread, in this order: can it be
 * written, is it the first of its id, move, write, count. So a charge is never without its record, and a repetition, on whichever
 * thread, moves nothing. What dies with the process before it is on disk was never acknowledged and comes again.
 */
export class NoticeSettlement {
  readonly #context: SettlementContext;
  readonly #id: NoticeId = { high: 0, low: 0 };

  constructor(context: SettlementContext) {
    this.#context = context;
  }

  settle(verified: VerifiedNotice, facts: NoticeFacts): Settled {
    const { kind, claims, expiresAtMs } = verified;
    const { channel, telemetry, lineItemOfAd, now } = this.#context;
    if (claims.isTest) return { outcome: 'TEST', durable: undefined };
    const lineItem = lineItemOfAd(claims.adId);
    if (lineItem < 0) {
      telemetry.count(counterIndex.notices_bad);
      // Nobody is left to charge, but what the exchange bills us is billed all the same.
      if (kind !== 'bill') return { outcome: 'UNKNOWN_AD', durable: undefined };
    }
    if (channel.fault !== undefined) {
      telemetry.count(counterIndex.notices_unlogged);
      return { outcome: 'UNLOGGED', durable: undefined };
    }
    const nowMs = now();
    noticeIdInto(this.#id, claims, kind);
    const claim = this.#claim(expiresAtMs, nowMs);
    if (claim === 'full') {
      telemetry.count(counterIndex.notices_unlogged);
      return { outcome: 'UNLOGGED', durable: undefined };
    }
    if (claim === 'repeated') {
      telemetry.count(counterIndex.notices_repeated);
      return { outcome: 'REPEATED', durable: channel.onAllDurable() };
    }
    telemetry.count(noticeCounters[kind]);
    const record = this.#recordOf(verified, facts, nowMs);
    const outcome =
      lineItem < 0 ? this.#recordCost(claims, facts, record) : this.#move(kind, claims, lineItem, facts, record);
    const sequence = channel.writeNotice(record);
    // `fault` was asked in this turn and says when the ring is nearly full, so this does not happen.
    if (sequence === undefined) return { outcome: 'UNLOGGED', durable: undefined };
    if (lineItem >= 0) this.#count(kind, claims, lineItem, nowMs);
    return { outcome, durable: channel.onDurable(sequence) };
  }

  /** No id is forgotten before its time: with no room for one more, the sender must come again. */
  #claim(expiresAtMs: number, nowMs: number): 'first' | 'repeated' | 'full' {
    try {
      return this.#context.seen.add(this.#id.high, this.#id.low, expiresAtMs, nowMs) ? 'first' : 'repeated';
    } catch (error) {
      if (error instanceof AuctionError && error.code === 'SEEN_NOTICES_FULL') return 'full';
      throw error;
    }
  }

  #recordOf(verified: VerifiedNotice, facts: NoticeFacts, nowMs: number): NoticeRecord {
    const { kind, claims, expiresAtMs } = verified;
    const record = emptyNotice(kind);
    record.noticeIdHigh = this.#id.high;
    record.noticeIdLow = this.#id.low;
    record.auctionIdHigh = claims.auctionHigh;
    record.auctionIdLow = claims.auctionLow;
    record.impIndex = claims.impIndex;
    record.timeMs = nowMs;
    record.expiresMs = expiresAtMs;
    record.adId = claims.adId;
    record.currency = catalogCurrency;
    record.userHashHigh = claims.userHashHigh;
    record.userHashLow = claims.userHashLow;
    if (kind === 'loss') record.lossReason = facts.lossReason;
    return record;
  }

  #move(
    kind: NoticeKind,
    claims: NoticeClaims,
    lineItem: number,
    facts: NoticeFacts,
    record: NoticeRecord,
  ): Settlement {
    const { ledger, telemetry } = this.#context;
    record.lineItemId = this.#context.lineItemId(lineItem);
    switch (kind) {
      case 'win':
        record.priceNanos = this.#billed(claims, facts, record).nanos;
        return 'RECORDED';
      case 'bill': {
        const price = this.#billed(claims, facts, record);
        record.priceNanos = price.nanos;
        record.costNanos = price.nanos;
        telemetry.count(counterIndex.cost_nanos, price.nanos);
        if (claims.priceType !== priceTypes.cpm) return 'RECORDED';
        const owed = price.isUnexpanded ? 0 : impressionChargeNanos(claims, price.nanos);
        return this.#charge(lineItem, owed, claims.reservationHandle, claims.reservationGeneration, record);
      }
      case 'loss':
        if (claims.reservationHandle < 0) return 'RECORDED';
        return ledger.release(claims.reservationHandle, claims.reservationGeneration) ? 'RELEASED' : 'RECORDED';
      case 'view':
        telemetry.count(counterIndex.expected_clicks, claims.clickQ30 / q30One);
        return 'RECORDED';
      case 'click':
        if (claims.priceType !== priceTypes.cpc) return 'RECORDED';
        record.priceNanos = claims.chargeNanos;
        return this.#charge(lineItem, claims.chargeNanos, -1, 0, record);
      case 'conversion':
        if (claims.priceType !== priceTypes.cpa) return 'RECORDED';
        record.priceNanos = claims.chargeNanos;
        return this.#charge(lineItem, claims.chargeNanos, -1, 0, record);
    }
  }

  #count(kind: NoticeKind, claims: NoticeClaims, lineItem: number, nowMs: number): void {
    const { caps, catalog, counts, userEvents } = this.#context;
    const { userHashHigh, userHashLow } = claims;
    switch (kind) {
      case 'view':
        this.#attempt(() => counts.viewed(claims, lineItem));
        if (userHashHigh !== 0 || userHashLow !== 0) {
          const windowMs = catalog.liCapWindowMs[lineItem]! || viewWindowMsDefault;
          this.#attempt(() => caps.recordView(userHashHigh, userHashLow, lineItem, nowMs, windowMs));
        }
        return;
      case 'click':
        this.#attempt(() => userEvents.clicked(claims, nowMs));
        return this.#attempt(() => counts.clicked(claims, lineItem));
      case 'conversion':
        return this.#attempt(() => counts.converted(claims, lineItem));
      case 'win':
      case 'bill':
      case 'loss':
    }
  }

  /** A lock in shared memory may be stuck: what only guides later auctions is not worth a notice that has its id and its charge. */
  #attempt(count: () => void): void {
    try {
      count();
    } catch (error) {
      this.#context.onError(error);
    }
  }

  /** A bill for a line item that is not in the catalog any more. */
  #recordCost(claims: NoticeClaims, facts: NoticeFacts, record: NoticeRecord): Settlement {
    const price = this.#billed(claims, facts, record);
    record.lineItemId = lineItemIdOf(claims.adId);
    record.priceNanos = price.nanos;
    record.costNanos = price.nanos;
    this.#context.telemetry.count(counterIndex.cost_nanos, price.nanos);
    return 'UNKNOWN_AD';
  }

  #billed(claims: NoticeClaims, facts: NoticeFacts, record: NoticeRecord): BilledPrice {
    const { telemetry } = this.#context;
    if (facts.price.kind === 'malformed') return nothing;
    const price = billedPrice(claims, facts.price, facts.currency, this.#context.toCatalogNanos ?? onlyCatalogCurrency);
    if (price.isClamped) {
      record.flags |= noticeFlags.clamped;
      telemetry.count(counterIndex.notices_clamped);
    }
    if (price.isUnexpanded) {
      record.flags |= noticeFlags.unexpanded;
      telemetry.count(counterIndex.notices_unexpanded);
    }
    return price;
  }

  /** Takes what is owed, as far as the budget goes. Owed nothing still ends the reservation. */
  #charge(lineItem: number, owed: number, handle: number, generation: number, record: NoticeRecord): Settlement {
    const { ledger, telemetry } = this.#context;
    ledger.settle(lineItem, owed, handle, generation);
    // In the moment before the ledger's new day begins a notice is still of the old one: log and ledger name the same.
    record.timeMs = Math.min(record.timeMs, ledger.dayEndMs - 1);
    record.chargedNanos = ledger.chargedNanos;
    record.overDeliveredNanos = ledger.overDeliveredNanos;
    if (ledger.wasLate) {
      record.flags |= noticeFlags.late;
      telemetry.count(counterIndex.notices_late);
    }
    telemetry.count(counterIndex.charged_nanos, record.chargedNanos);
    telemetry.count(counterIndex.over_delivered_nanos, record.overDeliveredNanos);
    if (record.chargedNanos > 0) return 'CHARGED';
    return owed > 0 ? 'BUDGET_EXHAUSTED' : 'RECORDED';
  }
}

function onlyCatalogCurrency(nanos: number, currency: string): number | undefined {
  return currency === catalogCurrency ? nanos : undefined;
}

const noticeCounters: Readonly<Record<NoticeKind, number>> = {
  win: counterIndex.notices_win,
  bill: counterIndex.notices_bill,
  loss: counterIndex.notices_loss,
  view: counterIndex.notices_view,
  click: counterIndex.notices_click,
  conversion: counterIndex.notices_conversion,
};

export type NoticeId = { high: number; low: number };

const kindNumbers: Readonly<Record<NoticeKind, number>> = {
  win: 0,
  bill: 1,
  loss: 2,
  view: 3,
  click: 4,
  conversion: 5,
};

/**
 * 64 bits that name a notice: of this kind, for this imp of this auction. For one kind and imp a permutation of the auction
 * ids (four Feistel rounds), so two auctions never share one; across kinds and imps 2^-64 a pair.
 */
export function noticeIdInto(into: NoticeId, claims: NoticeClaims, kind: NoticeKind): void {
  let left = claims.auctionHigh | 0;
  let right = claims.auctionLow | 0;
  let salt = Math.imul(claims.impIndex * 8 + kindNumbers[kind] + 1, 0x9e3779b1);
  for (let round = 0; round < 4; round++) {
    let mixed = right ^ salt;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    const next = left ^ mixed ^ (mixed >>> 16);
    left = right;
    right = next;
    salt = (salt + 0x6d2b79f5) | 0;
  }
  into.high = left >>> 0;
  into.low = right >>> 0;
}

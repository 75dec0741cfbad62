import { BudgetReservations, type ReservationsShared } from './budget-reservations.ts';
import { AuctionError } from './errors.ts';
import { SharedLocks } from './shared-locks.ts';

/** Crosses threads by workerData. */
export type LedgerShared = {
  readonly lineItemCapacity: number;
  /** `wordsPerLineItem` 64-bit words per line item: see `word`. */
  readonly words: SharedArrayBuffer;
  readonly reservations: ReservationsShared;
  /** One lock, and the UTC day (whole days since the epoch) that the accounts are of; 0 = nobody has said. */
  readonly day: SharedArrayBuffer;
};

/** One line item's money, as it stands. */
export type LedgerSnapshot = {
  /** What the day opened with. */
  readonly budgetNanos: bigint;
  readonly availableNanos: bigint;
  readonly reservedNanos: bigint;
  readonly spentNanos: bigint;
  /** Delivered but beyond the budget: never charged. */
  readonly overDeliveredNanos: bigint;
  /** What changes of the budget have added since (negative: taken away), as far as they could be carried out. */
  readonly adjustmentNanos: bigint;
  /** Part of a cut that could not be taken yet, because it is reserved or spent already. */
  readonly pendingCutNanos: bigint;
};

const word = { available: 0, reserved: 1, spent: 2, over: 3, budget: 4, target: 5, pendingCut: 6, expected: 7 };
const wordsPerLineItem = 8;
/** 5,000 CPM wins a second, each held for 60 s without a notice, are 300,000; 24 bytes each. */
const reservationCapacityDefault = 2 ** 19;
/** Expected spend of a bid falls to 1/e in this time: about what passes between a bid and its click. */
const expectedDecayMs = 60_000;
const dayMs = 86_400_000;
const dayLockIndex = 0;
const dayWord = 1;

/**
 * The money of every line item, in shared memory, for any number of threads. Two laws:
 *
 *     target + pending cut = available + reserved + spent       whenever no operation is under way
 *     target + pending cut ≥ available + reserved + spent       at every instant
 *
 * where `target` is the budget as it was last set, so that target + pending cut = opening budget + adjustments.
 * The second holds because every operation takes from one account before it gives to the next, and takes from `available` only
 * by compare-exchange: so nothing is ever reserved or charged twice, and spending cannot exceed the budget. A thread that
 * dies between the two steps loses the money for the day; it never invents any.
 */
export class BudgetLedger {
  readonly lineItemCapacity: number;
  readonly #words: BigInt64Array;
  /** The same memory as 32-bit halves, for reading without making a BigInt. Little-endian, as every platform Node runs on. */
  readonly #halves: Int32Array;
  readonly #reservations: BudgetReservations;
  /** Held while something is charged and while a day begins, so that every charge belongs to one day. */
  readonly #dayLock: SharedLocks;
  readonly #day: Int32Array;
  #decayedAtMs = Number.NaN;
  /** Of the last `settle`. */
  chargedNanos = 0;
  overDeliveredNanos = 0;
  /** The notice named a reservation that was no longer there. */
  wasLate = false;
  /** When the day ends that the last `settle` charged: what is recorded of it must not name a later one. */
  dayEndMs = Number.POSITIVE_INFINITY;

  /** `generationNonce`: any number that differs between processes, so that handles of an earlier one fit no slot of this one. */
  static allocate(
    lineItemCapacity: number,
    reservationCapacity: number = reservationCapacityDefault,
    generationNonce: number = 0,
  ): LedgerShared {
    return {
      lineItemCapacity,
      words: new SharedArrayBuffer(lineItemCapacity * wordsPerLineItem * 8),
      reservations: BudgetReservations.allocate(reservationCapacity, generationNonce),
      day: SharedLocks.allocate(2),
    };
  }

  constructor(shared: LedgerShared) {
    this.lineItemCapacity = shared.lineItemCapacity;
    this.#words = new BigInt64Array(shared.words);
    this.#halves = new Int32Array(shared.words);
    this.#reservations = new BudgetReservations(shared.reservations);
    this.#dayLock = new SharedLocks(shared.day);
    this.#day = new Int32Array(shared.day);
  }

  /**
   * Main thread only: the day's budget of a line item. The first call opens it; a later one moves the difference to
   * `adjustments`. A cut takes what is available at once and the rest as reservations come back; what is spent stays spent.
   */
  setBudget(lineItem: number, budgetNanos: number): void {
    const base = this.#baseOf(lineItem);
    const wanted = nanosOf(budgetNanos);
    if (!this.#isOpen(base)) {
      // Stored as budget + 1, so that a line item with a budget of 0 is open too and one never opened is not.
      Atomics.store(this.#words, base + word.budget, wanted + 1n);
      Atomics.store(this.#words, base + word.target, wanted);
      this.#giveBack(base, wanted);
      return;
    }
    const change = wanted - this.#load(base + word.target);
    if (change > 0n) {
      Atomics.store(this.#words, base + word.target, wanted);
      this.#giveBack(base, change);
    } else if (change < 0n) {
      this.#add(base + word.pendingCut, -change);
      Atomics.store(this.#words, base + word.target, wanted);
      this.#collectCut(base);
    }
  }

  /**
   * Main thread, at start: what the log says was charged today. It stands even where it exceeds the budget of today's catalog:
   * then the rest is a cut that is still owed, and a later rise or the next day pays it off first.
   */
  restore(lineItem: number, spentNanos: bigint, overDeliveredNanos: bigint): void {
    const base = this.#baseOf(lineItem);
    if (spentNanos < 0n || overDeliveredNanos < 0n) throw new AuctionError('LEDGER_AMOUNT_INVALID');
    const covered = this.#takeUpTo(base + word.available, spentNanos);
    this.#add(base + word.pendingCut, spentNanos - covered);
    this.#add(base + word.spent, spentNanos);
    this.#add(base + word.over, overDeliveredNanos);
  }

  /** Main thread, at start: the UTC day (whole days since the epoch) that the accounts are of. */
  openDay(day: number): void {
    Atomics.store(this.#day, dayWord, day);
  }

  /**
   * Main thread: a new UTC day. What was spent is available again, adjustments become part of the budget, live reservations stay. A
   * charge on another thread falls wholly before it or wholly after it.
   */
  startDay(day = 0): void {
    this.#dayLock.acquire(dayLockIndex);
    try {
      for (let lineItem = 0; lineItem < this.lineItemCapacity; lineItem++) {
        const base = lineItem * wordsPerLineItem;
        if (!this.#isOpen(base)) continue;
        const spent = Atomics.exchange(this.#words, base + word.spent, 0n);
        this.#giveBack(base, spent);
        Atomics.store(this.#words, base + word.budget, this.#load(base + word.target) + 1n);
        Atomics.exchange(this.#words, base + word.over, 0n);
      }
      this.openDay(day);
    } finally {
      this.#dayLock.release(dayLockIndex);
    }
  }

  /**
   * For the ranking loop: nanos that could still be reserved or charged, less the expected outstanding spend. A hint: plain reads
   * (atomic ones take ten times as long), which another thread's change may tear by 2^32 nanos for one look.
   */
  spendableNanos(lineItem: number): number {
    const halves = this.#halves;
    const available = 2 * (lineItem * wordsPerLineItem + word.available);
    const expected = 2 * (lineItem * wordsPerLineItem + word.expected);
    const high = halves[available + 1]! - halves[expected + 1]!;
    return high * 4_294_967_296 + ((halves[available]! >>> 0) - (halves[expected]! >>> 0));
  }

  /** What pacing counts as spent: settled, reserved, and what bids under way are expected to cost. */
  committedNanos(lineItem: number): number {
    const base = lineItem * wordsPerLineItem;
    return this.#read(base + word.spent) + this.#read(base + word.reserved) + this.#read(base + word.expected);
  }

  /** The budget as it was last set. */
  targetNanos(lineItem: number): number {
    return this.#read(lineItem * wordsPerLineItem + word.target);
  }

  /** A handle ≥ 0 that holds `nanos` until it is settled, released or expired; −1: refused, for want of budget or of slots. */
  reserve(lineItem: number, nanos: number, expiresMs: number): number {
    const base = this.#baseOf(lineItem);
    const amount = nanosOf(nanos);
    if (!this.#takeAll(base + word.available, amount)) return -1;
    this.#add(base + word.reserved, amount);
    const handle = this.#reservations.open(lineItem, nanos, expiresMs);
    if (handle < 0) {
      this.#add(base + word.reserved, -amount);
      this.#giveBack(base, amount);
    }
    return handle;
  }

  /** Ask right after `reserve`: what a notice must carry to find this reservation and no later one. */
  generationOf(handle: number): number {
    return this.#reservations.generationOf(handle);
  }

  /**
   * Charges min(price, available + own live reservation), gives back what is left of the reservation, and counts the rest as
   * over-delivered. Handle −1: none was made. Results in `chargedNanos`, `overDeliveredNanos`, `wasLate` and `dayEndMs`.
   */
  settle(lineItem: number, priceNanos: number, handle: number, generation: number): void {
    this.#dayLock.acquire(dayLockIndex);
    try {
      const day = Atomics.load(this.#day, dayWord);
      this.dayEndMs = day === 0 ? Number.POSITIVE_INFINITY : (day + 1) * dayMs;
      this.#settle(lineItem, priceNanos, handle, generation);
    } finally {
      this.#dayLock.release(dayLockIndex);
    }
  }

  #settle(lineItem: number, priceNanos: number, handle: number, generation: number): void {
    const base = this.#baseOf(lineItem);
    const price = nanosOf(priceNanos);
    const hasOwn = handle >= 0 && this.#reservations.close(handle, generation, lineItem);
    const own = hasOwn ? BigInt(this.#reservations.closedNanos) : 0n;
    let charged = own < price ? own : price;
    if (own > 0n) {
      this.#add(base + word.reserved, -own);
      if (own > charged) this.#giveBack(base, own - charged);
    }
    if (charged < price) charged += this.#takeUpTo(base + word.available, price - charged);
    const over = price - charged;
    if (charged > 0n) this.#add(base + word.spent, charged);
    if (over > 0n) this.#add(base + word.over, over);
    this.chargedNanos = Number(charged);
    this.overDeliveredNanos = Number(over);
    this.wasLate = handle >= 0 && !hasOwn;
  }

  /** Gives a reservation back; false when it was settled, released or expired before. */
  release(handle: number, generation: number): boolean {
    if (!this.#reservations.close(handle, generation, -1)) return false;
    this.#returnClosed();
    return true;
  }

  /**
   * Main thread, about once a second: gives back what has expired, oldest first, and stops at the first that has not; returns how
   * many. Costs what has expired, where `expire` looks at every slot (5 ms for half a million).
   */
  expireOldest(nowMs: number): number {
    let count = 0;
    for (; this.#reservations.closeOldest(nowMs) >= 0; count++) this.#returnClosed();
    return count;
  }

  /** Main thread, about once a minute: the same for all, whatever their order. */
  expire(nowMs: number): number {
    let count = 0;
    let slot = this.#reservations.closeExpired(0, nowMs);
    while (slot >= 0) {
      this.#returnClosed();
      count++;
      slot = this.#reservations.closeExpired(slot + 1, nowMs);
    }
    return count;
  }

  /** CPC and CPA reserve nothing: the expected spend of a bid just made counts against `spendableNanos` and fades with 60 s. */
  expectSpend(lineItem: number, nanos: number): void {
    const base = this.#baseOf(lineItem);
    this.#add(base + word.expected, nanosOf(nanos));
  }

  /** Takes back what `expectSpend` added for a bid that nobody will see. */
  unexpectSpend(lineItem: number, nanos: number): void {
    this.#takeUpTo(this.#baseOf(lineItem) + word.expected, nanosOf(nanos));
  }

  /** Main thread, about once a second. */
  decayExpected(nowMs: number): void {
    const elapsedMs = nowMs - this.#decayedAtMs;
    this.#decayedAtMs = nowMs;
    if (!(elapsedMs > 0)) return;
    const share = 1 - Math.exp(-elapsedMs / expectedDecayMs);
    for (let at = word.expected; at < this.#words.length; at += wordsPerLineItem) {
      const expected = this.#read(at);
      // Rounded up, so that it reaches 0.
      if (expected > 0) this.#takeUpTo(at, BigInt(Math.ceil(expected * share)));
    }
  }

  snapshot(lineItem: number): LedgerSnapshot {
    const base = this.#baseOf(lineItem);
    const budgetNanos = this.#isOpen(base) ? this.#load(base + word.budget) - 1n : 0n;
    const pendingCutNanos = this.#load(base + word.pendingCut);
    return {
      budgetNanos,
      availableNanos: this.#load(base + word.available),
      reservedNanos: this.#load(base + word.reserved),
      spentNanos: this.#load(base + word.spent),
      overDeliveredNanos: this.#load(base + word.over),
      adjustmentNanos: this.#load(base + word.target) + pendingCutNanos - budgetNanos,
      pendingCutNanos,
    };
  }

  #returnClosed(): void {
    const base = this.#reservations.closedLineItem * wordsPerLineItem;
    const amount = BigInt(this.#reservations.closedNanos);
    this.#add(base + word.reserved, -amount);
    this.#giveBack(base, amount);
  }

  /** Money that is free again: a cut that is still owed takes its part first, so that none of it can be spent. */
  #giveBack(base: number, amount: bigint): void {
    const paid = this.#takeUpTo(base + word.pendingCut, amount);
    if (amount === paid) return;
    this.#add(base + word.available, amount - paid);
    // A cut may have been made between the two: it found nothing available, so whoever came second collects.
    if (this.#load(base + word.pendingCut) > 0n) this.#collectCut(base);
  }

  #collectCut(base: number): void {
    const pending = this.#load(base + word.pendingCut);
    const taken = this.#takeUpTo(base + word.available, pending);
    if (taken > 0n) this.#giveBack(base, taken);
  }

  #isOpen(base: number): boolean {
    return this.#load(base + word.budget) > 0n;
  }

  /** Takes the whole amount or nothing. */
  #takeAll(at: number, amount: bigint): boolean {
    for (;;) {
      const before = this.#load(at);
      if (before < amount) return false;
      if (Atomics.compareExchange(this.#words, at, before, before - amount) === before) return true;
    }
  }

  /** Takes what there is, at most `amount`; returns how much that was. */
  #takeUpTo(at: number, amount: bigint): bigint {
    for (;;) {
      const before = this.#load(at);
      const taken = before < amount ? before : amount;
      if (taken <= 0n) return 0n;
      if (Atomics.compareExchange(this.#words, at, before, before - taken) === before) return taken;
    }
  }

  #add(at: number, amount: bigint): void {
    Atomics.add(this.#words, at, amount);
  }

  #load(at: number): bigint {
    return Atomics.load(this.#words, at);
  }

  /** A 64-bit word as a number: read again when its upper half changed in between. */
  #read(at: number): number {
    const halves = this.#halves;
    for (;;) {
      const high = Atomics.load(halves, 2 * at + 1);
      const low = Atomics.load(halves, 2 * at) >>> 0;
      if (Atomics.load(halves, 2 * at + 1) === high) return high * 4_294_967_296 + low;
    }
  }

  #baseOf(lineItem: number): number {
    if (lineItem >= 0 && lineItem < this.lineItemCapacity) return lineItem * wordsPerLineItem;
    throw new AuctionError('LEDGER_LINE_ITEM_UNKNOWN', { detail: String(lineItem) });
  }
}

function nanosOf(nanos: number): bigint {
  if (!Number.isSafeInteger(nanos) || nanos < 0)
    throw new AuctionError('LEDGER_AMOUNT_INVALID', { detail: `${nanos}` });
  return BigInt(nanos);
}

/** What one reservation takes in shared memory: stamp and line item (4 bytes each), nanos and expiry (8 each). */
export type ReservationsShared = {
  /** Per slot: see `stateOf`. One more word at the end: where the next search begins. */
  readonly stamps: SharedArrayBuffer;
  readonly lineItems: SharedArrayBuffer;
  readonly nanos: SharedArrayBuffer;
  readonly expiresMs: SharedArrayBuffer;
};

/**
 * A stamp counts up by itself and its last two bits say what a slot is: 0 free, 1 being filled, 2 live. Whoever moves a stamp
 * on by compare-exchange owns the money, and a stamp never comes back (2^30 uses of one slot): that settles every race
 * between settling, releasing and expiring, and a late notice never touches its successor's reservation.
 */
const stateMask = 3;
const live = 2;
/**
 * Slots looked at before a reservation is refused. Reservations live about equally long and slots are taken in turn, so the
 * first is free until nearly all are; 128 in a row are taken only beyond 95 % in use.
 */
const probeCountMax = 128;

/** Reservation slots in shared memory: taken, closed and expired by any thread without a lock. */
export class BudgetReservations {
  readonly capacity: number;
  readonly #stamps: Int32Array;
  readonly #lineItems: Uint32Array;
  readonly #nanos: Float64Array;
  readonly #expiresMs: Float64Array;
  /** Reservations made before the oldest that may still live, counted like the word at the end of the stamps. */
  #oldest = 0;
  /** Of the last `close` that returned true, and of the last expired one. */
  closedLineItem = 0;
  closedNanos = 0;

  /** `nonce` (any 30 bits) makes generations differ from those of an earlier process, whose notices may still come. */
  static allocate(capacity: number, nonce: number): ReservationsShared {
    const stamps = new SharedArrayBuffer((capacity + 1) * 4);
    new Int32Array(stamps, 0, capacity).fill(nonce << 2);
    return {
      stamps,
      lineItems: new SharedArrayBuffer(capacity * 4),
      nanos: new SharedArrayBuffer(capacity * 8),
      expiresMs: new SharedArrayBuffer(capacity * 8),
    };
  }

  constructor(shared: ReservationsShared) {
    this.#stamps = new Int32Array(shared.stamps);
    this.#lineItems = new Uint32Array(shared.lineItems);
    this.#nanos = new Float64Array(shared.nanos);
    this.#expiresMs = new Float64Array(shared.expiresMs);
    this.capacity = this.#lineItems.length;
  }

  /** A slot that holds the money from now on, or −1: none is free nearby. */
  open(lineItem: number, nanos: number, expiresMs: number): number {
    const stamps = this.#stamps;
    for (let probe = 0; probe < probeCountMax; probe++) {
      const slot = (Atomics.add(stamps, this.capacity, 1) >>> 0) % this.capacity;
      const stamp = Atomics.load(stamps, slot);
      if ((stamp & stateMask) !== 0) continue;
      if (Atomics.compareExchange(stamps, slot, stamp, stamp + 1) !== stamp) continue;
      this.#lineItems[slot] = lineItem;
      this.#nanos[slot] = nanos;
      this.#expiresMs[slot] = expiresMs;
      Atomics.store(stamps, slot, stamp + live);
      return slot;
    }
    return -1;
  }

  generationOf(slot: number): number {
    return Atomics.load(this.#stamps, slot) >>> 0;
  }

  /**
   * Takes the money out of a live reservation: true for exactly one caller. `lineItem` −1 = whichever. A handle of an earlier
   * process names a slot by chance; that its generation, its state and its line item all fit is out of the question.
   */
  close(slot: number, generation: number, lineItem: number): boolean {
    if (!(slot >= 0 && slot < this.capacity)) return false;
    const stamp = generation | 0;
    if ((stamp & stateMask) !== live || Atomics.load(this.#stamps, slot) !== stamp) return false;
    const holder = this.#lineItems[slot]!;
    const nanos = this.#nanos[slot]!;
    if (lineItem >= 0 && holder !== lineItem) return false;
    // What was read is true only if the stamp still stands: then nobody else has filled the slot meanwhile.
    if (Atomics.compareExchange(this.#stamps, slot, stamp, (stamp + live) | 0) !== stamp) return false;
    this.closedLineItem = holder;
    this.closedNanos = nanos;
    return true;
  }

  /**
   * The next reservation that has expired, in the order in which they were made; −1: the oldest that lives has not. Looks at what
   * was made since the last call instead of at every slot; a reservation that outlives its successors holds them up until
   * `closeExpired` finds them. One thread asks.
   */
  closeOldest(nowMs: number): number {
    const stamps = this.#stamps;
    const made = Atomics.load(stamps, this.capacity) >>> 0;
    if ((made - this.#oldest) >>> 0 > this.capacity) this.#oldest = (made - this.capacity) >>> 0;
    for (; this.#oldest !== made; this.#oldest = (this.#oldest + 1) >>> 0) {
      const slot = this.#oldest % this.capacity;
      const stamp = Atomics.load(stamps, slot);
      const state = stamp & stateMask;
      if (state === 0) continue;
      if (state !== live || this.#expiresMs[slot]! > nowMs) return -1;
      if (this.close(slot, stamp, -1)) return slot;
    }
    return -1;
  }

  /** The next slot from `from` on whose reservation had expired and is now closed (see `closedNanos`); −1 at the end. */
  closeExpired(from: number, nowMs: number): number {
    const stamps = this.#stamps;
    for (let slot = from; slot < this.capacity; slot++) {
      const stamp = Atomics.load(stamps, slot);
      if ((stamp & stateMask) === live && this.#expiresMs[slot]! <= nowMs && this.close(slot, stamp, -1)) return slot;
    }
    return -1;
  }
}

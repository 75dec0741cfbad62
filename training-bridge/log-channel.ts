import { AuctionEncoder } from './auction-encoder.ts';
import { ByteRing } from './byte-ring.ts';
import type { EventLogFault } from './errors.ts';
import { encodeNotice, noticeBytesMax } from './event-codec.ts';
import type { AuctionDraft, NoticeRecord } from './event-records.ts';
import { channelCountMax, LogState } from './log-state.ts';

/** Crosses threads by workerData or postMessage. One per serving thread; the main thread's `EventLog.openChannel` makes it. */
export type LogChannelShared = {
  readonly index: number;
  readonly auctions: SharedArrayBuffer;
  /** A ring of their own: no flood of auctions can crowd out what is owed. */
  readonly notices: SharedArrayBuffer;
  readonly state: SharedArrayBuffer;
};

/** How the wait for the disk ended: 'DURABLE', or why the caller answers 503. */
export type DurableOutcome = 'DURABLE' | EventLogFault;

export type LogChannelLimits = {
  /** A power of two. 8 MiB: 1800 auctions of 4.5 KB, 0.6 s at 3000 auctions/s. */
  readonly auctionRingBytes: number;
  /** A power of two. 1 MiB: about 5000 notices of 200 bytes. */
  readonly noticeRingBytes: number;
  /** What a notice may wait for the disk before its sender is told to come again. */
  readonly durableWaitMsMax: number;
};
export const logChannelLimits: LogChannelLimits = {
  auctionRingBytes: 8 << 20,
  noticeRingBytes: 1 << 20,
  durableWaitMsMax: 2000,
};

type Waiter = { since: number; sequences: Int32Array; resolve: (outcome: DurableOutcome) => void };

/** The serving thread's end of the event log. Nothing here waits for the disk but the two promises. */
export class LogChannel {
  readonly #index: number;
  readonly #auctions: ByteRing;
  readonly #notices: ByteRing;
  readonly #state: LogState;
  readonly #encoder = new AuctionEncoder();
  readonly #now: () => number;
  readonly #durableWaitMsMax: number;
  readonly #waiters: Waiter[] = [];
  #isWatching = false;

  static allocate(index: number, state: LogState, limits: LogChannelLimits = logChannelLimits): LogChannelShared {
    if (index >= channelCountMax) throw new RangeError(`At most ${channelCountMax} channels.`);
    return {
      index,
      auctions: ByteRing.allocate(limits.auctionRingBytes),
      notices: ByteRing.allocate(limits.noticeRingBytes),
      state: state.shared,
    };
  }

  /** `now` is in ms and only measures waiting. */
  constructor(shared: LogChannelShared, now: () => number, durableWaitMsMax = logChannelLimits.durableWaitMsMax) {
    this.#index = shared.index;
    this.#auctions = new ByteRing(shared.auctions);
    this.#notices = new ByteRing(shared.notices);
    this.#state = new LogState(shared.state);
    this.#now = now;
    this.#durableWaitMsMax = durableWaitMsMax;
  }

  /** Why notices must be answered 503 now, before anything is charged; undefined when they can be written. */
  get fault(): EventLogFault | undefined {
    const fault = this.#state.fault;
    if (fault !== undefined) return fault;
    return this.#notices.usedBytes + noticeBytesMax > this.#notices.capacity - noticeBytesMax
      ? 'EVENT_LOG_FULL'
      : undefined;
  }

  get auctionsDropped(): number {
    return this.#state.auctionsDropped(this.#index);
  }

  /** Bytes of the record, or 0: the ring is full, the auction is dropped and counted. Never waits, never throws for an unlucky request. */
  writeAuction(draft: AuctionDraft): number {
    const length = this.#encoder.encode(draft);
    const at = this.#auctions.reserve(length);
    if (at < 0) {
      this.#state.countDroppedAuction(this.#index);
      return 0;
    }
    this.#auctions.bytes.set(this.#encoder.bytes.subarray(0, length), at);
    this.#auctions.commit(length);
    return length;
  }

  /**
   * Hands a notice to the writer and returns its sequence (an int32 that wraps), or undefined when the ring is full: ask `fault`
   * first, in the same turn, then the answer is never undefined and a charge is never without its record. A fault of the disk
   * that comes between the two does not matter here: the writer tries until it is over, and whoever waits is told meanwhile.
   */
  writeNotice(notice: NoticeRecord): number | undefined {
    const at = this.#notices.reserve(noticeBytesMax);
    if (at < 0) {
      this.#state.countRefusedNotice(this.#index);
      return undefined;
    }
    const end = encodeNotice(notice, this.#notices.bytes, at);
    // Counted before it is visible: the writer never has more than was counted.
    const sequence = this.#state.countCommitted(this.#index);
    this.#notices.commit(end - at);
    this.#state.ringBell();
    return sequence;
  }

  /** Resolves once notice `sequence` and all before it are on the disk, or with the fault that keeps them from it. Never rejects. */
  onDurable(sequence: number): Promise<DurableOutcome> {
    const sequences = new Int32Array(channelCountMax);
    for (let channel = 0; channel < channelCountMax; channel++) sequences[channel] = this.#state.durable(channel);
    sequences[this.#index] = sequence;
    return this.#wait(sequences);
  }

  /**
   * Resolves once every notice that any thread has handed over so far is on the disk: what the answer to a repeated notice
   * waits for, because the first of its kind may still be on its way there.
   */
  onAllDurable(): Promise<DurableOutcome> {
    const sequences = new Int32Array(channelCountMax);
    for (let channel = 0; channel < channelCountMax; channel++) sequences[channel] = this.#state.committed(channel);
    return this.#wait(sequences);
  }

  #wait(sequences: Int32Array): Promise<DurableOutcome> {
    return new Promise((resolve) => {
      this.#waiters.push({ since: this.#now(), sequences, resolve });
      if (!this.#isWatching) {
        this.#isWatching = true;
        void this.#watch();
      }
    });
  }

  async #watch(): Promise<void> {
    // A wait in shared memory does not keep a thread alive: one that has nothing else to do would end before the answer.
    const alive = setInterval(() => {}, this.#durableWaitMsMax);
    for (;;) {
      const epoch = this.#state.epoch;
      this.#settle();
      const oldest = this.#waiters[0];
      if (oldest === undefined) {
        this.#isWatching = false;
        clearInterval(alive);
        return;
      }
      const leftMs = oldest.since + this.#durableWaitMsMax - this.#now();
      await this.#state.epochBeyond(epoch, Math.max(1, leftMs));
    }
  }

  /** One wait in shared memory serves all: each announcement settles whoever it concerns. */
  #settle(): void {
    const fault = this.#state.fault;
    const tooOld = this.#now() - this.#durableWaitMsMax;
    let kept = 0;
    for (const waiter of this.#waiters) {
      const outcome = this.#isDurable(waiter.sequences)
        ? 'DURABLE'
        : (fault ?? (waiter.since <= tooOld ? 'EVENT_LOG_SLOW' : undefined));
      if (outcome === undefined) this.#waiters[kept++] = waiter;
      else waiter.resolve(outcome);
    }
    this.#waiters.length = kept;
  }

  #isDurable(sequences: Int32Array): boolean {
    for (let channel = 0; channel < channelCountMax; channel++) {
      if (((this.#state.durable(channel) - sequences[channel]!) | 0) < 0) return false;
    }
    return true;
  }
}

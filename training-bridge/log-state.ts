import { type EventLogFault, eventLogFaults } from './errors.ts';

/** Serving threads of one process. */
export const channelCountMax = 64;

const lineWords = 16;
const bellWord = 0;
const epochWord = 1;
const faultWord = 2;
/** Written together, read together: one line per channel. */
const committed = 0;
const durable = 1;
const auctionsDropped = 2;
const noticesRefused = 3;
const faultCodes = Object.keys(eventLogFaults) as EventLogFault[];

/**
 * What the writer of a log and its producers tell each other, in shared memory. Sequences count notices per channel and run
 * freely modulo 2^32. Only the writer sets fault and durable, only channel N's producer its committed and dropped.
 */
export class LogState {
  readonly shared: SharedArrayBuffer;
  readonly #words: Int32Array;

  constructor(shared: SharedArrayBuffer = new SharedArrayBuffer(lineWords * 4 * (1 + channelCountMax))) {
    this.shared = shared;
    this.#words = new Int32Array(shared);
  }

  /** Producer: there is something that should not wait for the next flush. */
  ringBell(): void {
    Atomics.add(this.#words, bellWord, 1);
    Atomics.notify(this.#words, bellWord, 1);
  }

  get bell(): number {
    return Atomics.load(this.#words, bellWord);
  }

  /** Writer: until the bell is no longer what was `seen`, at most `waitMs`. */
  async bellBeyond(seen: number, waitMs: number): Promise<void> {
    const wait = Atomics.waitAsync(this.#words, bellWord, seen, waitMs);
    if (wait.async) await wait.value;
  }

  /** Writer: everyone who waits for the disk looks again. */
  announce(): void {
    Atomics.add(this.#words, epochWord, 1);
    Atomics.notify(this.#words, epochWord);
  }

  get epoch(): number {
    return Atomics.load(this.#words, epochWord);
  }

  async epochBeyond(seen: number, waitMs: number): Promise<void> {
    const wait = Atomics.waitAsync(this.#words, epochWord, seen, waitMs);
    if (wait.async) await wait.value;
  }

  get fault(): EventLogFault | undefined {
    return faultCodes[Atomics.load(this.#words, faultWord) - 1];
  }

  setFault(fault: EventLogFault | undefined): void {
    Atomics.store(this.#words, faultWord, fault === undefined ? 0 : faultCodes.indexOf(fault) + 1);
    this.announce();
  }

  committed(channel: number): number {
    return Atomics.load(this.#words, (1 + channel) * lineWords + committed);
  }

  countCommitted(channel: number): number {
    return (Atomics.add(this.#words, (1 + channel) * lineWords + committed, 1) + 1) | 0;
  }

  durable(channel: number): number {
    return Atomics.load(this.#words, (1 + channel) * lineWords + durable);
  }

  addDurable(channel: number, count: number): void {
    Atomics.add(this.#words, (1 + channel) * lineWords + durable, count);
  }

  auctionsDropped(channel: number): number {
    return Atomics.load(this.#words, (1 + channel) * lineWords + auctionsDropped) >>> 0;
  }

  countDroppedAuction(channel: number): void {
    Atomics.add(this.#words, (1 + channel) * lineWords + auctionsDropped, 1);
  }

  noticesRefused(channel: number): number {
    return Atomics.load(this.#words, (1 + channel) * lineWords + noticesRefused) >>> 0;
  }

  countRefusedNotice(channel: number): void {
    Atomics.add(this.#words, (1 + channel) * lineWords + noticesRefused, 1);
  }
}

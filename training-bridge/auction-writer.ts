import { setTimeout as sleep } from 'node:timers/promises';
import type { LogStream } from './event-log-segments.ts';
import type { EventLogLimits } from './event-log-types.ts';
import { type ChannelEnd, diskFaultOf, type LogFaults } from './log-ends.ts';

export type AuctionWriterOptions = {
  readonly stream: LogStream;
  readonly channels: readonly ChannelEnd[];
  readonly limits: EventLogLimits;
  readonly faults: LogFaults;
  /** More has been written: is there still room? */
  readonly onProgress: () => Promise<void>;
};

/**
 * Brings auctions from the rings to the file, ten times a second, and leaves it to the kernel when they reach the disk. While
 * the disk refuses, the rings fill and producers drop and count: a bid never waits for the log.
 */
export class AuctionWriter {
  readonly #options: AuctionWriterOptions;
  readonly #batch: Uint8Array;
  readonly #taken = { bytes: 0, records: 0 };
  readonly #stopping = new AbortController();
  /** Records of our own, due before the next auction. */
  #ahead: Uint8Array[] = [];
  written = 0;

  constructor(options: AuctionWriterOptions) {
    this.#options = options;
    this.#batch = new Uint8Array(options.limits.batchBytesMax);
  }

  /** In the log before any auction that is handed over from now on. */
  writeAhead(records: readonly Uint8Array[]): void {
    this.#ahead = [...this.#ahead, ...records];
  }

  /** Ends after `stop`, when the rings are empty or the disk refuses. */
  async run(): Promise<void> {
    while (await this.#drain()) {
      if (this.#stopping.signal.aborted) return;
      await this.#pause(this.#options.limits.flushMsMax);
    }
  }

  stop(): void {
    this.#stopping.abort();
  }

  async #pause(ms: number): Promise<void> {
    try {
      await sleep(ms, undefined, { ref: false, signal: this.#stopping.signal });
    } catch {
      // Told to stop: the pause is over.
    }
  }

  /** Writes what lies in the rings now; false when the disk refuses and the writer is to stop. */
  async #drain(): Promise<boolean> {
    for (;;) {
      const ahead = this.#ahead;
      this.#ahead = [];
      let bytes = 0;
      let records = 0;
      for (const { auctions } of this.#options.channels) {
        auctions.take(auctions.head, this.#batch, bytes, this.#taken);
        bytes += this.#taken.bytes;
        records += this.#taken.records;
      }
      if (ahead.length === 0 && bytes === 0) return true;
      const all = bytes === 0 ? ahead : [...ahead, this.#batch.subarray(0, bytes)];
      if (!(await this.#append(all))) return false;
      this.written += records;
      // What came while this was written can wait for company, unless the batch was full.
      if (bytes < this.#batch.length / 2) return true;
    }
  }

  async #append(records: readonly Uint8Array[]): Promise<boolean> {
    const { limits, onProgress } = this.#options;
    while (!(await this.#written(records))) {
      if (this.#stopping.signal.aborted) return false;
      await this.#pause(limits.retryMs);
    }
    await onProgress();
    return true;
  }

  async #written(records: readonly Uint8Array[]): Promise<boolean> {
    const { stream, faults } = this.#options;
    try {
      await stream.append(records);
    } catch (error) {
      faults.auctions(diskFaultOf(error), error);
      return false;
    }
    faults.auctions(undefined, undefined);
    return true;
  }
}

import { setTimeout as sleep } from 'node:timers/promises';
import { decodeWholeEvent, encodeCheckpoint } from './event-codec.ts';
import type { LogStream } from './event-log-segments.ts';
import type { EventLogLimits } from './event-log-types.ts';
import { type ChannelEnd, diskFaultOf, type LogFaults } from './log-ends.ts';
import { dayOf, type LedgerSums } from './ledger-sums.ts';
import type { LogState } from './log-state.ts';
import { viewOf } from './record-frame.ts';

/** Nobody rings for this long: look all the same, so that a lost wake-up costs a pause and not a hang. */
const idleMsMax = 1000;
/** About 5000 notices; the rest goes with the next sync. */
const batchBytes = 1 << 20;

export type NoticeWriterOptions = {
  readonly stream: LogStream;
  readonly state: LogState;
  readonly channels: readonly ChannelEnd[];
  readonly limits: EventLogLimits;
  readonly sums: LedgerSums;
  readonly now: () => number;
  readonly faults: LogFaults;
  /** More has been written: is there still room? */
  readonly onProgress: () => Promise<void>;
};

/**
 * Brings notices from the rings to the disk: everything that has gathered goes with one write and one fdatasync, then all who
 * wait are told. A disk that refuses is asked again until it takes the same bytes at the same place.
 */
export class NoticeWriter {
  readonly #options: NoticeWriterOptions;
  readonly #batch = new Uint8Array(batchBytes);
  readonly #view = viewOf(this.#batch);
  readonly #taken = { bytes: 0, records: 0 };
  #isStopping = false;
  #wantsCheckpoint = false;
  written = 0;
  syncs = 0;

  constructor(options: NoticeWriterOptions) {
    this.#options = options;
  }

  /** Ends after `stop`, when all that was handed over is on disk or the disk refuses it. */
  async run(): Promise<void> {
    const { state, limits } = this.#options;
    for (;;) {
      const { bell } = state;
      const bytes = this.#take();
      if (bytes > 0 || this.#wantsCheckpoint) {
        const startedMs = performance.now();
        if (!(await this.#flush(bytes))) return;
        const pauseMs = startedMs + limits.syncMsMin - performance.now();
        if (pauseMs > 0 && !this.#isStopping) await sleep(pauseMs, undefined, { ref: false });
      } else if (this.#isStopping) {
        return;
      } else {
        await state.bellBeyond(bell, idleMsMax);
      }
    }
  }

  stop(): void {
    this.#isStopping = true;
    this.#options.state.ringBell();
  }

  /** The sums of all that is in the log go into it. */
  requestCheckpoint(): void {
    this.#wantsCheckpoint = true;
    this.#options.state.ringBell();
  }

  #take(): number {
    let bytes = 0;
    for (const channel of this.#options.channels) {
      channel.notices.take(channel.notices.head, this.#batch, bytes, this.#taken);
      bytes += this.#taken.bytes;
      channel.noticesInHand = this.#taken.records;
    }
    return bytes;
  }

  async #flush(bytes: number): Promise<boolean> {
    const { state, sums, now, limits, channels, onProgress } = this.#options;
    const records: Uint8Array[] = [];
    if (this.#wantsCheckpoint) {
      sums.forgetBefore(dayOf(now()) - 1);
      records.push(...encodeCheckpoint({ timeMs: now(), lines: sums.lines() }));
    }
    this.#wantsCheckpoint = false;
    if (bytes > 0) records.push(this.#batch.subarray(0, bytes));
    while (!(await this.#written(records))) {
      if (this.#isStopping) return false;
      await state.bellBeyond(state.bell, limits.retryMs);
    }
    this.#addUp(bytes);
    for (const channel of channels) {
      state.addDurable(channel.index, channel.noticesInHand);
      channel.noticesInHand = 0;
    }
    state.announce();
    await onProgress();
    return true;
  }

  async #written(records: readonly Uint8Array[]): Promise<boolean> {
    const { stream, faults } = this.#options;
    let appended = 0;
    try {
      await stream.append(records);
      appended = records.reduce((sum, record) => sum + record.length, 0);
      await stream.sync();
    } catch (error) {
      // What a failed sync left in the kernel's hands is unknown: it is written again, not only synced again.
      stream.rewind(appended);
      faults.notices(diskFaultOf(error), error);
      return false;
    }
    this.syncs++;
    faults.notices(undefined, undefined);
    return true;
  }

  #addUp(bytes: number): void {
    for (let at = 0; at < bytes;) {
      const length = this.#view.getUint32(at, true);
      const event = decodeWholeEvent(this.#batch, this.#view, at, length);
      if (event?.kind === 'notice') this.#options.sums.add(event.notice);
      this.written++;
      at += length;
    }
  }
}

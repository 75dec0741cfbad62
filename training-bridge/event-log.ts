import { mkdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { AuctionWriter } from './auction-writer.ts';
import { ByteRing } from './byte-ring.ts';
import { DictionaryRecords } from './dictionary-records.ts';
import type { EventLogFault } from './errors.ts';
import { encodeCheckpoint, encodeProcessStart } from './event-codec.ts';
import { type LogDisk, nodeDisk } from './event-log-disk.ts';
import { lockEventLog } from './event-log-lock.ts';
import { type RecoveredLog, recoverEventLog } from './event-log-recovery.ts';
import { LogStream, type LogStreamOptions } from './event-log-segments.ts';
import { defaultEventLogLimits, type EventLogLimits, type EventLogStatus, type StreamKind } from './event-log-types.ts';
import type { DictionaryRow, ProcessStart } from './event-records.ts';
import { dayOf, type LedgerSums } from './ledger-sums.ts';
import { LogChannel, type LogChannelLimits, type LogChannelShared, logChannelLimits } from './log-channel.ts';
import type { ChannelEnd, LogFaults } from './log-ends.ts';
import { channelCountMax, LogState } from './log-state.ts';
import { NoticeWriter } from './notice-writer.ts';

export type EventLogOptions = {
  readonly limits?: Partial<EventLogLimits>;
  readonly channelLimits?: LogChannelLimits;
  /** Epoch ms. */
  readonly now: () => number;
  /** The disk refused something, or (undefined) takes everything again. Told at each change, not at each attempt. */
  readonly onFault: (fault: EventLogFault | undefined, cause: unknown) => void;
  /** Written at the head of every segment: who wrote it. */
  readonly version?: string;
  readonly hostname?: string;
  readonly disk?: LogDisk;
};

/**
 * The one writer of an event log, on the main thread. Serving threads produce through the channels that it opens; it takes
 * from their rings, writes, syncs what is owed and says so. See README.md, "The event log".
 */
export class EventLog {
  #recovered: RecoveredLog | undefined;
  readonly #sums: LedgerSums;
  readonly #limits: EventLogLimits;
  readonly #channelLimits: LogChannelLimits;
  readonly #now: () => number;
  readonly #onFault: EventLogOptions['onFault'];
  readonly #unlock: () => void;
  readonly #auctionStream: LogStream;
  readonly #noticeStream: LogStream;
  readonly #auctions: AuctionWriter;
  readonly #notices: NoticeWriter;
  readonly #runs: Promise<unknown>;
  readonly #state = new LogState();
  readonly #channels: ChannelEnd[] = [];
  readonly #dictionary: DictionaryRecords;
  #noticeFault: EventLogFault | undefined;
  #auctionFault: EventLogFault | undefined;
  #isRetiring = false;
  #closing: Promise<void> | undefined;

  /**
   * Locks the folder (made when it is not there), cuts what was never finished, reads back what a new process needs, and
   * begins to write. Throws EVENT_LOG_LOCKED, or what the file system says.
   */
  static async open(dir: string, options: EventLogOptions): Promise<EventLog> {
    const { now, disk = nodeDisk } = options;
    const limits = { ...defaultEventLogLimits, ...options.limits };
    await mkdir(dir, { recursive: true });
    const unlock = lockEventLog(dir, now());
    const opened: LogStream[] = [];
    try {
      const recovered = await recoverEventLog(dir, now());
      // Heads of later segments need no more than this of it.
      const { sums } = recovered;
      const start = (): Uint8Array => encodeProcessStart(processStart(options));
      const dictionary = new DictionaryRecords();
      const stream = async (kind: StreamKind, head: LogStreamOptions['head']): Promise<LogStream> => {
        const { segmentBytesMax } = limits;
        const each = await LogStream.open({ dir, kind, disk, segmentBytesMax, now, head });
        opened.push(each);
        return each;
      };
      const auctions = await stream('auctions', () => [start(), ...dictionary.records]);
      const noticesHead = (): Uint8Array[] => [start(), ...checkpointOf(sums, now())];
      const notices = await stream('notices', noticesHead);
      await auctions.append([start()]);
      // With the sums, because the process before may have died while it wrote the head of this segment.
      await notices.append(noticesHead());
      await notices.sync();
      return new EventLog(options, limits, { unlock, recovered, dictionary, auctions, notices });
    } catch (error) {
      for (const each of opened) await each.close();
      unlock();
      throw error;
    }
  }

  private constructor(options: EventLogOptions, limits: EventLogLimits, opened: Opened) {
    this.#recovered = opened.recovered;
    this.#sums = opened.recovered.sums;
    this.#limits = limits;
    this.#channelLimits = options.channelLimits ?? logChannelLimits;
    this.#now = options.now;
    this.#onFault = options.onFault;
    this.#unlock = opened.unlock;
    this.#dictionary = opened.dictionary;
    this.#auctionStream = opened.auctions;
    this.#noticeStream = opened.notices;
    const shared = { limits, channels: this.#channels, faults: this.#faults, onProgress: () => this.#retire() };
    this.#auctions = new AuctionWriter({ ...shared, stream: opened.auctions });
    this.#notices = new NoticeWriter({
      ...shared,
      stream: opened.notices,
      state: this.#state,
      sums: this.#sums,
      now: options.now,
    });
    this.#runs = Promise.all([this.#auctions.run(), this.#notices.run(), this.#retire()]);
  }

  /** What the log said when it was opened; until `forgetRecovered`. */
  get recovered(): RecoveredLog {
    if (this.#recovered === undefined) throw new Error('What the log recovered has been forgotten.');
    return this.#recovered;
  }

  /** For whoever has restored from it: its tables, up to 160 MB of notice ids, are let go. Sums stay. */
  forgetRecovered(): void {
    this.#recovered = undefined;
  }

  /** One per serving thread. */
  openChannel(): LogChannelShared {
    let index = 0;
    while (this.#channels.some((channel) => channel.index === index)) index++;
    if (index >= channelCountMax) throw new RangeError(`At most ${channelCountMax} channels.`);
    const shared = LogChannel.allocate(index, this.#state, this.#channelLimits);
    const { auctions, notices } = shared;
    this.#channels.push({
      index,
      auctions: new ByteRing(auctions),
      notices: new ByteRing(notices),
      noticesInHand: 0,
    });
    return shared;
  }

  /**
   * After its thread has died: what it had handed over is written, and nobody waits any longer for what it had only
   * counted.
   */
  async closeChannel({ index }: LogChannelShared): Promise<void> {
    const channel = this.#channels.find((each) => each.index === index);
    if (channel === undefined) return;
    this.#state.ringBell();
    while (channel.notices.usedBytes > 0 || channel.noticesInHand > 0 || channel.auctions.usedBytes > 0) {
      if (this.#closing !== undefined) return;
      await sleep(5, undefined, { ref: false });
    }
    this.#channels.splice(this.#channels.indexOf(channel), 1);
    this.#state.addDurable(index, (this.#state.committed(index) - this.#state.durable(index)) | 0);
    this.#state.announce();
  }

  /** What ad rows mean. In the log before any auction that is handed over after this call; repeated at the head of each segment. */
  writeDictionary(rows: readonly DictionaryRow[]): void {
    this.#auctions.writeAhead(this.#dictionary.add(rows));
  }

  /** Writes the ledger's sums; they are at the head of every segment of notices anyway. */
  checkpoint(): void {
    this.#notices.requestCheckpoint();
  }

  /** Sums of the log's notices by line item id on a UTC day (of `timeMs`; today and yesterday are kept). */
  chargesOf(timeMs: number): RecoveredLog['charges'] {
    return this.#sums.ofDay(dayOf(timeMs));
  }

  get status(): EventLogStatus {
    let auctionsDropped = 0;
    let noticesRefused = 0;
    for (let channel = 0; channel < channelCountMax; channel++) {
      auctionsDropped += this.#state.auctionsDropped(channel);
      noticesRefused += this.#state.noticesRefused(channel);
    }
    return {
      fault: this.#noticeFault ?? this.#auctionFault,
      segmentCount: this.#auctionStream.segments.length + this.#noticeStream.segments.length,
      bytes: this.#auctionStream.bytes + this.#noticeStream.bytes,
      auctionsWritten: this.#auctions.written,
      auctionsDropped,
      noticesWritten: this.#notices.written,
      noticesRefused,
      syncs: this.#notices.syncs,
      tornBytes: this.#auctionStream.tornBytes + this.#noticeStream.tornBytes,
    };
  }

  /** Writes and syncs what was handed over, gives the lock back. Whoever still waits is told EVENT_LOG_CLOSED. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    // The writers' pauses keep no process alive, and this must end before it does.
    const alive = setInterval(() => {}, 1000);
    this.#auctions.stop();
    this.#notices.stop();
    await this.#runs;
    this.#state.setFault('EVENT_LOG_CLOSED');
    try {
      await this.#auctionStream.sync();
    } finally {
      await this.#auctionStream.close();
      await this.#noticeStream.close();
      this.#unlock();
      clearInterval(alive);
    }
  }

  readonly #faults: LogFaults = {
    notices: (fault, cause) => {
      if (fault === this.#noticeFault) return;
      this.#noticeFault = fault;
      this.#state.setFault(fault);
      this.#onFault(fault, cause);
    },
    auctions: (fault, cause) => {
      if (fault === this.#auctionFault) return;
      this.#auctionFault = fault;
      this.#onFault(fault, cause);
    },
  };

  /** Oldest first until the total fits: auctions, then notices that nothing can repeat any more. */
  async #retire(): Promise<void> {
    if (this.#isRetiring) return;
    this.#isRetiring = true;
    try {
      const isTooLarge = (): boolean =>
        this.#auctionStream.bytes + this.#noticeStream.bytes > this.#limits.totalBytesMax;
      while (isTooLarge() && (await this.#auctionStream.retireOldest(Number.POSITIVE_INFINITY)) > 0);
      const olderThanMs = this.#now() - this.#limits.keepMsMin;
      while (isTooLarge() && (await this.#noticeStream.retireOldest(olderThanMs)) > 0);
    } catch (error) {
      // A segment that cannot be deleted costs space, not records: the next rotation tries again.
      this.#onFault('EVENT_LOG_WRITE_FAILED', error);
    } finally {
      this.#isRetiring = false;
    }
  }
}

type Opened = {
  readonly unlock: () => void;
  readonly recovered: RecoveredLog;
  readonly dictionary: DictionaryRecords;
  readonly auctions: LogStream;
  readonly notices: LogStream;
};

function processStart({ now, version = '', hostname = '' }: EventLogOptions): ProcessStart {
  return { timeMs: now(), pid: process.pid, version, hostname };
}

function checkpointOf(sums: LedgerSums, nowMs: number): Uint8Array[] {
  sums.forgetBefore(dayOf(nowMs) - 1);
  return encodeCheckpoint({ timeMs: nowMs, lines: sums.lines() });
}

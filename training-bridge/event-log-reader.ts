import { type FileHandle, open } from 'node:fs/promises';
import { decodeAuction } from './auction-decoder.ts';
import { type CheckpointPart, decodeWholeEvent } from './event-codec.ts';
import { AuctionDraft, type DictionaryRow, type NoticeRecord, type ProcessStart, schemaIds } from './event-records.ts';
import { listSegments, type SegmentInfo } from './event-log-segments.ts';
import type { StreamKind } from './event-log-types.ts';
import { SegmentCursor } from './segment-cursor.ts';

/** Who reads the log. Whatever returns 'STOP' ends the reading; a kind without a method is not decoded. */
export type EventVisitor = {
  /** The draft is reused: it holds this auction until the call returns. */
  auction?(draft: AuctionDraft): void | 'STOP';
  notice?(notice: NoticeRecord): void | 'STOP';
  dictionary?(rows: readonly DictionaryRow[]): void | 'STOP';
  checkpoint?(part: CheckpointPart): void | 'STOP';
  processStart?(start: ProcessStart): void | 'STOP';
};

/** Records from `fromMs` on and before `toMs`, by their own time. Dictionary rows come whatever the time: records need them. */
export type ReadRange = { readonly fromMs?: number; readonly toMs?: number };

export type ReadSummary = {
  records: number;
  /** Whole records whose inside this code cannot read: counted, skipped. */
  undecodable: number;
  /** Bytes stepped over between whole records, and in how many places. */
  skippedBytes: number;
  damagedPlaces: number;
  /** Begun but not finished at the end of a segment: a writer at work, or one that died. */
  unfinishedBytes: number;
};

/** A record lies in the ring for seconds at most before it is written: segments are chosen by time with this slack. */
const slackMs = 60_000;

export function newSummary(): ReadSummary {
  return { records: 0, undecodable: 0, skippedBytes: 0, damagedPlaces: 0, unfinishedBytes: 0 };
}

/**
 * Reads the log in order: within auctions and within notices as they were written, the two merged by their times. May run
 * while a writer is at work, and reads what is there when it comes to the end. Damage is skipped and counted, never thrown.
 */
export async function readEventLog(dir: string, visitor: EventVisitor, range: ReadRange = {}): Promise<ReadSummary> {
  const summary = newSummary();
  const wantsAuctions =
    visitor.auction !== undefined || visitor.dictionary !== undefined || visitor.processStart !== undefined;
  const wantsNotices = visitor.notice !== undefined || visitor.checkpoint !== undefined;
  const auctions = wantsAuctions ? await StreamCursor.open(dir, 'auctions', range, summary) : undefined;
  const notices = wantsNotices ? await StreamCursor.open(dir, 'notices', range, summary) : undefined;
  const dispatch = new Dispatch(visitor, range, summary);
  try {
    let hasAuction = auctions !== undefined && (await auctions.next());
    let hasNotice = notices !== undefined && (await notices.next());
    while (hasAuction || hasNotice) {
      if (hasAuction && (!hasNotice || auctions!.timeMs <= notices!.timeMs)) {
        if (dispatch.take(auctions!) === 'STOP') break;
        hasAuction = auctions!.nextBuffered() || (await auctions!.next());
      } else {
        if (dispatch.take(notices!) === 'STOP') break;
        hasNotice = notices!.nextBuffered() || (await notices!.next());
      }
    }
  } finally {
    await auctions?.close();
    await notices?.close();
  }
  return summary;
}

/** All segments of one stream as one walk. */
export class StreamCursor {
  readonly #segments: SegmentInfo[];
  readonly #summary: ReadSummary;
  readonly #toMs: number;
  #handle: FileHandle | undefined;
  #cursor: SegmentCursor | undefined;
  /** Time of the record, or of the last before it that carries one. */
  timeMs = 0;

  private constructor(segments: SegmentInfo[], summary: ReadSummary, toMs: number) {
    this.#segments = segments;
    this.#summary = summary;
    this.#toMs = toMs;
  }

  static async open(dir: string, kind: StreamKind, range: ReadRange, summary: ReadSummary): Promise<StreamCursor> {
    const segments = await listSegments(dir, kind);
    const fromMs = range.fromMs ?? Number.NEGATIVE_INFINITY;
    // A segment that was last written before the range began holds nothing of it.
    while (segments.length > 1 && segments[0]!.lastWrittenMs < fromMs - slackMs) segments.shift();
    return new StreamCursor(segments, summary, range.toMs ?? Number.POSITIVE_INFINITY);
  }

  get record(): SegmentCursor {
    return this.#cursor!;
  }

  nextBuffered(): boolean {
    if (this.#cursor === undefined || !this.#cursor.nextBuffered()) return false;
    this.timeMs = this.#cursor.timeMs ?? this.timeMs;
    return true;
  }

  async next(): Promise<boolean> {
    for (;;) {
      if (this.#cursor === undefined && !(await this.#openNext())) return false;
      if (await this.#cursor!.next()) {
        this.timeMs = this.#cursor!.timeMs ?? this.timeMs;
        if (this.#cursor!.schemaId !== schemaIds.processStart || this.timeMs <= this.#toMs + slackMs) return true;
        // Every segment begins with the time at which it was begun: nothing behind this one is in the range.
        this.#segments.length = 0;
      }
      await this.close();
    }
  }

  async #openNext(): Promise<boolean> {
    for (;;) {
      const segment = this.#segments.shift();
      if (segment === undefined) return false;
      try {
        this.#handle = await open(segment.path, 'r');
      } catch (error) {
        // Retention was quicker.
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
        throw error;
      }
      this.#cursor = new SegmentCursor(this.#handle);
      return true;
    }
  }

  async close(): Promise<void> {
    if (this.#cursor !== undefined) {
      this.#summary.skippedBytes += this.#cursor.skippedBytes;
      this.#summary.damagedPlaces += this.#cursor.damagedPlaces;
      this.#summary.unfinishedBytes += this.#cursor.unfinishedBytes;
    }
    this.#cursor = undefined;
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close();
  }
}

/** Decodes a record and hands it to the visitor's method for it. */
class Dispatch {
  readonly #visitor: EventVisitor;
  readonly #fromMs: number;
  readonly #toMs: number;
  readonly #summary: ReadSummary;
  readonly #draft = new AuctionDraft();

  constructor(visitor: EventVisitor, range: ReadRange, summary: ReadSummary) {
    this.#visitor = visitor;
    this.#fromMs = range.fromMs ?? Number.NEGATIVE_INFINITY;
    this.#toMs = range.toMs ?? Number.POSITIVE_INFINITY;
    this.#summary = summary;
  }

  take(stream: StreamCursor): void | 'STOP' {
    const { record } = stream;
    this.#summary.records++;
    const isInRange = stream.timeMs >= this.#fromMs && stream.timeMs < this.#toMs;
    if (!isInRange && record.schemaId !== schemaIds.dictionary) return;
    if (record.schemaId === schemaIds.auction) {
      if (this.#visitor.auction === undefined) return;
      try {
        decodeAuction(record.bytes, record.at, this.#draft);
      } catch {
        this.#summary.undecodable++;
        return;
      }
      return this.#visitor.auction(this.#draft);
    }
    return this.#deliver(record);
  }

  #deliver(record: SegmentCursor): void | 'STOP' {
    const visitor = this.#visitor;
    let event: ReturnType<typeof decodeWholeEvent>;
    try {
      event = decodeWholeEvent(record.bytes, record.view, record.at, record.length);
    } catch {
      this.#summary.undecodable++;
      return;
    }
    switch (event?.kind) {
      case 'notice':
        return visitor.notice?.(event.notice);
      case 'dictionary':
        return visitor.dictionary?.(event.rows);
      case 'ledger-checkpoint':
        return visitor.checkpoint?.(event.checkpoint);
      case 'process-start':
        return visitor.processStart?.(event.start);
      case undefined:
        // From a newer writer.
        return undefined;
    }
  }
}

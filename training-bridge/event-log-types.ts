import type { EventLogFault } from './errors.ts';

export type EventLogStatus = {
  readonly fault: EventLogFault | undefined;
  readonly segmentCount: number;
  readonly bytes: number;
  readonly auctionsWritten: number;
  readonly auctionsDropped: number;
  readonly noticesWritten: number;
  readonly syncs: number;
  readonly tornBytes: number;
};

export type EventLogLimits = {
  /** A segment that has grown past this is closed and the next one begun. */
  readonly segmentBytesMax: number;
  /** Old segments go when all together are larger. */
  readonly totalBytesMax: number;
  /** Segments younger than this stay whatever their size: their notice ids still guard against repetition. */
  readonly keepMsMin: number;
  /** Bytes taken from the rings and written at once. */
  readonly batchBytesMax: number;
  /** Auctions wait at most this long in the ring before they are written. */
  readonly flushMsMax: number;
  /** Pause between two fdatasyncs: notices that come meanwhile share the next one. */
  readonly syncMsMin: number;
  /** After a fault the write is tried again this often. */
  readonly retryMs: number;
};

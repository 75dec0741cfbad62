import type { EventLogFault } from './errors.ts';

export type EventLogStatus = {
  /** Why notices, or else auctions, cannot be written at present. */
  readonly fault: EventLogFault | undefined;
  readonly segmentCount: number;
  readonly bytes: number;
  readonly auctionsWritten: number;
  readonly auctionsDropped: number;
  readonly noticesWritten: number;
  readonly noticesRefused: number;
  readonly syncs: number;
  /** Cut off behind the last whole record when the log was opened. */
  readonly tornBytes: number;
};

export type EventLogLimits = {
  /** A segment that has grown past this is closed and the next one begun. */
  readonly segmentBytesMax: number;
  /** Old segments go when all together are larger: auctions first. */
  readonly totalBytesMax: number;
  /** Segments of notices younger than this stay whatever their size: their ids still guard against repetition. */
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

export const defaultEventLogLimits: EventLogLimits = {
  // 16 s at 4000 auctions/s of 4 KB; the dictionary at its head (26 bytes a row) is then 10 % at a million ads.
  segmentBytesMax: 256 << 20,
  totalBytesMax: 4 * 1024 ** 3,
  // The longest-lived notice, a conversion, may be repeated for seven days.
  keepMsMin: 8 * 24 * 3_600_000,
  batchBytesMax: 4 << 20,
  flushMsMax: 100,
  syncMsMin: 2,
  retryMs: 500,
};

/**
 * The log is two rows of segments. What is owed has its own, so that syncing it does not flush the megabytes of auctions
 * that came meanwhile, that recovery reads nothing else, and that it can be kept longer.
 */
export const streamKinds = ['auctions', 'notices'] as const;
export type StreamKind = (typeof streamKinds)[number];

import { type BreakerLimits, breakerDefaults } from './breaker.ts';

/** What one thread's lookup may hold and have under way. */
export type LookupLimits = {
  /** Values (and absences) that the thread keeps, over all tables. */
  readonly cacheEntriesMax: number;
  /** Memory of their keys and values; the bookkeeping adds about 100 bytes an entry. */
  readonly cacheBytesMax: number;
  /** Calls under way to one copy of a shard; whoever comes on top is refused at once. */
  readonly callsInFlightMax: number;
  /** A call unanswered at its request's cut-off counts as a failure, but not before it has waited this long. */
  readonly hangMsMin: number;
  readonly breaker: BreakerLimits;
  /** Batches under way to the cold stores, keys that wait for one, and keys in one. */
  readonly coldCallsInFlightMax: number;
  readonly coldKeysMax: number;
  readonly coldBatchKeysMax: number;
  /** Copies whose breakers and latencies are remembered, over all stores; a cluster that moves leaves old ones behind. */
  readonly copiesMax: number;
  /** How long `close` waits for stores to settle what was asked of them. */
  readonly closeWaitMs: number;
};

export const lookupDefaults: LookupLimits = {
  cacheEntriesMax: 65_536,
  cacheBytesMax: 33_554_432,
  // A thread at 5,000 requests/s that stands still for 50 ms has 250 calls to start at once.
  callsInFlightMax: 256,
  hangMsMin: 5,
  breaker: breakerDefaults,
  coldCallsInFlightMax: 4,
  coldKeysMax: 4096,
  coldBatchKeysMax: 64,
  copiesMax: 256,
  closeWaitMs: 2000,
};

/** How often the one timer looks at what is pending. */
export const tickMs = 1;

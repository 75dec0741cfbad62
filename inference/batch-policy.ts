import type { BatchCost } from './cost-model.ts';

/** Rows of one batch, padding included. 1600 = 8 usual requests: beyond it a batch adds latency and no throughput on a CPU. */
export const batchRowsMax = 1600;
/** Requests that are looked at for one batch: more small ones than this ride with the next. */
export const batchRequestsMax = 32;
/** Rows of a chunk are a multiple of this: few shapes, at most 7 padded rows a chunk. */
export const chunkRowsStep = 8;
/** The most rows of a chunk. */
export const chunkRowsMax = 200;
/** What a chunk costs beside its rows (the user's part of the head is worked out once per chunk), in rows. */
export const chunkOverheadRows = 8;

/** Requests as a scoring thread sees them in the queue, oldest first: columns, reused from batch to batch. */
export type WaitingRequests = {
  count: number;
  readonly capacity: number;
  readonly pieces: Int32Array;
  readonly rowCounts: Int32Array;
  readonly modelSlots: Int32Array;
  readonly deadlinesMs: Float64Array;
  /** The decision, by request. */
  readonly fates: Uint8Array;
};

export function waitingRequests(capacity = batchRequestsMax): WaitingRequests {
  return {
    count: 0,
    capacity,
    pieces: new Int32Array(capacity),
    rowCounts: new Int32Array(capacity),
    modelSlots: new Int32Array(capacity),
    deadlinesMs: new Float64Array(capacity),
    fates: new Uint8Array(capacity),
  };
}

export const fate = { later: 0, take: 1, tooLate: 2 } as const;
export type BatchEnd = 'ALL_WAITING' | 'DEADLINE_NEAR' | 'BATCH_FULL';

/**
 * Asked when a scoring thread is free: nobody waits for company, so the batch is whatever gathered meanwhile, for the model of
 * the oldest request that is still in time, cut where one more request would make an earlier one late or the batch too large.
 * Requests whose deadline has passed are told so without being scored. Fills `fates`.
 */
export function nextBatch(waiting: WaitingRequests, costs: readonly BatchCost[], nowMs: number): BatchEnd {
  const { count, rowCounts, modelSlots, deadlinesMs, fates } = waiting;
  let end: BatchEnd = 'ALL_WAITING';
  let modelSlot = -1;
  let rowCount = 0;
  let earliestDeadlineMs = Number.POSITIVE_INFINITY;
  for (let index = 0; index < count; index++) {
    fates[index] = fate.later;
    if (deadlinesMs[index]! < nowMs) {
      fates[index] = fate.tooLate;
      continue;
    }
    if (end !== 'ALL_WAITING' || (modelSlot >= 0 && modelSlots[index] !== modelSlot)) continue;
    const isFirst = modelSlot < 0;
    const cost = costs[modelSlots[index]!];
    const rows = rowCount + paddedRows(rowCounts[index]!);
    const deadlineMs = Math.min(earliestDeadlineMs, deadlinesMs[index]!);
    if (!isFirst) {
      if (rows > batchRowsMax) end = 'BATCH_FULL';
      else if (cost !== undefined && nowMs + cost.fixedMs + rows * cost.perRowMs > deadlineMs) end = 'DEADLINE_NEAR';
      if (end !== 'ALL_WAITING') continue;
    }
    modelSlot = modelSlots[index]!;
    rowCount = rows;
    earliestDeadlineMs = deadlineMs;
    fates[index] = fate.take;
  }
  return end;
}

/** Rows of a request when its chunks are cut for it alone. */
export function paddedRows(rowCount: number): number {
  const chunks = Math.ceil(rowCount / chunkRowsMax);
  return chunks * roundedUp(rowCount / chunks);
}

/**
 * Rows per chunk for a batch of these requests: the graph takes [chunks, rows per chunk], so requests of different sizes are
 * cut into chunks of one size. Picks the size with the least work, padding and the cost of a chunk weighed against each other.
 */
export function chunkRowsOf(rowCounts: Int32Array, count: number): number {
  if (count === 1) return roundedUp(rowCounts[0]! / Math.ceil(rowCounts[0]! / chunkRowsMax));
  let best = chunkRowsMax;
  let bestWork = Number.POSITIVE_INFINITY;
  for (let rows = chunkRowsMax; rows > 0; rows -= chunkRowsStep) {
    let chunks = 0;
    for (let index = 0; index < count; index++) chunks += Math.ceil(rowCounts[index]! / rows);
    const work = chunks * (rows + chunkOverheadRows);
    if (work >= bestWork) continue;
    best = rows;
    bestWork = work;
  }
  return best;
}

function roundedUp(rows: number): number {
  return Math.ceil(rows / chunkRowsStep) * chunkRowsStep;
}

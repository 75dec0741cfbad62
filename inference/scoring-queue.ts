import type { WaitingRequests } from './batch-policy.ts';
import {
  deadlineTime,
  headerWords,
  modelSlotWord,
  requestState,
  rowCountWord,
  stateWord,
  type ScoringMemory,
  submissionWord,
  submittedTime,
  timeWords,
} from './scoring-shared.ts';

/** An entry: the piece among its client's in the low bits, its submission above. */
const pieceBits = 16;
const pieceMask = (1 << pieceBits) - 1;

/**
 * Requests on their way to the scoring threads: per client a ring of entries, one producer and many consumers.
 *
 * Nothing here can be left half done by a thread that dies. A request changes hands by one compare-and-swap on its own state
 * word, never by its place in the ring; an entry whose request is no longer queued is passed by whoever sees it first. It names
 * its submission, because the piece may long be queued again for another request with an entry of its own further back.
 */
export class ScoringQueue {
  readonly #memory: ScoringMemory;
  readonly #cursors: Int32Array;

  constructor(memory: ScoringMemory) {
    this.#memory = memory;
    this.#cursors = new Int32Array(memory.clientCount);
  }

  /** The client's own thread only. Marks the request queued and rings; false when the ring is full, and then nothing was done. */
  push(client: number, piece: number): boolean {
    const { control, headers, rings, ringMask, piecesPerClient } = this.#memory;
    const tailWord = this.#memory.clientTail(client);
    const tail = Atomics.load(control, tailWord);
    if (((tail - Atomics.load(control, this.#memory.clientHead(client))) | 0) > ringMask) {
      this.#passFinished(client);
      if (((tail - Atomics.load(control, this.#memory.clientHead(client))) | 0) > ringMask) return false;
    }
    const header = piece * headerWords;
    const submission = (headers[header + submissionWord]! + 1) & pieceMask;
    headers[header + submissionWord] = submission;
    const entry = (submission << pieceBits) | (piece - client * piecesPerClient);
    Atomics.store(headers, header + stateWord, requestState.queued);
    Atomics.store(rings, client * (ringMask + 1) + (tail & ringMask), entry);
    Atomics.store(control, tailWord, (tail + 1) | 0);
    this.#memory.ringBell(this.#memory.bell, 1);
    return true;
  }

  /** Fills `waiting` with what is queued now, oldest first over all clients, up to its capacity. A snapshot: nothing is taken. */
  look(waiting: WaitingRequests): void {
    const { control, clientCount, headers, times } = this.#memory;
    waiting.count = 0;
    for (let client = 0; client < clientCount; client++) {
      this.#passFinished(client);
      this.#cursors[client] = Atomics.load(control, this.#memory.clientHead(client));
    }
    while (waiting.count < waiting.capacity) {
      let oldest = -1;
      let oldestClient = -1;
      let oldestMs = Number.POSITIVE_INFINITY;
      for (let client = 0; client < clientCount; client++) {
        const piece = this.#nextQueued(client);
        if (piece < 0) continue;
        const submittedMs = times[piece * timeWords + submittedTime]!;
        if (oldest >= 0 && submittedMs >= oldestMs) continue;
        oldest = piece;
        oldestClient = client;
        oldestMs = submittedMs;
      }
      if (oldest < 0) return;
      this.#cursors[oldestClient] = (this.#cursors[oldestClient]! + 1) | 0;
      const at = waiting.count++;
      waiting.pieces[at] = oldest;
      waiting.rowCounts[at] = headers[oldest * headerWords + rowCountWord]!;
      waiting.modelSlots[at] = headers[oldest * headerWords + modelSlotWord]!;
      waiting.deadlinesMs[at] = times[oldest * timeWords + deadlineTime]!;
    }
  }

  #nextQueued(client: number): number {
    const { control, rings, ringMask } = this.#memory;
    const tail = Atomics.load(control, this.#memory.clientTail(client));
    let cursor = this.#cursors[client]!;
    for (; cursor !== tail; cursor = (cursor + 1) | 0) {
      const piece = this.#queuedPiece(client, Atomics.load(rings, client * (ringMask + 1) + (cursor & ringMask)));
      if (piece < 0) continue;
      this.#cursors[client] = cursor;
      return piece;
    }
    this.#cursors[client] = cursor;
    return -1;
  }

  /** The piece of an entry whose request is still queued; else −1. The state is read first: it is written last. */
  #queuedPiece(client: number, entry: number): number {
    const piece = client * this.#memory.piecesPerClient + (entry & pieceMask);
    if (this.#memory.stateOf(piece) !== requestState.queued) return -1;
    return this.#memory.headers[piece * headerWords + submissionWord] === entry >>> pieceBits ? piece : -1;
  }

  #passFinished(client: number): void {
    const { control, rings, ringMask } = this.#memory;
    const headWord = this.#memory.clientHead(client);
    for (;;) {
      const head = Atomics.load(control, headWord);
      if (head === Atomics.load(control, this.#memory.clientTail(client))) return;
      if (this.#queuedPiece(client, Atomics.load(rings, client * (ringMask + 1) + (head & ringMask))) >= 0) return;
      Atomics.compareExchange(control, headWord, head, (head + 1) | 0);
    }
  }
}

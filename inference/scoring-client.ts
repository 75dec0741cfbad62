import { batchRowsMax, paddedRows } from './batch-policy.ts';
import { ScoringQueue } from './scoring-queue.ts';
import {
  claimedTime,
  costWords,
  deadlineTime,
  headerWords,
  modelSlotWord,
  piecesOf,
  requestRowsMax,
  requestState,
  rowCountWord,
  ScoringMemory,
  type ScoringShared,
  stateWord,
  submittedTime,
  timeWords,
} from './scoring-shared.ts';

/** How a request ended. */
export type ScoringOutcome = 'SCORED' | 'TOO_LATE' | 'FAILED';

/** How often a client with requests under way looks for those past their deadline. */
const sweepMs = 5;
/** A request that a thread has taken may end this much after its deadline before its caller is told that it is too late. */
const overdueMsMax = 50;

/**
 * Where a slot of this client stands, beside the state in shared memory. `abandoned`: the caller has its answer, a scoring thread
 * may still write there. `orphaned`: the caller has also given it back.
 */
const slotState = { free: 0, filling: 1, submitted: 2, answered: 3, abandoned: 4, orphaned: 5 } as const;

/**
 * The serving thread's end of scoring: takes memory for a request, hands it over, and calls `onFinished` exactly once for each
 * request that was submitted. Slots are numbers of this client's own pieces. One object per thread, used by that thread alone.
 */
export class ScoringClient {
  readonly #memory: ScoringMemory;
  readonly #queue: ScoringQueue;
  readonly #index: number;
  readonly #firstPiece: number;
  readonly #now: () => number;
  readonly #onFinished: (slot: number, outcome: ScoringOutcome) => void;
  /** By slot; a request's later pieces say `filling` too, so that nobody takes them. */
  readonly #slots: Uint8Array;
  /** Slots that the scoring threads may still touch, in the order of submission. */
  readonly #underWay: Int32Array;
  readonly #done: Int32Array;
  #underWayCount = 0;
  #rowsUnderWay = 0;
  #freePieces: number;
  /** No free piece lies before this one: the lowest is taken, so that a quiet server stays within a few warm pieces. */
  #firstFree = 0;
  #lastModelSlot = 0;
  #isRunning = false;
  #sweep: NodeJS.Timeout | undefined;

  /** `now` in ms must be comparable with the scoring threads': performance.timeOrigin + performance.now(). */
  constructor(
    shared: ScoringShared,
    clientIndex: number,
    now: () => number,
    onFinished: (slot: number, outcome: ScoringOutcome) => void,
  ) {
    if (!(clientIndex >= 0 && clientIndex < shared.clientCount)) throw new RangeError(`No client ${clientIndex}.`);
    this.#memory = new ScoringMemory(shared);
    this.#queue = new ScoringQueue(this.#memory);
    this.#index = clientIndex;
    this.#firstPiece = clientIndex * shared.piecesPerClient;
    this.#now = now;
    this.#onFinished = onFinished;
    this.#slots = new Uint8Array(shared.piecesPerClient);
    this.#underWay = new Int32Array(shared.piecesPerClient);
    this.#done = new Int32Array(shared.piecesPerClient);
    this.#freePieces = shared.piecesPerClient;
    this.#takeOver();
  }

  /** Memory for a request of 1 to 1,000 rows; −1 when there is none. Its views are whole pieces: fill the first `rowCount` rows. */
  begin(rowCount: number): number {
    if (!(rowCount >= 1 && rowCount <= requestRowsMax))
      throw new RangeError(`A request has 1 to ${requestRowsMax} rows, not ${rowCount}.`);
    const pieces = piecesOf(rowCount);
    if (pieces > this.#freePieces) return -1;
    const slot = this.#findFree(pieces);
    if (slot < 0) return -1;
    this.#slots.fill(slotState.filling, slot, slot + pieces);
    this.#freePieces -= pieces;
    if (slot === this.#firstFree) this.#firstFree = slot + pieces;
    this.#memory.headers[(this.#firstPiece + slot) * headerWords + rowCountWord] = rowCount;
    return slot;
  }

  /** 64 numbers: the request vector. */
  userOf(slot: number): Float32Array {
    return this.#memory.userView(this.#firstPiece + slot);
  }

  adIdsOf(slot: number): Int32Array {
    return this.#memory.adIdsView(this.#firstPiece + slot, this.#rowCountOf(slot));
  }

  /** Rows of 16. */
  crossOf(slot: number): Float32Array {
    return this.#memory.crossView(this.#firstPiece + slot, this.#rowCountOf(slot));
  }

  /** Rows of 2: click, conversion. Meaningful after `SCORED`, valid until `release`. */
  logitsOf(slot: number): Float32Array {
    return this.#memory.logitsView(this.#firstPiece + slot, this.#rowCountOf(slot));
  }

  /** When a scoring thread took the request; 0 before that. */
  claimedMsOf(slot: number): number {
    return this.#memory.times[(this.#firstPiece + slot) * timeWords + claimedTime]!;
  }

  /** Hands the request over: nothing of it may be written any more. `onFinished` follows, never from within this call. */
  submit(slot: number, modelSlot: number, deadlineMs: number): void {
    if (this.#slots[slot] !== slotState.filling) throw new RangeError(`Slot ${slot} is not being filled.`);
    const { headers, times, control } = this.#memory;
    const piece = this.#firstPiece + slot;
    headers[piece * headerWords + modelSlotWord] = modelSlot;
    times[piece * timeWords + deadlineTime] = deadlineMs;
    times[piece * timeWords + submittedTime] = this.#now();
    times[piece * timeWords + claimedTime] = 0;
    this.#slots[slot] = slotState.submitted;
    this.#underWay[this.#underWayCount++] = slot;
    this.#rowsUnderWay += paddedRows(this.#rowCountOf(slot));
    Atomics.store(control, this.#memory.clientRows(this.#index), this.#rowsUnderWay);
    this.#lastModelSlot = modelSlot;
    if (!this.#queue.push(this.#index, piece)) {
      // Answered by the watch like any other: the caller is not called back from here.
      Atomics.store(headers, piece * headerWords + stateWord, requestState.tooLate);
      this.#memory.ringBell(this.#memory.clientBell(this.#index), 1);
    }
    this.#sweep ??= setTimeout(this.#onSweep, sweepMs);
  }

  /** Gives the memory back: after `onFinished`, or before it by a caller who no longer wants to be called. */
  release(slot: number): void {
    const state = this.#slots[slot];
    if (state === slotState.filling || state === slotState.answered) this.#free(slot);
    else if (state === slotState.submitted || state === slotState.abandoned) this.#slots[slot] = slotState.orphaned;
    else throw new RangeError(`Slot ${slot} is not taken.`);
  }

  /**
   * How long a request of `rowCount` rows would take from submission to its logits, if it came now: all rows under way in all
   * serving threads, spread over the scoring threads, then its own. 0 rows: the wait alone.
   */
  predictedWaitMs(rowCount: number): number {
    const { control, costs, clientCount } = this.#memory;
    let rows = 0;
    for (let client = 0; client < clientCount; client++) rows += Atomics.load(control, this.#memory.clientRows(client));
    const threads = Math.max(1, Atomics.load(control, this.#memory.servingThreads));
    const fixedMs = costs[this.#lastModelSlot * costWords]!;
    const perRowMs = costs[this.#lastModelSlot * costWords + 1]!;
    const waitMs = rows === 0 ? 0 : (rows * perRowMs + Math.ceil(rows / batchRowsMax) * fixedMs) / threads;
    return rowCount === 0 ? waitMs : waitMs + fixedMs + rowCount * perRowMs;
  }

  /** Requests submitted and not answered. */
  get underWayCount(): number {
    return this.#underWayCount;
  }

  start(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    void this.#watch();
  }

  /** Nothing is called back any more. */
  stop(): void {
    this.#isRunning = false;
    clearTimeout(this.#sweep);
    this.#sweep = undefined;
    this.#memory.ringBell(this.#memory.clientBell(this.#index), 1);
  }

  /** One wait in shared memory serves all requests: whoever finished since is found by looking at those under way. */
  async #watch(): Promise<void> {
    const { control } = this.#memory;
    const bell = this.#memory.clientBell(this.#index);
    while (this.#isRunning) {
      const rung = Atomics.load(control, bell);
      this.#collect();
      const wait = Atomics.waitAsync(control, bell, rung);
      if (wait.async) await wait.value;
    }
  }

  readonly #onSweep = (): void => {
    this.#sweep = undefined;
    if (!this.#isRunning) return;
    this.#giveUpLate();
    this.#collect();
    if (this.#underWayCount > 0) this.#sweep = setTimeout(this.#onSweep, sweepMs);
  };

  /** Takes out of the list what the scoring threads are done with, then answers it: the caller may submit from within. */
  #collect(): void {
    let kept = 0;
    let doneCount = 0;
    for (let index = 0; index < this.#underWayCount; index++) {
      const slot = this.#underWay[index]!;
      const state = this.#memory.stateOf(this.#firstPiece + slot);
      // A claimed state is larger than all others: it carries the thread's place.
      if (state < requestState.scored || state > requestState.failed) {
        this.#underWay[kept++] = slot;
        continue;
      }
      this.#rowsUnderWay -= paddedRows(this.#rowCountOf(slot));
      if (this.#slots[slot] === slotState.submitted) this.#done[doneCount++] = slot;
      else if (this.#slots[slot] === slotState.orphaned) this.#free(slot);
      else this.#slots[slot] = slotState.answered;
    }
    if (kept === this.#underWayCount) return;
    this.#underWayCount = kept;
    Atomics.store(this.#memory.control, this.#memory.clientRows(this.#index), this.#rowsUnderWay);
    for (let index = 0; index < doneCount; index++) {
      const slot = this.#done[index]!;
      // A caller may give back one slot while it is called about another.
      if (this.#slots[slot] === slotState.orphaned) {
        this.#free(slot);
        continue;
      }
      this.#slots[slot] = slotState.answered;
      this.#tell(slot, outcomes[this.#memory.stateOf(this.#firstPiece + slot)]!);
    }
  }

  /** Queued past the deadline: taken back. Taken by a thread and long overdue: the caller is told, the memory stays. */
  #giveUpLate(): void {
    const nowMs = this.#now();
    for (let index = 0; index < this.#underWayCount; index++) {
      const slot = this.#underWay[index]!;
      const piece = this.#firstPiece + slot;
      const overdueMs = nowMs - this.#memory.times[piece * timeWords + deadlineTime]!;
      if (!(overdueMs > 0) || this.#memory.changeState(piece, requestState.queued, requestState.tooLate)) continue;
      if (overdueMs <= overdueMsMax || this.#slots[slot] !== slotState.submitted) continue;
      if (this.#memory.stateOf(piece) <= requestState.failed) continue;
      this.#slots[slot] = slotState.abandoned;
      this.#tell(slot, 'TOO_LATE');
    }
  }

  /** A serving thread that follows one that died: what that one had queued is void, what a scoring thread holds is let finish. */
  #takeOver(): void {
    for (let slot = 0; slot < this.#slots.length; slot++) {
      const piece = this.#firstPiece + slot;
      this.#memory.changeState(piece, requestState.queued, requestState.failed);
      if (this.#memory.stateOf(piece) <= requestState.failed) continue;
      const pieces = piecesOf(this.#rowCountOf(slot));
      this.#slots.fill(slotState.filling, slot, slot + pieces);
      this.#slots[slot] = slotState.orphaned;
      this.#freePieces -= pieces;
      this.#underWay[this.#underWayCount++] = slot;
      this.#rowsUnderWay += paddedRows(this.#rowCountOf(slot));
    }
    Atomics.store(this.#memory.control, this.#memory.clientRows(this.#index), this.#rowsUnderWay);
  }

  /**
   * A caller that throws must not cost the others their answers; its error surfaces on its own, as one that nobody caught: who has
   * requests to lose catches in `onFinished` (server/auction-flow.ts does).
   */
  #tell(slot: number, outcome: ScoringOutcome): void {
    try {
      this.#onFinished(slot, outcome);
    } catch (error) {
      setImmediate(() => {
        throw error;
      });
    }
  }

  #findFree(pieces: number): number {
    let run = 0;
    for (let slot = this.#firstFree; slot < this.#slots.length; slot++) {
      run = this.#slots[slot] === slotState.free ? run + 1 : 0;
      if (run === pieces) return slot - pieces + 1;
    }
    return -1;
  }

  #free(slot: number): void {
    const pieces = piecesOf(this.#rowCountOf(slot));
    this.#slots.fill(slotState.free, slot, slot + pieces);
    this.#freePieces += pieces;
    this.#firstFree = Math.min(this.#firstFree, slot);
  }

  #rowCountOf(slot: number): number {
    return this.#memory.headers[(this.#firstPiece + slot) * headerWords + rowCountWord]!;
  }
}

const outcomes: Readonly<Record<number, ScoringOutcome>> = {
  [requestState.scored]: 'SCORED',
  [requestState.tooLate]: 'TOO_LATE',
  [requestState.failed]: 'FAILED',
};

import { servedDims } from './head-weights.ts';
import { modelSlotCount } from './scoring-model.ts';

/** Rows of one piece of scoring memory: what a request of the usual size needs. Larger requests take several pieces in a row. */
export const pieceRows = 200;
/** The most rows that one request may bring: 5 pieces. */
export const requestRowsMax = 1000;
/** Serving threads of one process. */
export const scoringClientCountMax = 64;
/** Places for scoring threads: as many again as may serve, for those that are about to take over. */
export const threadPlaceCount = 128;

/** What an entry of a ring can name, and few enough that a submission count never comes round while its entry is there. */
const piecesPerClientMax = 16_384;

export type ScoringLimits = {
  /** Requests of up to 200 rows that one serving thread may have under way. 15.6 KB each: 512 are 8 MB. */
  readonly piecesPerClient: number;
};
export const scoringLimits: ScoringLimits = { piecesPerClient: 512 };

/** Crosses threads by workerData or postMessage. */
export type ScoringShared = {
  readonly clientCount: number;
  readonly piecesPerClient: number;
  readonly control: SharedArrayBuffer;
  readonly rings: SharedArrayBuffer;
  readonly headers: SharedArrayBuffer;
  readonly times: SharedArrayBuffer;
  readonly users: SharedArrayBuffer;
  readonly adIds: SharedArrayBuffer;
  readonly cross: SharedArrayBuffer;
  readonly logits: SharedArrayBuffer;
  readonly costs: SharedArrayBuffer;
};

/** State of a request, in the header of its first piece. `claimed` carries the thread's place in the bits above 8. */
export const requestState = { free: 0, queued: 1, claimed: 2, scored: 3, tooLate: 4, failed: 5 } as const;
export const placeShift = 8;

/** Words of a header. */
export const headerWords = 16;
export const stateWord = 0;
export const rowCountWord = 1;
export const modelSlotWord = 2;
/** How often the piece was submitted, modulo 2^16: tells an entry of the ring from an older one of the same piece. */
export const submissionWord = 3;

/** Float64 of a request's times, in ms of the one clock. */
export const timeWords = 4;
export const deadlineTime = 0;
export const submittedTime = 1;
export const claimedTime = 2;

/** Phases of a scoring thread, set by the pool. `dying`: it throws with its next batch in hand, as a bug in it would. */
export const threadPhase = { waiting: 0, serving: 1, stopping: 2, dying: 3 } as const;

/** Words that different threads write lie on cache lines of their own. */
const lineWords = 16;
const bellLine = 0;
const modelLine = 1;
const clientLine = modelLine + modelSlotCount;
const linesPerClient = 3;
const threadLine = clientLine + linesPerClient * scoringClientCountMax;

/** Floats of the cost of a batch, per model slot. */
export const costWords = 8;

/**
 * The shared memory between serving threads (clients) and scoring threads, as typed arrays, and where each word is. A request
 * is a run of pieces; its header is that of its first piece, its rows lie one after another through all of them.
 */
export class ScoringMemory {
  readonly clientCount: number;
  readonly piecesPerClient: number;
  readonly ringMask: number;
  readonly control: Int32Array;
  readonly rings: Int32Array;
  readonly headers: Int32Array;
  readonly times: Float64Array;
  readonly users: Float32Array;
  readonly adIds: Int32Array;
  readonly cross: Float32Array;
  readonly logits: Float32Array;
  readonly costs: Float64Array;

  static allocate(clientCount: number, limits: ScoringLimits = scoringLimits): ScoringShared {
    const { piecesPerClient } = limits;
    if (!(clientCount >= 1 && clientCount <= scoringClientCountMax))
      throw new RangeError(`From 1 to ${scoringClientCountMax} clients, not ${clientCount}.`);
    if (!(piecesPerClient >= requestRowsMax / pieceRows && piecesPerClient <= piecesPerClientMax))
      throw new RangeError(
        `From ${requestRowsMax / pieceRows} to ${piecesPerClientMax} pieces, not ${piecesPerClient}.`,
      );
    const pieces = clientCount * piecesPerClient;
    const { user, cross, heads } = servedDims;
    const bytes = (words: number, size: number): SharedArrayBuffer => new SharedArrayBuffer(words * size);
    return {
      clientCount,
      piecesPerClient,
      control: bytes((threadLine + threadPlaceCount) * lineWords, 4),
      rings: bytes(clientCount * ringCells(piecesPerClient), 4),
      headers: bytes(pieces * headerWords, 4),
      times: bytes(pieces * timeWords, 8),
      users: bytes(pieces * user, 4),
      adIds: bytes(pieces * pieceRows, 4),
      cross: bytes(pieces * pieceRows * cross, 4),
      logits: bytes(pieces * pieceRows * heads, 4),
      costs: bytes(modelSlotCount * costWords, 8),
    };
  }

  constructor(shared: ScoringShared) {
    this.clientCount = shared.clientCount;
    this.piecesPerClient = shared.piecesPerClient;
    this.ringMask = ringCells(shared.piecesPerClient) - 1;
    this.control = new Int32Array(shared.control);
    this.rings = new Int32Array(shared.rings);
    this.headers = new Int32Array(shared.headers);
    this.times = new Float64Array(shared.times);
    this.users = new Float32Array(shared.users);
    this.adIds = new Int32Array(shared.adIds);
    this.cross = new Float32Array(shared.cross);
    this.logits = new Float32Array(shared.logits);
    this.costs = new Float64Array(shared.costs);
  }

  /**
   * Views of a request's rows, made once per first piece and number of pieces and kept: the caller gets whole pieces, of which
   * its rows are the first.
   */
  readonly #adIdViews = new Map<number, Int32Array>();
  readonly #crossViews = new Map<number, Float32Array>();
  readonly #logitViews = new Map<number, Float32Array>();
  readonly #userViews = new Map<number, Float32Array>();

  adIdsView(piece: number, rowCount: number): Int32Array {
    const pieces = piecesOf(rowCount);
    const key = piece * viewKeys + pieces;
    let view = this.#adIdViews.get(key);
    if (view === undefined) {
      view = this.adIds.subarray(piece * pieceRows, (piece + pieces) * pieceRows);
      this.#adIdViews.set(key, view);
    }
    return view;
  }

  crossView(piece: number, rowCount: number): Float32Array {
    const pieces = piecesOf(rowCount);
    const key = piece * viewKeys + pieces;
    let view = this.#crossViews.get(key);
    if (view === undefined) {
      const { cross } = servedDims;
      view = this.cross.subarray(piece * pieceRows * cross, (piece + pieces) * pieceRows * cross);
      this.#crossViews.set(key, view);
    }
    return view;
  }

  logitsView(piece: number, rowCount: number): Float32Array {
    const pieces = piecesOf(rowCount);
    const key = piece * viewKeys + pieces;
    let view = this.#logitViews.get(key);
    if (view === undefined) {
      const { heads } = servedDims;
      view = this.logits.subarray(piece * pieceRows * heads, (piece + pieces) * pieceRows * heads);
      this.#logitViews.set(key, view);
    }
    return view;
  }

  userView(piece: number): Float32Array {
    let view = this.#userViews.get(piece);
    if (view === undefined) {
      view = this.users.subarray(piece * servedDims.user, (piece + 1) * servedDims.user);
      this.#userViews.set(piece, view);
    }
    return view;
  }

  get pieceCount(): number {
    return this.clientCount * this.piecesPerClient;
  }

  /** Rung by every submission; idle scoring threads sleep on it. */
  readonly bell = bellLine * lineWords;
  /** How many threads serve, for whoever predicts a wait. */
  readonly servingThreads = bellLine * lineWords + 1;

  /** Which load a model slot holds; 0 = none. */
  modelGeneration(slot: number): number {
    return (modelLine + slot) * lineWords;
  }

  /** Rung when a request of this client is done. */
  clientBell(client: number): number {
    return (clientLine + client * linesPerClient) * lineWords;
  }

  /** Entries ever pushed to the client's ring, modulo 2^32. */
  clientTail(client: number): number {
    return (clientLine + client * linesPerClient + 1) * lineWords;
  }

  /** Rows that the client has under way: written by the client alone. */
  clientRows(client: number): number {
    return (clientLine + client * linesPerClient + 1) * lineWords + 1;
  }

  /** Entries passed by the scoring threads. */
  clientHead(client: number): number {
    return (clientLine + client * linesPerClient + 2) * lineWords;
  }

  threadPhase(place: number): number {
    return (threadLine + place) * lineWords;
  }

  threadBatches(place: number): number {
    return (threadLine + place) * lineWords + 1;
  }

  threadRows(place: number): number {
    return (threadLine + place) * lineWords + 2;
  }

  threadFailures(place: number): number {
    return (threadLine + place) * lineWords + 3;
  }

  threadLate(place: number): number {
    return (threadLine + place) * lineWords + 4;
  }

  stateOf(piece: number): number {
    return Atomics.load(this.headers, piece * headerWords + stateWord);
  }

  /** True when the state was `from` and is now `to`: the one way a request changes hands. */
  changeState(piece: number, from: number, to: number): boolean {
    return Atomics.compareExchange(this.headers, piece * headerWords + stateWord, from, to) === from;
  }

  ringBell(word: number, sleepers: number): void {
    Atomics.add(this.control, word, 1);
    Atomics.notify(this.control, word, sleepers);
  }
}

/** Pieces that hold so many rows. */
export function piecesOf(rowCount: number): number {
  return Math.ceil(rowCount / pieceRows);
}

/** Keys of views: first piece × this + number of pieces, which is at most 5. */
const viewKeys = 8;

/** Twice the pieces, as a power of two: room for every request and for entries that were passed over. */
function ringCells(piecesPerClient: number): number {
  return 2 ** Math.ceil(Math.log2(piecesPerClient * 2));
}

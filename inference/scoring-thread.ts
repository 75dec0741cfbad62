import { parentPort, workerData } from 'node:worker_threads';
import { fate, nextBatch, waitingRequests } from './batch-policy.ts';
import { assumedCost, type BatchCost } from './cost-model.ts';
import { ScoringError, type ScoringFault } from './errors.ts';
import type { ExecutionProvider } from './execution-providers.ts';
import { modelSlotCount, type ScoringModel } from './scoring-model.ts';
import { ScoringQueue } from './scoring-queue.ts';
import { ScoringSession, ScoringStaging } from './scoring-session.ts';
import {
  claimedTime,
  costWords,
  headerWords,
  modelSlotWord,
  placeShift,
  requestState,
  rowCountWord,
  ScoringMemory,
  type ScoringShared,
  threadPhase,
  timeWords,
} from './scoring-shared.ts';

/** Handed to the worker by the pool. `generations[i]` is the load that `models[i]` belongs to. */
export type ScoringThreadData = {
  readonly shared: ScoringShared;
  readonly place: number;
  readonly provider: ExecutionProvider;
  readonly models: readonly ScoringModel[];
  readonly generations: readonly number[];
};
/** The one message of a scoring thread: all its models are loaded and checked, or why it will not serve. */
export type ScoringThreadMessage =
  | { readonly kind: 'ready' }
  | { readonly kind: 'refused'; readonly code: ScoringFault; readonly detail: string };

/** An idle thread looks around this often even when nobody rings: to drop models that were unloaded. */
const idleWaitMs = 100;
/** Comparable between the threads of a process, and with the deadlines that serving threads make. */
const now = (): number => performance.timeOrigin + performance.now();

/** One scoring thread: takes what is queued, scores it, says so; sleeps in `Atomics.wait` when there is nothing. */
class ScoringThread {
  readonly #memory: ScoringMemory;
  readonly #queue: ScoringQueue;
  readonly #place: number;
  readonly #sessions: (ScoringSession | undefined)[] = [];
  readonly #generations = new Int32Array(modelSlotCount);
  /** By model slot: the session's own cost model, which reads as a BatchCost. */
  readonly #costs: BatchCost[] = Array.from({ length: modelSlotCount }, () => assumedCost);
  readonly #waiting = waitingRequests();
  readonly #pieces = new Int32Array(this.#waiting.capacity);
  readonly #rowCounts = new Int32Array(this.#waiting.capacity);
  /** Claimed requests that do not go with the batch. */
  readonly #misfits: number[] = [];
  readonly #one = new Int32Array(1);
  readonly #oneCount = new Int32Array(1);
  readonly #clientsToRing: Uint8Array;

  constructor(data: ScoringThreadData) {
    this.#memory = new ScoringMemory(data.shared);
    this.#queue = new ScoringQueue(this.#memory);
    this.#place = data.place;
    this.#clientsToRing = new Uint8Array(this.#memory.clientCount);
  }

  async load({ models, generations, provider }: ScoringThreadData): Promise<void> {
    const staging = new ScoringStaging();
    for (const [index, model] of models.entries()) {
      const session = await ScoringSession.load(model, provider, staging, now);
      this.#sessions[model.slot] = session;
      this.#generations[model.slot] = generations[index]!;
      this.#costs[model.slot] = session.cost;
    }
  }

  /** Until the pool says `stopping`. */
  async serve(): Promise<void> {
    const { control, bell } = this.#memory;
    const phaseWord = this.#memory.threadPhase(this.#place);
    while (Atomics.load(control, phaseWord) === threadPhase.waiting)
      Atomics.wait(control, phaseWord, threadPhase.waiting);
    for (const [slot, session] of this.#sessions.entries()) if (session !== undefined) this.#publishCost(slot);
    while (Atomics.load(control, phaseWord) !== threadPhase.stopping) {
      const rung = Atomics.load(control, bell);
      const count = this.#claim();
      if (count > 0 && Atomics.load(control, phaseWord) === threadPhase.dying) throw new Error('told to die');
      if (count > 0) {
        await this.#score(count);
        await this.#scoreMisfits();
      } else if (this.#waiting.count === 0) {
        await this.#dropUnloaded();
        Atomics.wait(control, bell, rung, idleWaitMs);
      }
    }
    for (const session of this.#sessions) await session?.release();
  }

  /** Takes the next batch out of the queue; answers those that are too late. Returns how many requests were taken. */
  #claim(): number {
    const { headers, times, control } = this.#memory;
    const waiting = this.#waiting;
    this.#queue.look(waiting);
    if (waiting.count === 0) return 0;
    const nowMs = now();
    nextBatch(waiting, this.#costs, nowMs);
    const claimed = requestState.claimed | (this.#place << placeShift);
    let count = 0;
    let modelSlot = -1;
    for (let index = 0; index < waiting.count; index++) {
      const piece = waiting.pieces[index]!;
      if (waiting.fates[index] === fate.tooLate) {
        if (this.#memory.changeState(piece, requestState.queued, requestState.tooLate)) {
          this.#clientsToRing[this.#clientOf(piece)] = 1;
          Atomics.add(control, this.#memory.threadLate(this.#place), 1);
        }
        continue;
      }
      if (waiting.fates[index] !== fate.take) continue;
      if (!this.#memory.changeState(piece, requestState.queued, claimed)) continue;
      times[piece * timeWords + claimedTime] = nowMs;
      // Between look and claim the client may have taken it back and used the piece for another: read again, and if that one
      // does not fit in, it is scored by itself.
      const slot = headers[piece * headerWords + modelSlotWord]!;
      const rowCount = headers[piece * headerWords + rowCountWord]!;
      if ((modelSlot >= 0 && slot !== modelSlot) || (count > 0 && rowCount > waiting.rowCounts[index]!)) {
        this.#misfits.push(piece);
        continue;
      }
      modelSlot = slot;
      this.#pieces[count] = piece;
      this.#rowCounts[count] = rowCount;
      count++;
    }
    this.#ringClients();
    return count;
  }

  async #score(count: number): Promise<void> {
    const { headers, control } = this.#memory;
    const startedMs = now();
    const slot = headers[this.#pieces[0]! * headerWords + modelSlotWord]!;
    const session = this.#sessionFor(slot);
    if (session === undefined) return this.#finish(count, requestState.failed);
    let rows = 0;
    try {
      rows = await session.score(this.#memory, this.#pieces, this.#rowCounts, count);
    } catch {
      return this.#scoreOneByOne(session, count);
    }
    this.#finish(count, requestState.scored);
    session.cost.learn(rows, now() - startedMs);
    this.#publishCost(slot);
    Atomics.add(control, this.#memory.threadBatches(this.#place), 1);
    Atomics.add(control, this.#memory.threadRows(this.#place), rows);
  }

  async #scoreMisfits(): Promise<void> {
    for (let piece = this.#misfits.pop(); piece !== undefined; piece = this.#misfits.pop()) {
      this.#pieces[0] = piece;
      this.#rowCounts[0] = this.#memory.headers[piece * headerWords + rowCountWord]!;
      await this.#score(1);
    }
  }

  /** One request with an ad id outside the tables makes the runtime refuse the batch: only that one fails, not its mates. */
  async #scoreOneByOne(session: ScoringSession, count: number): Promise<void> {
    const { control } = this.#memory;
    for (let index = 0; index < count; index++) {
      const piece = this.#pieces[index]!;
      this.#one[0] = piece;
      this.#oneCount[0] = this.#rowCounts[index]!;
      let state: number = requestState.scored;
      try {
        await session.score(this.#memory, this.#one, this.#oneCount, 1);
      } catch {
        state = requestState.failed;
        Atomics.add(control, this.#memory.threadFailures(this.#place), 1);
      }
      this.#answer(piece, state);
    }
    this.#ringClients();
  }

  #finish(count: number, state: number): void {
    for (let index = 0; index < count; index++) this.#answer(this.#pieces[index]!, state);
    this.#ringClients();
  }

  #answer(piece: number, state: number): void {
    this.#memory.changeState(piece, requestState.claimed | (this.#place << placeShift), state);
    this.#clientsToRing[this.#clientOf(piece)] = 1;
  }

  #ringClients(): void {
    for (let client = 0; client < this.#clientsToRing.length; client++) {
      if (this.#clientsToRing[client] === 0) continue;
      this.#clientsToRing[client] = 0;
      this.#memory.ringBell(this.#memory.clientBell(client), 1);
    }
  }

  #clientOf(piece: number): number {
    return Math.floor(piece / this.#memory.piecesPerClient);
  }

  #sessionFor(slot: number): ScoringSession | undefined {
    const generation = Atomics.load(this.#memory.control, this.#memory.modelGeneration(slot));
    return generation !== 0 && generation === this.#generations[slot] ? this.#sessions[slot] : undefined;
  }

  #publishCost(slot: number): void {
    const { cost } = this.#sessions[slot]!;
    this.#memory.costs[slot * costWords] = cost.fixedMs;
    this.#memory.costs[slot * costWords + 1] = cost.perRowMs;
  }

  async #dropUnloaded(): Promise<void> {
    for (let slot = 0; slot < modelSlotCount; slot++) {
      const session = this.#sessions[slot];
      if (session === undefined || this.#sessionFor(slot) !== undefined) continue;
      this.#sessions[slot] = undefined;
      this.#costs[slot] = assumedCost;
      await session.release();
    }
  }
}

const data = workerData as ScoringThreadData;
const thread = new ScoringThread(data);
const say = (message: ScoringThreadMessage): void => parentPort!.postMessage(message);
let isReady = false;
try {
  await thread.load(data);
  isReady = true;
  say({ kind: 'ready' });
} catch (error) {
  if (error instanceof ScoringError) say({ kind: 'refused', code: error.code, detail: error.detail });
  else say({ kind: 'refused', code: 'MODEL_LOAD_FAILED', detail: String(error) });
}
if (isReady) await thread.serve();

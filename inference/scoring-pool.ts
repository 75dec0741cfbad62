import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { ScoringError } from './errors.ts';
import { type ExecutionProvider, type ProviderSetting, resolveProvider } from './execution-providers.ts';
import { modelSlotCount, type ScoringModel } from './scoring-model.ts';
import {
  placeShift,
  requestState,
  type ScoringLimits,
  scoringLimits,
  ScoringMemory,
  type ScoringShared,
  threadPhase,
  threadPlaceCount,
} from './scoring-shared.ts';
import type { ScoringThreadData, ScoringThreadMessage } from './scoring-thread.ts';

export type ScoringPoolOptions = {
  readonly threadCount: number;
  /** Serving threads: `ScoringClient`s with index 0 to this − 1. */
  readonly clientCount: number;
  readonly provider: ProviderSetting;
  readonly limits?: ScoringLimits;
  /** A thread that served has died; what it held was handed back as FAILED, and another one comes after `restartInMs`. */
  readonly onThreadDied?: (death: ThreadDeath) => void;
};
/** `place` −1: no thread, but a replacement that did not start. */
export type ThreadDeath = { readonly place: number; readonly reason: string; readonly restartInMs: number };

/** What the scoring threads that serve now have done since they started; rows as they were run, padding included. */
export type ScoringCounts = {
  readonly servingThreads: number;
  readonly deaths: number;
  readonly batches: number;
  readonly rows: number;
  readonly failures: number;
  readonly late: number;
};

/** The first replacement comes at once but for this, and twice as late each time one dies young. */
const restartMs = { first: 50, max: 5000 } as const;
/** A thread that served this long was no bad start: the next one comes quickly again. */
const healthyMs = 10_000;
/** What a thread may take to load and check all its models. */
const readyMsMax = 60_000;
/**
 * What a thread may take to finish its batch and end. Never `Worker.terminate()`: the runtime's binding aborts the whole process
 * when its thread is terminated inside `run`. One that does not end is left behind.
 */
const stopMsMax = 10_000;

type Thread = {
  readonly place: number;
  readonly worker: Worker;
  readonly ended: Promise<void>;
  servingSinceMs: number;
  isRetired: boolean;
  /** Why it ended; undefined while it runs. */
  end: string | undefined;
};

/**
 * Owns the scoring threads: starts them with all models loaded and checked, replaces them when a model is added, and brings
 * another when one dies. A model is loaded by threads that do not serve yet; they take over from the serving ones when every
 * one of them is ready, so loading (which blocks a thread for as long as it takes) never holds up a request.
 */
export class ScoringPool {
  readonly shared: ScoringShared;
  readonly provider: ExecutionProvider;
  readonly #memory: ScoringMemory;
  readonly #options: ScoringPoolOptions;
  readonly #models = new Map<number, { readonly model: ScoringModel; readonly generation: number }>();
  readonly #placeInUse = new Uint8Array(threadPlaceCount);
  #threads: Thread[] = [];
  #generation = 0;
  #deaths = 0;
  #youngDeaths = 0;
  #isStopped = false;
  /** Loads, unloads and replacements happen one after another. */
  #turn: Promise<unknown> = Promise.resolve();
  readonly #stopping = new AbortController();

  /** Proves the provider and lays out the memory; threads start with the first model. Throws `PROVIDER_UNAVAILABLE`. */
  static async start(options: ScoringPoolOptions): Promise<ScoringPool> {
    if (!(options.threadCount >= 1 && options.threadCount <= threadPlaceCount / 2))
      throw new RangeError(`From 1 to ${threadPlaceCount / 2} scoring threads, not ${options.threadCount}.`);
    return new ScoringPool(options, await resolveProvider(options.provider));
  }

  private constructor(options: ScoringPoolOptions, provider: ExecutionProvider) {
    this.#options = options;
    this.provider = provider;
    this.shared = ScoringMemory.allocate(options.clientCount, options.limits ?? scoringLimits);
    this.#memory = new ScoringMemory(this.shared);
  }

  /**
   * Resolves when every scoring thread serves this model beside those already loaded. Throws a `ScoringError` when it must not
   * serve (golden rows, graph, tables, a slot in use); the threads that serve are then the same as before.
   */
  load(model: ScoringModel): Promise<void> {
    return this.#inTurn(async () => {
      if (!(Number.isInteger(model.slot) && model.slot >= 0 && model.slot < modelSlotCount))
        throw new RangeError(`Model slots are 0 to ${modelSlotCount - 1}, not ${model.slot}.`);
      const holder = this.#models.get(model.slot);
      if (holder !== undefined) throw new ScoringError('MODEL_SLOT_BUSY', `It holds ${holder.model.modelId}.`);
      const generation = ++this.#generation;
      this.#models.set(model.slot, { model, generation });
      const fresh: Thread[] = [];
      try {
        for (let index = 0; index < this.#options.threadCount; index++) fresh.push(await this.#spawn());
      } catch (error) {
        this.#models.delete(model.slot);
        await Promise.all(fresh.map((thread) => this.#retire(thread)));
        throw error;
      }
      Atomics.store(this.#memory.control, this.#memory.modelGeneration(model.slot), generation);
      const before = this.#threads;
      this.#threads = fresh;
      for (const thread of fresh) this.#serve(thread);
      await Promise.all(before.map((thread) => this.#retire(thread)));
    });
  }

  /** The slot is free again. Requests that still name it are answered FAILED, so wait until none is under way. */
  unload(slot: number): Promise<void> {
    return this.#inTurn(() => {
      if (!this.#models.delete(slot)) return Promise.resolve();
      Atomics.store(this.#memory.control, this.#memory.modelGeneration(slot), 0);
      return Promise.resolve();
    });
  }

  counts(): ScoringCounts {
    const { control } = this.#memory;
    const sum = (word: (place: number) => number): number =>
      this.#threads.reduce((total, { place }) => total + (Atomics.load(control, word(place)) >>> 0), 0);
    return {
      servingThreads: Atomics.load(control, this.#memory.servingThreads),
      deaths: this.#deaths,
      batches: sum((place) => this.#memory.threadBatches(place)),
      rows: sum((place) => this.#memory.threadRows(place)),
      failures: sum((place) => this.#memory.threadFailures(place)),
      late: sum((place) => this.#memory.threadLate(place)),
    };
  }

  /** A drill: one serving thread dies with its next batch in hand, as by a bug in it. False when none serves. */
  killOne(pick: number): boolean {
    const thread = this.#threads[pick % this.#threads.length];
    if (thread === undefined) return false;
    Atomics.store(this.#memory.control, this.#memory.threadPhase(thread.place), threadPhase.dying);
    return true;
  }

  /** Call before the process exits: a process that exits while a thread is inside the runtime's `run` aborts. Ends all threads; what nobody took is FAILED. */
  async stop(): Promise<void> {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#stopping.abort();
    await this.#turn.catch(() => {});
    await Promise.all(this.#threads.map((thread) => this.#retire(thread)));
    this.#threads = [];
    Atomics.store(this.#memory.control, this.#memory.servingThreads, 0);
    this.#handBack(-1);
  }

  #inTurn(act: () => Promise<void>): Promise<void> {
    const result = this.#turn.then(() => {
      if (this.#isStopped) throw new ScoringError('SCORING_STOPPED');
      return act();
    });
    this.#turn = result.catch(() => {});
    return result;
  }

  /** A thread with all models loaded, checked and warm, that waits to be told to serve. */
  async #spawn(): Promise<Thread> {
    const place = this.#placeInUse.indexOf(0);
    this.#placeInUse[place] = 1;
    for (const word of [
      this.#memory.threadPhase(place),
      this.#memory.threadBatches(place),
      this.#memory.threadRows(place),
      this.#memory.threadFailures(place),
      this.#memory.threadLate(place),
    ])
      Atomics.store(this.#memory.control, word, 0);
    const loaded = [...this.#models.values()];
    const workerData: ScoringThreadData = {
      shared: this.shared,
      place,
      provider: this.provider,
      models: loaded.map(({ model }) => model),
      generations: loaded.map(({ generation }) => generation),
    };
    const worker = new Worker(new URL('scoring-thread.ts', import.meta.url), { workerData, name: `scoring-${place}` });
    let reason = 'it ended by itself';
    worker.on('error', (error) => {
      reason = error instanceof Error ? error.message : String(error);
    });
    let thread: Thread;
    const ended = new Promise<void>((resolve) => {
      worker.once('exit', (code) => {
        this.#placeInUse[place] = 0;
        thread.end = code === 0 ? reason : `${reason} (exit code ${code})`;
        this.#handBack(place);
        if (this.#threads.includes(thread)) this.#died(thread);
        resolve();
      });
    });
    thread = { place, worker, ended, servingSinceMs: 0, isRetired: false, end: undefined };
    await this.#untilReady(thread);
    return thread;
  }

  async #untilReady(thread: Thread): Promise<void> {
    const message = await new Promise<ScoringThreadMessage | undefined>((resolve) => {
      const timer = setTimeout(resolve, readyMsMax, undefined);
      thread.worker.once('message', (said: ScoringThreadMessage) => {
        clearTimeout(timer);
        resolve(said);
      });
      void thread.ended.then(() => {
        clearTimeout(timer);
        resolve(undefined);
      });
    });
    if (message?.kind === 'ready') return;
    await this.#retire(thread);
    throw message === undefined
      ? new ScoringError('SCORING_THREAD_DIED')
      : new ScoringError(message.code, message.detail);
  }

  #serve(thread: Thread): void {
    const { control } = this.#memory;
    thread.servingSinceMs = performance.now();
    Atomics.store(control, this.#memory.threadPhase(thread.place), threadPhase.serving);
    Atomics.notify(control, this.#memory.threadPhase(thread.place));
    Atomics.store(control, this.#memory.servingThreads, this.#threads.length);
    // It may have ended between being ready and being told.
    if (thread.end !== undefined) this.#died(thread);
  }

  async #retire(thread: Thread): Promise<void> {
    const { control } = this.#memory;
    thread.isRetired = true;
    Atomics.store(control, this.#memory.threadPhase(thread.place), threadPhase.stopping);
    Atomics.notify(control, this.#memory.threadPhase(thread.place));
    this.#memory.ringBell(this.#memory.bell, Number.POSITIVE_INFINITY);
    const timer = new AbortController();
    await Promise.race([thread.ended, delay(stopMsMax, undefined, { signal: timer.signal }).catch(() => {})]);
    timer.abort();
    thread.worker.unref();
  }

  #died(thread: Thread): void {
    if (thread.isRetired) return;
    this.#threads = this.#threads.filter((each) => each !== thread);
    Atomics.store(this.#memory.control, this.#memory.servingThreads, this.#threads.length);
    this.#deaths++;
    this.#youngDeaths = performance.now() - thread.servingSinceMs >= healthyMs ? 0 : this.#youngDeaths + 1;
    const restartInMs = Math.min(restartMs.max, restartMs.first * 2 ** Math.max(0, this.#youngDeaths - 1));
    this.#options.onThreadDied?.({ place: thread.place, reason: thread.end ?? '', restartInMs });
    if (!this.#isStopped) void this.#bringAnother(restartInMs);
  }

  /** Tries until the pool has its number of threads again or is stopped. */
  async #bringAnother(afterMs: number): Promise<void> {
    let waitMs = afterMs;
    while (!this.#isStopped) {
      try {
        await delay(waitMs, undefined, { signal: this.#stopping.signal });
        await this.#inTurn(async () => {
          if (this.#threads.length >= this.#options.threadCount) return;
          const thread = await this.#spawn();
          this.#threads = [...this.#threads, thread];
          this.#serve(thread);
        });
        return;
      } catch (error) {
        if (this.#isStopped) return;
        waitMs = Math.min(restartMs.max, waitMs * 2);
        const reason = `its replacement did not start: ${error instanceof Error ? error.message : String(error)}`;
        this.#options.onThreadDied?.({ place: -1, reason, restartInMs: waitMs });
      }
    }
  }

  /** What a thread that no longer runs had taken is FAILED; −1 = every request, because no thread is left. */
  #handBack(place: number): void {
    const { pieceCount, clientCount } = this.#memory;
    const claimed = requestState.claimed | (place << placeShift);
    for (let piece = 0; piece < pieceCount; piece++) {
      if (place >= 0) this.#memory.changeState(piece, claimed, requestState.failed);
      else this.#memory.changeState(piece, requestState.queued, requestState.failed);
    }
    // Rung in any case: the thread may have died between its answer and the bell, or after it was woken for a request.
    for (let client = 0; client < clientCount; client++) this.#memory.ringBell(this.#memory.clientBell(client), 1);
    this.#memory.ringBell(this.#memory.bell, Number.POSITIVE_INFINITY);
  }
}

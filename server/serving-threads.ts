import { Worker } from 'node:worker_threads';
import type { LookupStatus } from '#embeddings/lookup/lookup-status.ts';
import { settledWithin } from '#embeddings/settled-within.ts';
import type { RecentAuction } from './recent-auctions.ts';
import type { ServedModelShared } from './served-model.ts';
import type { ServingThreadData } from './serving-thread.ts';

/** What the main thread tells a serving thread. */
export type ToServingThread =
  | { readonly kind: 'model'; readonly model: ServedModelShared }
  /** Values changed in a store: what the thread keeps of them is old. Keys without the table's prefix, or all of the table. */
  | { readonly kind: 'invalidate'; readonly table: number; readonly keys: readonly Uint8Array[] | 'all' }
  | { readonly kind: 'drain'; readonly graceMs: number };

/** What a serving thread tells the main thread. */
export type FromServingThread =
  | { readonly kind: 'listening'; readonly port: number }
  | { readonly kind: 'model-taken'; readonly slot: number }
  | {
      readonly kind: 'second';
      readonly auctions: readonly RecentAuction[];
      readonly faults: Readonly<Record<string, number>>;
      readonly lookup: LookupStatus;
    }
  | { readonly kind: 'error'; readonly message: string }
  /** It met a bug that nobody caught, and can only be drained. */
  | { readonly kind: 'failed'; readonly reason: string }
  | { readonly kind: 'drained' };

/** A thread that takes longer to listen has a problem that waiting does not solve. */
const listenMsMax = 30_000;
/** How long a thread may take to use a new model: it must only finish what its event loop is at. */
const takeModelMsMax = 5000;
/** Beyond the time for owed answers: a thread closes its stores, each within a limit of its own. */
const closeMsMax = 5000;
/** A thread that is inside of a call that does not return (a disk, a lock) cannot be ended. */
const terminateMsMax = 2000;

/** What a thread says of its last second. */
export type SecondOfThread = Extract<FromServingThread, { kind: 'second' }>;

export type ServingThreadsOptions = {
  readonly onSecond: (thread: number, second: SecondOfThread) => void;
  readonly onError: (message: string) => void;
  /** A thread ended although nobody asked it to: the process cannot serve as configured any more. */
  readonly onDeath: (reason: string) => void;
};

/** Starts the serving threads on one port, tells them about models, and drains them. */
export class ServingThreads {
  readonly #options: ServingThreadsOptions;
  readonly #workers: Worker[] = [];
  #isStopping = false;

  constructor(options: ServingThreadsOptions) {
    this.#options = options;
  }

  /** Starts one more thread; resolves with its port once it accepts connections. */
  async start(data: ServingThreadData): Promise<number> {
    const worker = new Worker(new URL('guarded-serving-thread.ts', import.meta.url), {
      workerData: data,
      name: `serving-${data.index}`,
    });
    this.#workers.push(worker);
    worker.on('message', (message: FromServingThread) => {
      if (message.kind === 'second') this.#options.onSecond(data.index, message);
      else if (message.kind === 'error') this.#options.onError(message.message);
      else if (message.kind === 'failed') {
        this.#options.onError(message.reason);
        if (!this.#isStopping) this.#options.onDeath(`serving thread ${data.index} met a bug`);
      }
    });
    worker.on('error', (error: unknown) => {
      this.#options.onError(error instanceof Error ? (error.stack ?? error.message) : String(error));
    });
    worker.on('exit', (code) => {
      if (!this.#isStopping) this.#options.onDeath(`serving thread ${data.index} ended (exit code ${code})`);
    });
    const message = await reply(worker, 'listening', listenMsMax);
    return message.port;
  }

  /** Resolves when every thread uses the model for requests that arrive from then on. */
  async useModel(model: ServedModelShared): Promise<void> {
    await Promise.all(
      this.#workers.map(async (worker) => {
        // A thread that was late for the model before may still say so: only the word about this one counts.
        const taken = reply(worker, 'model-taken', takeModelMsMax, ({ slot }) => slot === model.model.slot);
        worker.postMessage({ kind: 'model', model } satisfies ToServingThread);
        await taken;
      }),
    );
  }

  /** Tells every thread that values have changed in a store. */
  invalidate(table: number, keys: readonly Uint8Array[] | 'all'): void {
    for (const worker of this.#workers)
      worker.postMessage({ kind: 'invalidate', table, keys } satisfies ToServingThread);
  }

  /**
   * Stops accepting, answers what is owed for at most `graceMs`, and ends the threads. Resolves with the number of those that do not end:
   * with one of them `process.exit` does not return either.
   */
  async drain(graceMs: number): Promise<number> {
    this.#isStopping = true;
    const ended = await Promise.all(
      this.#workers.map(async (worker) => {
        // One that has ended already (its id is gone) has nothing to answer.
        if (worker.threadId === -1) return true;
        const drained = reply(worker, 'drained', graceMs + closeMsMax).catch(() => undefined);
        worker.postMessage({ kind: 'drain', graceMs } satisfies ToServingThread);
        await drained;
        return settledWithin(worker.terminate(), terminateMsMax);
      }),
    );
    return ended.filter((each) => !each).length;
  }
}

/** The next message of a kind; rejects when the thread ends or takes too long. */
function reply<Kind extends FromServingThread['kind']>(
  worker: Worker,
  kind: Kind,
  waitMsMax: number,
  isMeant: (message: Extract<FromServingThread, { kind: Kind }>) => boolean = () => true,
): Promise<Extract<FromServingThread, { kind: Kind }>> {
  return new Promise((settle, fail) => {
    const stopListening = (): void => {
      clearTimeout(timer);
      worker.off('message', onMessage);
      worker.off('error', onError);
      worker.off('exit', onExit);
    };
    const onMessage = (message: FromServingThread): void => {
      if (message.kind !== kind || !isMeant(message as Extract<FromServingThread, { kind: Kind }>)) return;
      stopListening();
      settle(message as Extract<FromServingThread, { kind: Kind }>);
    };
    const onError = (error: unknown): void => {
      stopListening();
      fail(error instanceof Error ? error : new Error(String(error)));
    };
    const onExit = (code: number): void => {
      stopListening();
      fail(new Error(`a serving thread ended (exit code ${code}) before it said "${kind}"`));
    };
    const timer = setTimeout(() => {
      stopListening();
      fail(new Error(`a serving thread did not say "${kind}" within ${waitMsMax} ms`));
    }, waitMsMax);
    worker.on('message', onMessage);
    worker.on('error', onError);
    worker.on('exit', onExit);
  });
}

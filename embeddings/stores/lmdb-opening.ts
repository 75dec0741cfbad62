import { checkFile, checkFileBehind } from './lmdb-file.ts';
import { LmdbFolder } from './lmdb-folder.ts';
import { StoreError } from './store-errors.ts';

/**
 * `after-walk`: at once, and after a walk through a file that was not closed in order. `unwalked`: at once, for whoever has just had it
 * walked through. `behind`: off the event loop, after a walk; until then there is no folder.
 */
export type LmdbOpeningMode = 'after-walk' | 'unwalked' | 'behind';

/** Of the time, for attempts: one that takes a minute (a walk through a large file) is made every ten. */
const attemptShareMax = 0.1;

/** A folder that is open, or that is tried again now and then until it is. */
export class LmdbOpening {
  readonly #path: string;
  readonly #reopenMs: number;
  readonly #onOpen: () => void;
  readonly #ended = new AbortController();
  #folder: LmdbFolder | undefined;
  #fault: StoreError;
  #timer: NodeJS.Timeout | undefined;

  /** `onOpen` is called once, by the attempt that succeeds. */
  constructor(path: string, reopenMs: number, onOpen: () => void) {
    this.#path = path;
    this.#reopenMs = reopenMs;
    this.#onOpen = onOpen;
    this.#fault = new StoreError('STORE_UNREACHABLE', `${path} is not open yet.`);
  }

  /** Undefined: see `fault`. */
  get folder(): LmdbFolder | undefined {
    return this.#folder;
  }

  /** Why it could not be opened the last time. */
  get fault(): StoreError {
    return this.#fault;
  }

  attempt(mode: LmdbOpeningMode): void {
    if (mode === 'behind') {
      void this.#attemptBehind();
      return;
    }
    try {
      checkFile(this.#path, mode === 'after-walk');
      this.#open();
    } catch (error) {
      this.#failed(error as StoreError, 0);
    }
  }

  /** Nothing is tried any more; a folder that is open stays so. */
  end(): void {
    clearTimeout(this.#timer);
    this.#ended.abort();
  }

  /** Whatever may wait for the disk or for a lock does so in another process; what is left here takes a moment. */
  async #attemptBehind(): Promise<void> {
    const startedMs = performance.now();
    try {
      await checkFileBehind(this.#path, this.#ended.signal);
      if (!this.#ended.signal.aborted && this.#folder === undefined) this.#open();
    } catch (error) {
      this.#failed(error as StoreError, performance.now() - startedMs);
    }
  }

  #open(): void {
    this.#folder = new LmdbFolder(this.#path);
    clearTimeout(this.#timer);
    this.#onOpen();
  }

  #failed(fault: StoreError, tookMs: number): void {
    this.#fault = fault;
    if (this.#ended.signal.aborted || this.#folder !== undefined) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#attemptBehind(), Math.max(this.#reopenMs, tookMs / attemptShareMax));
    this.#timer.unref();
  }
}

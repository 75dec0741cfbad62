import { readFile, stat } from 'node:fs/promises';
import { fileError } from './errors.ts';
import { type Rates, readRates, usdOnly } from './rates.ts';

/** How often somebody looks whether the file has changed: an update of rates that is seen this late has missed nothing. */
export const ratesCheckMs = 10_000;

/**
 * The rates of a file that is written anew while we run: whoever asks for `rates` gets the newest table that could be read. A
 * broken or missing file is told of once per change and leaves the table before in use, which ages all the while.
 */
export class RatesFile {
  readonly #path: string;
  readonly #onError: (error: unknown) => void;
  #rates: Rates = usdOnly;
  /** Time and size of the file when it was last read; '' before. */
  #seen = '';
  #isChecking = false;

  /** `text`: the file's, as it was read at the start; '' without one. Throws RATES_INVALID with every mistake. */
  constructor(path: string, text: string, onError: (error: unknown) => void) {
    this.#path = path;
    this.#onError = onError;
    if (text !== '') this.#take(text);
  }

  get rates(): Rates {
    return this.#rates;
  }

  /** Reads the file where it is another than the last time. Never rejects. */
  async check(): Promise<void> {
    if (this.#path === '' || this.#isChecking) return;
    this.#isChecking = true;
    const before = this.#seen;
    try {
      // Asked for before the text: what is written in between is read the next time.
      const { mtimeMs, size } = await stat(this.#path);
      this.#seen = `${mtimeMs} ${size}`;
      if (this.#seen !== before) this.#take(await readFile(this.#path, 'utf8'));
    } catch (error) {
      if (isMissing(error)) this.#seen = 'missing';
      if (this.#seen !== before) this.#onError(error);
    } finally {
      this.#isChecking = false;
    }
  }

  #take(text: string): void {
    const reading = readRates(text);
    if (reading.kind === 'problems') throw fileError('RATES_INVALID', reading.problems);
    this.#rates = reading.rates.after(this.#rates);
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

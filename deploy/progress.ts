/** How often a bar is drawn on a terminal, and a line written where there is none. */
const terminalMs = 100;
const plainMs = 5_000;

/**
 * Progress on stderr with rate and time left: one line that redraws itself on a terminal, a line every five seconds in a log.
 * `now` is a clock in ms.
 */
export class ProgressLine {
  readonly #out: NodeJS.WriteStream;
  readonly #now: () => number;
  #what = '';
  #startedMs = 0;
  #drawnMs = Number.NEGATIVE_INFINITY;

  constructor(out: NodeJS.WriteStream, now: () => number) {
    this.#out = out;
    this.#now = now;
  }

  /** `done` of `total` rows (or whatever is counted) of the step `what`; a new `what` starts a new line. */
  readonly update = (done: number, total: number, what: string): void => {
    const nowMs = this.#now();
    if (what !== this.#what) {
      this.#what = what;
      this.#startedMs = nowMs;
      this.#drawnMs = Number.NEGATIVE_INFINITY;
    }
    const isLast = done >= total;
    const pauseMs = this.#out.isTTY ? terminalMs : plainMs;
    if (!isLast && nowMs - this.#drawnMs < pauseMs) return;
    this.#drawnMs = nowMs;
    const seconds = (nowMs - this.#startedMs) / 1000;
    const rate = seconds > 0 ? done / seconds : 0;
    const share = total > 0 ? done / total : 1;
    const left = isLast || rate === 0 ? '' : `, ${Math.ceil((total - done) / rate)} s left`;
    const bar = '#'.repeat(Math.round(share * 24)).padEnd(24, '.');
    const line = `${what.padEnd(18)} [${bar}] ${Math.floor(share * 100)} % ${done}/${total}, ${Math.round(rate)}/s${left}`;
    if (this.#out.isTTY) this.#out.write(`\r${line}\u001B[K${isLast ? '\n' : ''}`);
    else this.#out.write(`${line}\n`);
  };
}

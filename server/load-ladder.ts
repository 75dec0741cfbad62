import { type LoadLevelName, loadLevels } from './load-levels.ts';

/** The delays of one window are judged together: 50 ms holds 100+ requests at the rates where it matters. */
const windowMs = 50;
/** A level is left only after this many calm windows in a row, so that a load near a limit does not flap. */
const calmWindowsToLeave = 5;

/**
 * Which load level a serving thread is at. Judged by queue delay, never by CPU, and by the *smallest* delay of a window
 * (the standing queue, as in CoDel: Nichols & Jacobson, ACM Queue 2012): a burst that drains at once is no overload.
 * Entering goes straight to the level whose limit the delay reaches; leaving goes one level at a time.
 */
export class LoadLadder {
  #level = 0;
  #windowStartMs = Number.NEGATIVE_INFINITY;
  #smallestDelayMs = Number.POSITIVE_INFINITY;
  #calmWindows = 0;

  get level(): LoadLevelName {
    return loadLevels[this.#level]!.name;
  }

  /** Index into `loadLevels`. */
  get levelIndex(): number {
    return this.#level;
  }

  /** Tells a delay: how long something that is served now had to wait. */
  observe(delayMs: number, nowMs: number): void {
    if (nowMs - this.#windowStartMs >= windowMs) this.#closeWindow(nowMs);
    if (delayMs < this.#smallestDelayMs) this.#smallestDelayMs = delayMs;
  }

  #closeWindow(nowMs: number): void {
    const standingMs = this.#smallestDelayMs;
    // Windows that passed without any observation were idle: each counts as calm.
    const idleWindows = Number.isFinite(this.#windowStartMs)
      ? Math.floor((nowMs - this.#windowStartMs) / windowMs) - 1
      : 0;
    this.#windowStartMs = nowMs;
    this.#smallestDelayMs = Number.POSITIVE_INFINITY;
    if (Number.isFinite(standingMs)) this.#judge(standingMs);
    for (let window = 0; window < idleWindows && this.#level > 0; window++) this.#judge(0);
  }

  #judge(standingMs: number): void {
    let entered = this.#level;
    for (let level = this.#level + 1; level < loadLevels.length; level++) {
      if (standingMs >= loadLevels[level]!.enterAtMs) entered = level;
    }
    if (entered > this.#level) {
      this.#level = entered;
      this.#calmWindows = 0;
      return;
    }
    if (this.#level > 0 && standingMs <= loadLevels[this.#level]!.leaveAtMs) {
      this.#calmWindows++;
      if (this.#calmWindows >= calmWindowsToLeave) {
        this.#level--;
        this.#calmWindows = 0;
      }
    } else {
      this.#calmWindows = 0;
    }
  }
}

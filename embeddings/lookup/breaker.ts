/** When a dependency is taken for broken, and for how long. */
export type BreakerLimits = {
  /** Failures in a row that open it. */
  readonly failuresInRow: number;
  /** Or this share of the calls of the last `windowMs`, of which there must be at least `callsMin`. */
  readonly failureShareMax: number;
  readonly callsMin: number;
  readonly windowMs: number;
  /** How long nothing is asked; then one call is let through to find out. */
  readonly openMs: number;
};

export const breakerDefaults: BreakerLimits = {
  failuresInRow: 5,
  failureShareMax: 0.5,
  callsMin: 20,
  windowMs: 10_000,
  openMs: 30_000,
};

export type BreakerState = 'closed' | 'open' | 'half-open';
/** What `enter` answers while nothing may be asked. */
export const noPass = -1;

const windowParts = 10;

/**
 * Circuit breaker of one dependency: closed → open after failures in a row or a share of failures → after `openMs` half-open with
 * exactly one probe, whose success closes it and whose failure opens it again. Whoever calls takes a pass and gives it back with the
 * outcome; a pass from before the last change of state says nothing about the present and is ignored.
 */
export class Breaker {
  readonly #limits: BreakerLimits;
  readonly #partMs: number;
  readonly #calls = new Int32Array(windowParts);
  readonly #failures = new Int32Array(windowParts);
  /** Which stretch of time each part of the window counts. */
  readonly #stretches = new Float64Array(windowParts).fill(-1);
  #state: BreakerState = 'closed';
  #pass = 0;
  #failedInRow = 0;
  #openUntilMs = 0;
  #isProbed = false;
  #openedCount = 0;

  constructor(limits: BreakerLimits) {
    this.#limits = limits;
    this.#partMs = limits.windowMs / windowParts;
  }

  get state(): BreakerState {
    return this.#state;
  }

  get openedCount(): number {
    return this.#openedCount;
  }

  /** A pass for one call, or `noPass`. Whoever has one must give it back: the probe's is the only one there is. */
  enter(nowMs: number): number {
    if (this.#state === 'closed') return this.#pass;
    if (this.#state === 'open') {
      if (nowMs < this.#openUntilMs) return noPass;
      this.#state = 'half-open';
      this.#pass += 1;
      this.#isProbed = false;
    }
    if (this.#isProbed) return noPass;
    this.#isProbed = true;
    return this.#pass;
  }

  succeeded(pass: number, nowMs: number): void {
    if (pass !== this.#pass || this.#state === 'open') return;
    if (this.#state === 'half-open') {
      this.#state = 'closed';
      this.#stretches.fill(-1);
    }
    this.#failedInRow = 0;
    this.#calls[this.#part(nowMs)]! += 1;
  }

  failed(pass: number, nowMs: number): void {
    if (pass !== this.#pass || this.#state === 'open') return;
    if (this.#state === 'half-open') {
      this.#open(nowMs);
      return;
    }
    this.#failedInRow += 1;
    const part = this.#part(nowMs);
    this.#calls[part]! += 1;
    this.#failures[part]! += 1;
    if (this.#failedInRow >= this.#limits.failuresInRow || this.#isMostlyFailing(nowMs)) this.#open(nowMs);
  }

  /** The call says nothing about the dependency (it was our own fault): another one may probe. */
  forget(pass: number): void {
    if (pass === this.#pass && this.#state === 'half-open') this.#isProbed = false;
  }

  #open(nowMs: number): void {
    this.#state = 'open';
    this.#pass += 1;
    this.#openedCount += 1;
    this.#failedInRow = 0;
    this.#openUntilMs = nowMs + this.#limits.openMs;
  }

  #isMostlyFailing(nowMs: number): boolean {
    const oldest = Math.floor(nowMs / this.#partMs) - windowParts;
    let calls = 0;
    let failures = 0;
    for (let part = 0; part < windowParts; part++) {
      if (this.#stretches[part]! <= oldest) continue;
      calls += this.#calls[part]!;
      failures += this.#failures[part]!;
    }
    return calls >= this.#limits.callsMin && failures >= calls * this.#limits.failureShareMax;
  }

  #part(nowMs: number): number {
    const stretch = Math.floor(nowMs / this.#partMs);
    const part = stretch % windowParts;
    if (this.#stretches[part] !== stretch) {
      this.#stretches[part] = stretch;
      this.#calls[part] = 0;
      this.#failures[part] = 0;
    }
    return part;
  }
}

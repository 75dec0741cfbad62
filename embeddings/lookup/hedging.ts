/** Who is asked a second time, and how often that may happen. */
export type HedgeAllowance = {
  /** Extra calls as a share of all first calls to shards outside the process; 0 switches hedging off. */
  readonly shareMax: number;
  /** Extra calls that may be saved up. */
  readonly burst: number;
  /** A call is late beyond this quantile of what its copy took recently, or beyond 1 − `shareMax` where that is higher. */
  readonly quantile: number;
  /** And never before this: the timer ticks once a millisecond. */
  readonly lateMsMin: number;
  /** Answers that must be known before anybody is called late. */
  readonly samplesMin: number;
};

export const hedgeDefaults: HedgeAllowance = {
  shareMax: 0.02,
  burst: 16,
  quantile: 0.98,
  lateMsMin: 1,
  samplesMin: 64,
};

/** The one allowance of extra calls over all shards: extra ≤ `shareMax` × first calls + `burst`, at any time. */
export class HedgeBudget {
  readonly #shareMax: number;
  readonly #burst: number;
  #saved: number;
  #firstCalls = 0;
  #extraCalls = 0;
  #refused = 0;

  constructor(allowance: HedgeAllowance) {
    this.#shareMax = allowance.shareMax;
    this.#burst = allowance.shareMax > 0 ? allowance.burst : 0;
    this.#saved = this.#burst;
  }

  get firstCalls(): number {
    return this.#firstCalls;
  }

  get extraCalls(): number {
    return this.#extraCalls;
  }

  /** Extra calls that would have been made if the allowance had reached. */
  get refused(): number {
    return this.#refused;
  }

  earn(): void {
    this.#firstCalls += 1;
    this.#saved = Math.min(this.#burst, this.#saved + this.#shareMax);
  }

  allows(): boolean {
    return this.#saved >= 1;
  }

  spend(): void {
    this.#saved -= 1;
    this.#extraCalls += 1;
  }

  refuse(): void {
    this.#refused += 1;
  }
}

/** How late something is by its own measure: 1 is as long as it usually takes at most. */
export type Overdue = { lateness: number };

/** The place of the one most overdue; −1 when there is none. */
export function slowestOf(overdue: readonly Overdue[]): number {
  let slowest = -1;
  let lateness = 0;
  for (let index = 0; index < overdue.length; index++) {
    const each = overdue[index]!.lateness;
    if (each <= lateness) continue;
    lateness = each;
    slowest = index;
  }
  return slowest;
}

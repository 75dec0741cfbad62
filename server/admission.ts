import { lookupShareMax } from './deadline.ts';
import { LoadLadder } from './load-ladder.ts';
import { startRungAt } from './load-levels.ts';
import { cheaperRung, rungs } from './rungs.ts';
import type { ValueTier } from './value-tiers.ts';

export type AdmissionLimits = {
  /** Requests that one serving thread holds at once; beyond it they are turned away with 204. */
  readonly inFlightMax: number;
  /** What the ML part of a request may take, queueing included. */
  readonly mlBudgetMs: number;
};

/** Where a request starts, or why it is turned away. */
export type Admission = { readonly rung: number } | 'IN_FLIGHT_FULL' | 'TOO_LATE';

/** Cost of one rung as served lately: an exponential mean over about 64 requests, of what a request spends in this thread. */
const costMemory = 1 / 64;
/** One stall must not cost a rung its name: what took longer counts as this. */
const serviceMsMax = 50;
/**
 * A rung that is not served is not measured, so its cost fades towards the usual one by half in this time: else a slow start
 * (everything still to be compiled) would keep a server on a cheap rung for good.
 */
const forgetHalfMs = 250;

/**
 * Lets requests in on the dearest rung that still meets their deadline: the load ladder gives the start, and the predicted
 * finish (own cost so far, waiting rows of the scoring queue) may take a cheaper one. Refusing is the last resort.
 */
export class AdmissionControl {
  readonly ladder = new LoadLadder();
  readonly #limits: AdmissionLimits;
  readonly #serviceMs: Float64Array;
  readonly #servedAtMs = new Float64Array(rungs.length);
  inFlight = 0;
  /** What lookups took lately: time off the deadline, but no cost of a rung. */
  #lookupMs = 0;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
    // Before anything was served: 1 ms for a full request, by cost share for the others.
    this.#serviceMs = Float64Array.from(rungs, (rung) => rung.costShare);
  }

  /** Whether every request is turned away, whatever its deadline. */
  get isFull(): boolean {
    return this.inFlight >= this.#limits.inFlightMax;
  }

  /** `headWaitMs` = predicted wait for a scoring thread; `leftMs` = what is left until the deadline. */
  admit(leftMs: number, headWaitMs: number, nowMs: number, tier: ValueTier = 'standard'): Admission {
    if (this.isFull) return 'IN_FLIGHT_FULL';
    // A lookup is cut off at a third of what is left: see user-lookup.ts.
    const leftForRungMs = leftMs - Math.min(this.#lookupMs, leftMs * lookupShareMax);
    for (let rung = startRungAt(this.ladder.levelIndex, tier); rung >= 0; rung = cheaperRung[rung]!) {
      const usesHead = rungs[rung]!.scorer === 'head';
      const waitMs = usesHead ? headWaitMs : 0;
      const finishMs = waitMs + this.serviceMsOf(rung, nowMs);
      if (finishMs <= leftForRungMs && (!usesHead || finishMs <= this.#limits.mlBudgetMs)) return { rung };
    }
    return 'TOO_LATE';
  }

  /** Tells what a request on a rung took from arrival to answer, without the wait for a scoring thread and for stores. */
  served(rung: number, serviceMs: number, nowMs: number): void {
    if (!(serviceMs >= 0)) return;
    const known = this.serviceMsOf(rung, nowMs);
    this.#serviceMs[rung] = known + (Math.min(serviceMs, serviceMsMax) - known) * costMemory;
    this.#servedAtMs[rung] = nowMs;
  }

  /** Tells what a request's lookup took, its stores included. */
  lookedUp(lookupMs: number): void {
    this.#lookupMs += (lookupMs - this.#lookupMs) * costMemory;
  }

  /** What a rung costs, as far as is known: the longer it has not been served, the less its last bad time counts. */
  serviceMsOf(rung: number, nowMs: number): number {
    const known = this.#serviceMs[rung]!;
    const usual = rungs[rung]!.costShare;
    if (known <= usual) return known;
    const age = Math.max(0, nowMs - this.#servedAtMs[rung]!) / forgetHalfMs;
    return usual + (known - usual) * 0.5 ** age;
  }
}

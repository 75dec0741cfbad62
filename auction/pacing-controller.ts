import { ImpressionForecast } from './pacing-forecast.ts';
import type { PacingRates } from './pacing.ts';

/** What pacing asks of the budget ledger. */
export type PacedMoney = {
  /** The day's budget as it was last set. */
  targetNanos(lineItem: number): number;
  /** Settled, reserved, and expected of bids under way. */
  committedNanos(lineItem: number): number;
};

const dayMs = 86_400_000;
const minuteMs = 60_000;
/** The rate moves by at most this share per minute; a tick moves by its part of a minute. */
const stepPerMinute = 0.1;
/** Where spending would be in a quarter of an hour at the present speed is compared with where the plan will be. */
const lookAheadMs = 15 * minuteMs;
/** Share of a relative error that is corrected per minute: below the step's limit for errors under 20 %. */
const gainPerMinute = 0.5;
/** The present speed is a running mean over about this long. */
const speedMs = 2 * minuteMs;
/** A gap longer than this (a paused process, a clock that jumped) says nothing about speed: take it as one such tick. */
const tickMsMax = 10_000;

export type PacingOptions = {
  readonly forecast?: ImpressionForecast;
  /** Where a line item starts: low enough for a market with ten times the traffic that budgets need. */
  readonly initialRate?: number;
  /** Nobody is throttled below this: 5 in 1,000 of 2,000 eligible ads still fill an auction. */
  readonly rateMin?: number;
};

/** A tenth part of the traffic finds every line item in one minute of 10 K auctions; and it is on plan within 25 minutes. */
const initialRateDefault = 0.1;
const rateMinDefault = 0.005;

/**
 * Even pacing by throttling: each line item plans to spend in proportion to the impressions that are forecast for the rest of
 * the UTC day, from the moment this controller first saw it, and takes part in more or fewer auctions by up to 10 % a minute,
 * as its spending runs behind or ahead. Never decides what may be spent: that is the ledger's.
 */
export class PacingController {
  readonly forecast: ImpressionForecast;
  readonly #rates: PacingRates;
  readonly #money: PacedMoney;
  readonly #initialRate: number;
  readonly #rateMin: number;
  /** Where each plan starts: share of the day, money committed by then, and the budget it was made for (−1: no plan yet). */
  readonly #baseShare: Float64Array;
  readonly #baseNanos: Float64Array;
  readonly #planBudget: Float64Array;
  readonly #lastNanos: Float64Array;
  /** Nanos per ms. */
  readonly #speed: Float64Array;
  #lastMs = Number.NaN;
  #day = Number.NaN;

  constructor(rates: PacingRates, money: PacedMoney, options: PacingOptions = {}) {
    this.#rates = rates;
    this.#money = money;
    this.forecast = options.forecast ?? new ImpressionForecast();
    this.#initialRate = options.initialRate ?? initialRateDefault;
    this.#rateMin = options.rateMin ?? rateMinDefault;
    const count = rates.lineItemCapacity;
    this.#baseShare = new Float64Array(count);
    this.#baseNanos = new Float64Array(count);
    this.#planBudget = new Float64Array(count).fill(-1);
    this.#lastNanos = new Float64Array(count);
    this.#speed = new Float64Array(count);
  }

  /**
   * About once a second, after the ledger's own tick (`startDay`, `expire`, `decayExpected`). `pacesEvenly`: 1 for line items
   * that are throttled; the others take part in every auction. `auctionCount`: own auctions since the last tick, from which the
   * forecast learns.
   */
  tick(nowMs: number, lineItemCount: number, pacesEvenly: Uint8Array, auctionCount = 0): void {
    const elapsedMs = Math.min(tickMsMax, nowMs - this.#lastMs);
    this.#lastMs = nowMs;
    this.forecast.observe(nowMs, auctionCount);
    const day = Math.floor(nowMs / dayMs);
    if (day !== this.#day) this.#planBudget.fill(-1);
    this.#day = day;
    const share = this.forecast.shareBefore(nowMs);
    for (let lineItem = 0; lineItem < lineItemCount; lineItem++) {
      if (pacesEvenly[lineItem] === 1) this.#pace(lineItem, nowMs, share, elapsedMs);
      else if (this.#rates.rateOf(lineItem) !== 1) this.#rates.setRate(lineItem, 1);
    }
  }

  /** Where spending should be now, in nanos; 0 before the first tick that saw the line item. */
  planNanos(lineItem: number, nowMs: number): number {
    return this.#planBudget[lineItem]! < 0 ? 0 : this.#planAt(lineItem, this.forecast.shareBefore(nowMs));
  }

  #planAt(lineItem: number, share: number): number {
    const baseShare = this.#baseShare[lineItem]!;
    const baseNanos = this.#baseNanos[lineItem]!;
    if (baseShare >= 1) return this.#planBudget[lineItem]!;
    return baseNanos + ((this.#planBudget[lineItem]! - baseNanos) * (share - baseShare)) / (1 - baseShare);
  }

  #pace(lineItem: number, nowMs: number, share: number, elapsedMs: number): void {
    const budget = this.#money.targetNanos(lineItem);
    const committed = this.#money.committedNanos(lineItem);
    if (budget !== this.#planBudget[lineItem]!) {
      // First sight, a new day or a new budget: what is left is planned over what is left of the day. The rate stays as found
      // in the traffic; only who has none starts low.
      const isNew = this.#speed[lineItem] === 0 && this.#rates.rateOf(lineItem) === 1;
      if (isNew) this.#rates.setRate(lineItem, this.#initialRate);
      this.#baseShare[lineItem] = share;
      this.#baseNanos[lineItem] = Math.min(budget, committed);
      this.#planBudget[lineItem] = budget;
      this.#lastNanos[lineItem] = committed;
      return;
    }
    if (!(elapsedMs > 0)) return;
    const spent = committed - this.#lastNanos[lineItem]!;
    this.#lastNanos[lineItem] = committed;
    const weight = 1 - Math.exp(-elapsedMs / speedMs);
    const speed = this.#speed[lineItem]! + weight * (spent / elapsedMs - this.#speed[lineItem]!);
    this.#speed[lineItem] = speed;
    const plan = this.#planAt(lineItem, share);
    // The plan ends at midnight: look no further.
    const aheadMs = Math.min(lookAheadMs, dayMs - (nowMs % dayMs));
    const planAhead = this.#planAt(lineItem, aheadMs < lookAheadMs ? 1 : this.forecast.shareBefore(nowMs + aheadMs));
    const meant = Math.max(planAhead - plan, budget * 1e-4);
    const error = (planAhead - (committed + speed * aheadMs)) / meant;
    const rate = this.#rates.rateOf(lineItem);
    this.#rates.setRate(lineItem, Math.min(1, Math.max(this.#rateMin, rate * stepFor(error, elapsedMs))));
  }
}

/** By how much the rate moves in one tick for a relative error of the plan. */
export function stepFor(error: number, elapsedMs: number): number {
  const perMinute = 1 + Math.min(stepPerMinute, Math.max(-stepPerMinute, gainPerMinute * error));
  return perMinute ** (elapsedMs / minuteMs);
}

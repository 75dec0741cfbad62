import type { ReadValues } from '../stores/store.ts';
import { StoreError } from '../stores/store-errors.ts';
import { noPass } from './breaker.ts';
import { type HedgeAllowance, HedgeBudget, slowestOf } from './hedging.ts';
import { type LookupLimits, tickMs } from './lookup-limits.ts';
import { Attempt, type ShardCall } from './lookup-run.ts';
import type { StoreCopies, StoreCopy } from './store-copies.ts';

/** What becomes of a call; each is told once per call. */
export type CallOwner = {
  /** The first answer of a call, in time or late. */
  answered(call: ShardCall, values: ReadValues, isHedge: boolean, nowMs: number): void;
  /** Nobody could be asked, or whoever was asked failed. */
  gaveUp(call: ShardCall): void;
  /** Nothing about it is pending any more: it may be used again. */
  settled(call: ShardCall): void;
};

/** Copies that one call may ask in all: the first, and one more out of the allowance. */
const attemptsMax = 2;
/** Faults that are ours and say nothing about the shard. */
const ownFaults = new Set<string>(['STORE_CLOSED', 'STORE_BUSY', 'STORE_KEY_TOO_LONG', 'STORE_VALUE_TOO_LONG']);

/**
 * Asks shards: picks the copy whose breaker lets it, counts what is under way, asks elsewhere when an answer is late, and judges
 * who hangs. It holds no timer: `sweep` is called about once a millisecond while anything is pending.
 */
export class ShardCaller {
  readonly budget: HedgeBudget;
  readonly #copies: StoreCopies;
  readonly #owner: CallOwner;
  readonly #limits: LookupLimits;
  readonly #lateMsMin: number;
  readonly #now: () => number;
  readonly #onError: (error: unknown) => void;
  readonly #pending: Attempt[] = [];
  readonly #free: Attempt[] = [];
  readonly #overdue: Attempt[] = [];
  #stalledMs = 0;
  /** What `#choose` found. */
  #chosenIndex = 0;
  #chosenPass = noPass;

  constructor(
    owner: CallOwner,
    copies: StoreCopies,
    limits: LookupLimits,
    allowance: HedgeAllowance,
    now: () => number,
    onError: (error: unknown) => void,
  ) {
    this.#owner = owner;
    this.#copies = copies;
    this.#limits = limits;
    this.budget = new HedgeBudget(allowance);
    this.#lateMsMin = allowance.lateMsMin;
    this.#now = now;
    this.#onError = onError;
  }

  get pendingCount(): number {
    return this.#pending.length;
  }

  /** Asks the first copy that may be asked. A store that answers at once has done so when this returns. */
  send(call: ShardCall, nowMs: number): void {
    const copy = this.#choose(call, nowMs);
    if (copy === undefined) {
      this.#giveUp(call);
      return;
    }
    this.#ask(call, copy, false, nowMs);
  }

  /**
   * Counts silence as failure, and asks elsewhere on behalf of the calls that are most overdue. `stalledMs`: how long our own loop
   * stood still since the last time, which is nobody else's fault.
   */
  sweep(nowMs: number, stalledMs: number): void {
    this.#stalledMs += stalledMs;
    const overdue = this.#overdue;
    for (const attempt of this.#pending) {
      if (!attempt.isCounted && nowMs >= attempt.failsAtMs) this.#countSilence(attempt, nowMs);
      const { call, copy } = attempt;
      if (call.isResolved || call.run === undefined || call.attempts >= attemptsMax) continue;
      if (call.run.cutoffMs - nowMs < this.#lateMsMin) continue;
      const waitedMs = nowMs - attempt.startedMs - (this.#stalledMs - attempt.stalledMsBefore);
      const lateness = waitedMs / copy.lateAfterMs(nowMs);
      if (lateness <= 1) continue;
      attempt.lateness = lateness;
      overdue.push(attempt);
    }
    while (overdue.length > 0) {
      const slowest = slowestOf(overdue);
      const { call } = overdue[slowest]!;
      overdue[slowest] = overdue.at(-1)!;
      overdue.pop();
      this.#askElsewhere(call, nowMs);
    }
  }

  #askElsewhere(call: ShardCall, nowMs: number): boolean {
    if (!this.#hasSpareCopy(call)) return false;
    if (!this.budget.allows()) {
      if (!call.isRefused) this.budget.refuse();
      call.isRefused = true;
      return false;
    }
    const copy = this.#choose(call, nowMs);
    if (copy === undefined) return false;
    this.budget.spend();
    copy.hedges += 1;
    this.#ask(call, copy, true, nowMs);
    return true;
  }

  /** Shards may have moved since the first attempt: only keys that are still together can be asked together. */
  #hasSpareCopy({ store, shard, keys }: ShardCall): boolean {
    try {
      if (shard >= store.shardCount || store.copyCount(shard) < 2) return false;
      return store.shardCount === 1 || keys.every((key) => store.shardOf(key) === shard);
    } catch (error) {
      this.#onError(error);
      return false;
    }
  }

  #choose(call: ShardCall, nowMs: number): StoreCopy | undefined {
    try {
      return this.#firstOpen(call, nowMs);
    } catch (error) {
      // A store that cannot even name its copies.
      this.#onError(error);
      return undefined;
    }
  }

  #firstOpen(call: ShardCall, nowMs: number): StoreCopy | undefined {
    const { store, shard } = call;
    const copyCount = store.copyCount(shard);
    const isReordered = this.#isReordered(call, copyCount);
    for (let index = 0; index < copyCount; index++) {
      if (index === call.askedIndex && !isReordered) continue;
      const copy = this.#copies.copyOf(store, shard, index);
      if (isReordered && copy === call.asked) continue;
      if (copy.inFlight >= this.#limits.callsInFlightMax) {
        copy.busy += 1;
        continue;
      }
      const pass = copy.breaker.enter(nowMs);
      if (pass === noPass) {
        copy.broken += 1;
        continue;
      }
      this.#chosenIndex = index;
      this.#chosenPass = pass;
      return copy;
    }
    return undefined;
  }

  /**
   * After a promotion copies stand in another order: then who was asked is known by his name alone. While they stand as they did, by his
   * place: a store may name one address as two copies.
   */
  #isReordered({ store, shard, asked, askedIndex }: ShardCall, copyCount: number): boolean {
    if (asked === undefined) return false;
    return askedIndex >= copyCount || this.#copies.copyOf(store, shard, askedIndex) !== asked;
  }

  #ask(call: ShardCall, copy: StoreCopy, isHedge: boolean, nowMs: number): void {
    const attempt = this.#free.pop() ?? new Attempt(this.#answered, this.#failed);
    attempt.call = call;
    attempt.copy = copy;
    attempt.pass = this.#chosenPass;
    attempt.isHedge = isHedge;
    attempt.startedMs = nowMs;
    // Half a tick early, as the request is cut off: an answer that only just missed it is a miss.
    attempt.failsAtMs = Math.max(call.run?.cutoffMs ?? 0, nowMs + this.#limits.hangMsMin) - tickMs / 2;
    attempt.isCounted = false;
    attempt.stalledMsBefore = this.#stalledMs;
    copy.inFlight += 1;
    copy.calls += 1;
    copy.usedMs = nowMs;
    call.attempts += 1;
    call.attemptsPending += 1;
    call.asked = copy;
    call.askedIndex = this.#chosenIndex;
    let values: ReadValues | Promise<ReadValues>;
    try {
      values = call.store.read(call.shard, this.#chosenIndex, call.keys);
    } catch (error) {
      this.#failed(attempt, error);
      return;
    }
    if (values instanceof Promise) {
      // What a store in the process answers at once earns nothing: the allowance is a share of what others are asked.
      if (!isHedge) this.budget.earn();
      attempt.index = this.#pending.length;
      this.#pending.push(attempt);
      values.then(attempt.onValues, attempt.onError);
    } else {
      this.#answered(attempt, values);
    }
  }

  readonly #answered = (attempt: Attempt, values: ReadValues): void => {
    const { call, copy } = attempt;
    if (!Array.isArray(values) || values.length !== call.keys.length) {
      this.#failed(attempt, new StoreError('STORE_FAULTY', `${call.keys.length} keys, other values.`));
      return;
    }
    const nowMs = this.#now();
    copy.answered(nowMs - attempt.startedMs, nowMs);
    if (!attempt.isCounted) copy.breaker.succeeded(attempt.pass, nowMs);
    if (!call.isResolved) {
      call.isResolved = true;
      if (attempt.isHedge) copy.hedgesWon += 1;
      try {
        this.#owner.answered(call, values, attempt.isHedge, nowMs);
      } catch (error) {
        this.#onError(error);
      }
    }
    this.#settle(attempt);
  };

  readonly #failed = (attempt: Attempt, error: unknown): void => {
    const { call, copy } = attempt;
    const nowMs = this.#now();
    if (!attempt.isCounted) {
      if (error instanceof StoreError && ownFaults.has(error.code)) {
        if (error.code === 'STORE_BUSY') copy.busy += 1;
        copy.breaker.forget(attempt.pass);
      } else {
        copy.failures += 1;
        copy.breaker.failed(attempt.pass, nowMs);
      }
    }
    // Stores reject with their own errors only: anything else is a bug that somebody should hear of.
    if (!(error instanceof StoreError)) this.#onError(error);
    if (!call.isResolved && call.attemptsPending === 1) {
      const goesOn = call.run !== undefined && call.attempts < attemptsMax && this.#askElsewhere(call, nowMs);
      if (!goesOn) this.#giveUp(call);
    }
    this.#settle(attempt);
  };

  /** A late answer will not undo it: whoever only wakes up after the cut-off is of no use to a request. */
  #countSilence(attempt: Attempt, nowMs: number): void {
    attempt.isCounted = true;
    const { copy } = attempt;
    const stalledMs = this.#stalledMs - attempt.stalledMsBefore;
    // Our own loop slept for most of the wait: the answer may well lie there unread.
    if (nowMs - attempt.startedMs - stalledMs < (attempt.failsAtMs - attempt.startedMs) / 2) {
      copy.breaker.forget(attempt.pass);
      return;
    }
    copy.failures += 1;
    copy.hung += 1;
    copy.breaker.failed(attempt.pass, nowMs);
  }

  #giveUp(call: ShardCall): void {
    call.isResolved = true;
    this.#owner.gaveUp(call);
    if (call.attemptsPending === 0) this.#owner.settled(call);
  }

  #settle(attempt: Attempt): void {
    const { call, copy, index } = attempt;
    if (index >= 0) {
      const last = this.#pending.at(-1)!;
      this.#pending[index] = last;
      last.index = index;
      this.#pending.pop();
      attempt.index = -1;
    }
    copy.inFlight -= 1;
    call.attemptsPending -= 1;
    this.#free.push(attempt);
    if (call.attemptsPending === 0) this.#owner.settled(call);
  }
}

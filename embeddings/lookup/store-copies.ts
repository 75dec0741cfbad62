import type { KeyValueStore, StoreKind } from '../stores/store.ts';
import { Breaker } from './breaker.ts';
import { DecayingQuantile } from './decaying-quantile.ts';
import type { HedgeAllowance } from './hedging.ts';
import type { LookupLimits } from './lookup-limits.ts';

/** Latencies of the last half minute decide what is late: a store that got slower is given two or three of these to be believed. */
const latencyHalfLifeMs = 15_000;
/** Answers after which the quantile is looked up anew. */
const quantileEvery = 32;

/** What is known about one copy of a shard: its breaker, its bulkhead, how fast it answers. */
export class StoreCopy {
  readonly kind: StoreKind;
  readonly name: string;
  readonly breaker: Breaker;
  readonly latency = new DecayingQuantile(latencyHalfLifeMs);
  inFlight = 0;
  calls = 0;
  /** Answered with an error, or not at all until the cut-off (`hung`). */
  failures = 0;
  hung = 0;
  /** Refused here because too many calls were under way, or because the breaker was open. */
  busy = 0;
  broken = 0;
  /** Extra calls made here because another copy was late or failed, and those that answered first. */
  hedges = 0;
  hedgesWon = 0;
  usedMs = 0;
  readonly #allowance: HedgeAllowance;
  #lateMs = Number.POSITIVE_INFINITY;
  #answersSince = quantileEvery;

  constructor(kind: StoreKind, name: string, limits: LookupLimits, allowance: HedgeAllowance) {
    this.kind = kind;
    this.name = name;
    this.breaker = new Breaker(limits.breaker);
    this.#allowance = allowance;
  }

  answered(tookMs: number, nowMs: number): void {
    this.latency.record(tookMs, nowMs);
    this.#answersSince += 1;
  }

  /** How long a call waits before it is late; infinite until enough is known. */
  lateAfterMs(nowMs: number): number {
    if (this.#answersSince >= quantileEvery) {
      this.#answersSince = 0;
      const { shareMax, quantile, lateMsMin, samplesMin } = this.#allowance;
      this.#lateMs =
        shareMax > 0 && this.latency.sampleCount(nowMs) >= samplesMin
          ? Math.max(lateMsMin, this.latency.valueAt(Math.max(quantile, 1 - shareMax)))
          : Number.POSITIVE_INFINITY;
    }
    return this.#lateMs;
  }
}

/** The copies of all stores by name: a shard's number may change while its server stays the same. */
export class StoreCopies {
  readonly #limits: LookupLimits;
  readonly #allowance: HedgeAllowance;
  readonly #byStore = new Map<KeyValueStore, Map<string, StoreCopy>>();
  #count = 0;

  constructor(limits: LookupLimits, allowance: HedgeAllowance) {
    this.#limits = limits;
    this.#allowance = allowance;
  }

  copyOf(store: KeyValueStore, shard: number, copy: number): StoreCopy {
    const name = store.copyName(shard, copy);
    return this.#byStore.get(store)?.get(name) ?? this.#add(store, name);
  }

  *all(): Generator<StoreCopy> {
    for (const copies of this.#byStore.values()) yield* copies.values();
  }

  #add(store: KeyValueStore, name: string): StoreCopy {
    if (this.#count >= this.#limits.copiesMax) this.#forgetOldest();
    let copies = this.#byStore.get(store);
    if (copies === undefined) {
      copies = new Map();
      this.#byStore.set(store, copies);
    }
    const copy = new StoreCopy(store.kind, name, this.#limits, this.#allowance);
    copies.set(name, copy);
    this.#count += 1;
    return copy;
  }

  #forgetOldest(): void {
    let from: Map<string, StoreCopy> | undefined;
    let oldest: StoreCopy | undefined;
    for (const copies of this.#byStore.values()) {
      for (const copy of copies.values()) {
        if (copy.inFlight > 0 || (oldest !== undefined && copy.usedMs >= oldest.usedMs)) continue;
        oldest = copy;
        from = copies;
      }
    }
    if (oldest === undefined || from === undefined) return;
    from.delete(oldest.name);
    this.#count -= 1;
  }
}

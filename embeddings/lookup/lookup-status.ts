import type { StoreKind } from '../stores/store.ts';
import type { ValueCondition } from '../stores/stored-value.ts';
import type { BreakerState } from './breaker.ts';
import type { StoreCopy } from './store-copies.ts';
import { type TableState, conditionNumbers } from './table-state.ts';
import { outcomeNumbers, sourceNumbers } from './lookup-table.ts';

export type Outcome = keyof typeof outcomeNumbers;
export type Source = keyof typeof sourceNumbers;

/** What a thread's lookup has done since it was made: plain data, for metrics and the admin port. Counts of keys unless said. */
export type LookupStatus = {
  readonly tables: readonly TableStatus[];
  readonly copies: readonly CopyStatus[];
  readonly cache: { readonly entries: number; readonly bytes: number; readonly evicted: number };
  /** Under way right now: requests' lookups, calls, keys on their way to cold stores. */
  readonly pending: { readonly lookups: number; readonly calls: number; readonly coldKeys: number };
  /** Calls, over all shards: `refused` would have been hedged if the allowance had reached. */
  readonly hedging: { readonly firstCalls: number; readonly extraCalls: number; readonly refused: number };
  /** How long this thread's loop has kept timers waiting, in all. */
  readonly stalledMs: number;
};

export type TableStatus = {
  readonly name: string;
  readonly outcomes: Readonly<Record<Outcome, number>>;
  readonly sources: Readonly<Record<Source, number>>;
  /** Values that did not count, by why. */
  readonly conditions: Readonly<Record<Exclude<ValueCondition, 'VALID' | 'KNOWN_ABSENT'>, number>>;
  /** Answers that came after the cut-off. */
  readonly lateAnswers: number;
  /** Kept values that stood in for late or failed ones; among the outcomes they are `found`. */
  readonly staleFound: number;
  readonly cold: Readonly<
    Record<'asked' | 'found' | 'absent' | 'invalid' | 'failed' | 'dropped' | 'warmWriteFailed', number>
  >;
};

/** One copy of a shard; counts of calls. */
export type CopyStatus = {
  readonly kind: StoreKind;
  readonly name: string;
  readonly breaker: BreakerState;
  readonly opened: number;
  readonly inFlight: number;
  readonly calls: number;
  readonly failures: number;
  readonly hung: number;
  readonly busy: number;
  readonly broken: number;
  readonly hedges: number;
  readonly hedgesWon: number;
  readonly p50Ms: number;
  readonly p98Ms: number;
};

export function tableStatus(state: TableState): TableStatus {
  const { outcomes, sources, conditions } = state;
  return {
    name: state.table.name,
    outcomes: byName(outcomeNumbers, outcomes),
    sources: byName(sourceNumbers, sources),
    conditions: {
      LENGTH_WRONG: conditions[conditionNumbers.LENGTH_WRONG]!,
      VERSION_WRONG: conditions[conditionNumbers.VERSION_WRONG]!,
      CHECKSUM_WRONG: conditions[conditionNumbers.CHECKSUM_WRONG]!,
    },
    lateAnswers: state.lateAnswers,
    staleFound: state.staleFound,
    cold: {
      asked: state.coldAsked,
      found: state.coldFound,
      absent: state.coldAbsent,
      invalid: state.coldInvalid,
      failed: state.coldFailed,
      dropped: state.coldDropped,
      warmWriteFailed: state.warmWriteFailed,
    },
  };
}

export function copyStatus(copy: StoreCopy): CopyStatus {
  const { kind, name, breaker, latency, inFlight, calls, failures, hung, busy, broken, hedges, hedgesWon } = copy;
  return {
    kind,
    name,
    breaker: breaker.state,
    opened: breaker.openedCount,
    inFlight,
    calls,
    failures,
    hung,
    busy,
    broken,
    hedges,
    hedgesWon,
    p50Ms: latency.valueAt(0.5),
    p98Ms: latency.valueAt(0.98),
  };
}

function byName<Name extends string>(
  numbers: Readonly<Record<Name, number>>,
  counts: Float64Array,
): Record<Name, number> {
  const entries = Object.entries<number>(numbers).map(([name, number]) => [name, counts[number]!]);
  return Object.fromEntries(entries) as Record<Name, number>;
}

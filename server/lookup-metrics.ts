import type { CopyStatus, LookupStatus, TableStatus } from '#embeddings/lookup/lookup-status.ts';
import type { ExtraMetric } from './prometheus.ts';

type Samples = ExtraMetric['samples'][number][];

/** What the serving threads say of their lookups, summed over threads. */
export function lookupMetrics(threads: readonly LookupStatus[]): ExtraMetric[] {
  const tables = threads.flatMap((thread) => thread.tables);
  const copies = threads.flatMap((thread) => thread.copies);
  return [
    byTable('lookup_outcomes_total', 'What became of the keys that requests asked for.', 'outcome', tables, 'outcomes'),
    byTable('lookup_sources_total', 'Where the values came from.', 'source', tables, 'sources'),
    byTable('lookup_invalid_total', 'Values in stores that did not count, by why.', 'condition', tables, 'conditions'),
    byTable('lookup_cold_total', 'Keys asked for in the history behind requests.', 'result', tables, 'cold'),
    total(
      'lookup_late_answers_total',
      'Answers that came after the cut-off of their request.',
      'counter',
      tables.map(({ lateAnswers }) => lateAnswers),
    ),
    total(
      'lookup_stale_total',
      'Kept values that stood in for late or failed ones.',
      'counter',
      tables.map(({ staleFound }) => staleFound),
    ),
    byCopy('store_calls_total', 'counter', 'Calls to a copy of a shard.', copies, ({ calls }) => calls),
    byCopy(
      'store_failures_total',
      'counter',
      'Calls that failed, hung ones among them.',
      copies,
      (copy) => copy.failures,
    ),
    byCopy('store_hung_total', 'counter', 'Calls that nobody had answered at the cut-off.', copies, ({ hung }) => hung),
    byCopy('store_busy_total', 'counter', 'Calls refused: too many were under way.', copies, ({ busy }) => busy),
    byCopy('store_broken_total', 'counter', 'Calls refused: the breaker was open.', copies, ({ broken }) => broken),
    byCopy(
      'store_hedges_total',
      'counter',
      'Calls repeated here because another copy was slow.',
      copies,
      (copy) => copy.hedges,
    ),
    byCopy('store_breakers_open', 'gauge', 'Threads whose breaker of this copy is not closed.', copies, ({ breaker }) =>
      breaker === 'closed' ? 0 : 1,
    ),
    worst('store_p98_seconds', 'Recent p98 of calls, of the slowest thread.', copies, ({ p98Ms }) => p98Ms / 1000),
    total(
      'lookup_cache_entries',
      'Values that threads keep.',
      'gauge',
      threads.map(({ cache }) => cache.entries),
    ),
    total(
      'lookup_cache_bytes',
      'Bytes of the values that threads keep.',
      'gauge',
      threads.map(({ cache }) => cache.bytes),
    ),
    total(
      'lookups_pending',
      'Lookups under way.',
      'gauge',
      threads.map(({ pending }) => pending.lookups),
    ),
    total(
      'hedges_refused_total',
      'Hedges that the allowance did not permit.',
      'counter',
      threads.map(({ hedging }) => hedging.refused),
    ),
  ];
}

function total(name: string, help: string, type: ExtraMetric['type'], values: readonly number[]): ExtraMetric {
  const value = values.reduce((sum, each) => sum + each, 0);
  return { name: `gavelin_${name}`, help, type, samples: [{ labels: {}, value }] };
}

function byTable(
  name: string,
  help: string,
  label: string,
  tables: readonly TableStatus[],
  field: 'outcomes' | 'sources' | 'conditions' | 'cold',
): ExtraMetric {
  const sums = new Map<string, { labels: Record<string, string>; value: number }>();
  for (const table of tables) {
    for (const [each, count] of Object.entries(table[field])) {
      add(sums, { table: table.name, [label]: each }, count);
    }
  }
  return { name: `gavelin_${name}`, help, type: 'counter', samples: [...sums.values()] };
}

function byCopy(
  name: string,
  type: ExtraMetric['type'],
  help: string,
  copies: readonly CopyStatus[],
  valueOf: (copy: CopyStatus) => number,
): ExtraMetric {
  const sums = new Map<string, { labels: Record<string, string>; value: number }>();
  for (const copy of copies) add(sums, { kind: copy.kind, store: copy.name }, valueOf(copy));
  return { name: `gavelin_${name}`, help, type, samples: [...sums.values()] };
}

function worst(
  name: string,
  help: string,
  copies: readonly CopyStatus[],
  valueOf: (copy: CopyStatus) => number,
): ExtraMetric {
  const samples: Samples = [];
  const byName = Map.groupBy(copies, ({ name: each }) => each);
  for (const [store, same] of byName)
    samples.push({ labels: { kind: same[0]!.kind, store }, value: Math.max(...same.map(valueOf)) });
  return { name: `gavelin_${name}`, help, type: 'gauge', samples };
}

function add(
  sums: Map<string, { labels: Record<string, string>; value: number }>,
  labels: Record<string, string>,
  value: number,
): void {
  const key = Object.values(labels).join('\n');
  const known = sums.get(key);
  if (known === undefined) sums.set(key, { labels, value });
  else known.value += value;
}

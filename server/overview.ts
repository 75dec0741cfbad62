import { histogramBucketCount, quantileUs } from './histogram.ts';
import { sumBuckets } from './prometheus.ts';
import { rungNames } from './rungs.ts';
import { type CounterName, rungSeries, stages, stageSeries, type Telemetry } from './telemetry.ts';

/** Ten minutes of seconds: what the page shows when it opens. */
const sampleCountMax = 600;

const watched = [
  'requests',
  'bids',
  'no_bids',
  'shed',
  'late',
  'notices_view',
  'notices_click',
  'charged_nanos',
  'cost_nanos',
  'expected_clicks',
] as const satisfies readonly CounterName[];

/** One second of serving. Latencies in ms; null when nothing happened. */
export type OverviewSample = {
  readonly timeMs: number;
  readonly counts: Readonly<Record<(typeof watched)[number], number>>;
  readonly stageP50Ms: Readonly<Record<string, number | null>>;
  readonly stageP99Ms: Readonly<Record<string, number | null>>;
  readonly rungCounts: Readonly<Record<string, number>>;
};

/** Turns the threads' running sums into one sample per second, and keeps the last ten minutes. */
export class Overview {
  readonly #threads: () => readonly Telemetry[];
  readonly #samples: OverviewSample[] = [];
  #lastCounts = new Map<string, number>();
  #lastBuckets = new Map<number, Float64Array>();

  constructor(threads: () => readonly Telemetry[]) {
    this.#threads = threads;
  }

  get samples(): readonly OverviewSample[] {
    return this.#samples;
  }

  /** Running totals since the process started. */
  totals(): Record<string, number> {
    return Object.fromEntries(watched.map((name) => [name, this.#total(name)]));
  }

  sample(timeMs: number): OverviewSample {
    const counts = Object.fromEntries(watched.map((name) => [name, this.#increase(name)])) as OverviewSample['counts'];
    const stageP50Ms: Record<string, number | null> = {};
    const stageP99Ms: Record<string, number | null> = {};
    for (const stage of stages) {
      const buckets = this.#newCounts(stageSeries[stage]);
      stageP50Ms[stage] = milliseconds(quantileUs(buckets, 0.5));
      stageP99Ms[stage] = milliseconds(quantileUs(buckets, 0.99));
    }
    const rungCounts: Record<string, number> = {};
    for (const [rung, name] of rungNames.entries()) {
      rungCounts[name] = this.#newCounts(rungSeries[rung]!).reduce((sum, count) => sum + count, 0);
    }
    const sample = { timeMs, counts, stageP50Ms, stageP99Ms, rungCounts };
    this.#samples.push(sample);
    if (this.#samples.length > sampleCountMax) this.#samples.shift();
    return sample;
  }

  #total(name: CounterName): number {
    return this.#threads().reduce((sum, thread) => sum + thread.counterValue(name), 0);
  }

  #increase(name: CounterName): number {
    const total = this.#total(name);
    const increase = total - (this.#lastCounts.get(name) ?? 0);
    this.#lastCounts.set(name, total);
    return increase;
  }

  #newCounts(series: number): Float64Array {
    const now = sumBuckets(this.#threads(), series);
    const before = this.#lastBuckets.get(series);
    this.#lastBuckets.set(series, now);
    if (before === undefined) return now;
    const fresh = new Float64Array(histogramBucketCount);
    for (let bucket = 0; bucket < histogramBucketCount; bucket++) fresh[bucket] = now[bucket]! - before[bucket]!;
    return fresh;
  }
}

function milliseconds(us: number): number | null {
  return Number.isNaN(us) ? null : us / 1000;
}

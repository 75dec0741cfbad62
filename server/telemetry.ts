import { bucketOf, histogramBucketCount } from './histogram.ts';
import { rungNames } from './rungs.ts';

/** Stages of a bid in the order of its way; `total` is first byte read to answer handed to the socket. */
export const stages = [
  'parse',
  'lookup',
  'retrieve',
  'features',
  'queue',
  'score',
  'auction',
  'answer',
  'log',
  'total',
] as const;
export type Stage = (typeof stages)[number];

/** What a serving thread counts. Names become `gavelin_<name>_total` on /metrics. */
export const counterNames = [
  'requests',
  'bids',
  'no_bids',
  'refused',
  'shed',
  'late',
  'faults',
  'predictions',
  'auctions',
  // Without tests: what pacing expects the next hours by.
  'live_auctions',
  'test_requests',
  'log_dropped',
  'scoring_failed',
  'scoring_late',
  'scoring_full',
  'scoring_spared',
  'ranker_failed',
  'rates_failed',
  'coercions',
  'privacy_conflicts',
  'notices_win',
  'notices_bill',
  'notices_loss',
  'notices_view',
  'notices_click',
  'notices_conversion',
  'notices_repeated',
  'notices_bad',
  'notices_expired',
  'notices_unexpanded',
  'notices_clamped',
  'notices_late',
  'notices_unlogged',
  'over_delivered_nanos',
  'charged_nanos',
  'cost_nanos',
  'expected_clicks',
  'capped',
  'throttled',
  'budget_refused',
  'user_events',
  'user_events_dropped',
] as const;
export type CounterName = (typeof counterNames)[number];

/** What a serving thread last measured. Names become `gavelin_<name>`. */
export const gaugeNames = [
  'event_loop_lag_ms',
  'load_level',
  'in_flight',
  'scoring_queue_wait_ms',
  'admission_wait_ms',
] as const;
export type GaugeName = (typeof gaugeNames)[number];

/** Latency series: every stage, then `total` once per rung, then the event loop's lag. */
export const histogramNames: readonly string[] = [
  ...stages.map((stage) => `stage:${stage}`),
  ...rungNames.map((rung) => `rung:${rung}`),
  'event_loop_lag',
];

const counterCount = counterNames.length;
const gaugeCount = gaugeNames.length;

export type TelemetryShared = { readonly numbers: SharedArrayBuffer; readonly histograms: SharedArrayBuffer };

/**
 * Counters and histograms of one serving thread in shared memory: the thread writes without locks, the main thread reads.
 * Memory is fixed: 9 KiB of sums and 21 histograms of 208 buckets.
 */
export class Telemetry {
  readonly shared: TelemetryShared;
  readonly #counters: Float64Array;
  readonly #gauges: Float64Array;
  readonly #sumsUs: Float64Array;
  readonly #buckets: Uint32Array;

  constructor(shared?: TelemetryShared) {
    this.shared = shared ?? {
      numbers: new SharedArrayBuffer((counterCount + gaugeCount + histogramNames.length) * 8),
      histograms: new SharedArrayBuffer(histogramNames.length * histogramBucketCount * 4),
    };
    this.#counters = new Float64Array(this.shared.numbers, 0, counterCount);
    this.#gauges = new Float64Array(this.shared.numbers, counterCount * 8, gaugeCount);
    this.#sumsUs = new Float64Array(this.shared.numbers, (counterCount + gaugeCount) * 8, histogramNames.length);
    this.#buckets = new Uint32Array(this.shared.histograms);
  }

  count(counter: number, by = 1): void {
    this.#counters[counter]! += by;
  }

  gauge(gauge: number, value: number): void {
    this.#gauges[gauge] = value;
  }

  /** Adds one duration (ms) to a series by its index in `histogramNames`. */
  record(series: number, durationMs: number): void {
    const durationUs = durationMs * 1000;
    this.#buckets[series * histogramBucketCount + bucketOf(durationUs)]!++;
    this.#sumsUs[series]! += durationUs > 0 ? durationUs : 0;
  }

  counterValue(counter: CounterName): number {
    return this.#counters[counterIndex[counter]]!;
  }

  gaugeValue(gauge: GaugeName): number {
    return this.#gauges[gaugeIndex[gauge]]!;
  }

  bucketsOf(series: number): Uint32Array {
    return this.#buckets.subarray(series * histogramBucketCount, (series + 1) * histogramBucketCount);
  }

  sumUsOf(series: number): number {
    return this.#sumsUs[series]!;
  }
}

function indexed<Name extends string>(names: readonly Name[]): Readonly<Record<Name, number>> {
  return Object.fromEntries(names.map((name, index) => [name, index])) as Record<Name, number>;
}

/** Numbers for the hot path: a name is looked up once, at load. */
export const counterIndex = indexed(counterNames);
export const gaugeIndex = indexed(gaugeNames);
export const stageSeries = indexed(stages);
export const rungSeries: readonly number[] = rungNames.map((_, rung) => stages.length + rung);
export const lagSeries = histogramNames.length - 1;

import { bucketFloorUs, histogramBucketCount } from './histogram.ts';
import { counterNames, gaugeNames, histogramNames, type Telemetry } from './telemetry.ts';

/** Upper bounds (seconds) of the published histograms: from 10 µs, 1-2.5-5 per decade. */
const boundsSeconds: readonly number[] = [
  1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 7.5e-3, 1e-2, 1.5e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1,
  2.5, 10,
];

/** Money is counted in nanos inside and published in currency units. */
const nanosSuffix = '_nanos';

export type ExtraMetric = {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  readonly samples: readonly { readonly labels: Readonly<Record<string, string>>; readonly value: number }[];
};

function labelText(labels: Readonly<Record<string, string>>): string {
  const parts = Object.entries(labels).map(
    ([name, value]) => `${name}="${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`,
  );
  return parts.length === 0 ? '' : `{${parts.join(',')}}`;
}

/** Sums of all threads' telemetry in the Prometheus text format 0.0.4. */
export function renderPrometheus(threads: readonly Telemetry[], extra: readonly ExtraMetric[]): string {
  const lines: string[] = [];
  for (const name of counterNames) {
    const total = threads.reduce((sum, thread) => sum + thread.counterValue(name), 0);
    const isMoney = name.endsWith(nanosSuffix);
    const metric = `gavelin_${isMoney ? `${name.slice(0, -nanosSuffix.length)}_currency` : name}_total`;
    lines.push(`# TYPE ${metric} counter`, `${metric} ${isMoney ? total / 1e9 : total}`);
  }
  for (const name of gaugeNames) {
    lines.push(`# TYPE gavelin_${name} gauge`);
    for (const [index, thread] of threads.entries())
      lines.push(`gavelin_${name}{thread="${index}"} ${thread.gaugeValue(name)}`);
  }
  for (const family of ['stage', 'rung', 'event_loop_lag'] as const) {
    const metric = `gavelin_${family === 'event_loop_lag' ? family : `${family}_latency`}_seconds`;
    lines.push(`# TYPE ${metric} histogram`);
    for (const [series, name] of histogramNames.entries()) {
      const [ownFamily, label] = name.split(':');
      if (ownFamily === family)
        lines.push(...histogramLines(metric, label === undefined ? {} : { [family]: label }, threads, series));
    }
  }
  for (const { name, help, type, samples } of extra) {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
    for (const { labels, value } of samples) lines.push(`${name}${labelText(labels)} ${value}`);
  }
  return `${lines.join('\n')}\n`;
}

function histogramLines(
  metric: string,
  labels: Readonly<Record<string, string>>,
  threads: readonly Telemetry[],
  series: number,
): string[] {
  const counts = sumBuckets(threads, series);
  const lines: string[] = [];
  let cumulative = 0;
  let bucket = 0;
  for (const bound of boundsSeconds) {
    // A fine bucket belongs to the first bound at or above its upper edge: never reported faster than it was.
    while (bucket < histogramBucketCount && bucketFloorUs(bucket + 1) <= bound * 1e6 * (1 + 1e-9))
      cumulative += counts[bucket++]!;
    lines.push(`${metric}_bucket${labelText({ ...labels, le: String(bound) })} ${cumulative}`);
  }
  const total = counts.reduce((sum, count) => sum + count, 0);
  lines.push(`${metric}_bucket${labelText({ ...labels, le: '+Inf' })} ${total}`);
  const sumUs = threads.reduce((sum, thread) => sum + thread.sumUsOf(series), 0);
  lines.push(`${metric}_sum${labelText(labels)} ${sumUs / 1e6}`, `${metric}_count${labelText(labels)} ${total}`);
  return lines;
}

/** One series summed over threads. */
export function sumBuckets(threads: readonly Telemetry[], series: number): Float64Array {
  const counts = new Float64Array(histogramBucketCount);
  for (const thread of threads) {
    const own = thread.bucketsOf(series);
    for (let bucket = 0; bucket < histogramBucketCount; bucket++) counts[bucket]! += own[bucket]!;
  }
  return counts;
}

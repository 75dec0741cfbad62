import { lookupMetrics } from './lookup-metrics.ts';
import type { RunningPod } from './pod.ts';
import { type ExtraMetric, renderPrometheus } from './prometheus.ts';

/** `GET /metrics`: the serving threads' telemetry, and what the main thread knows beside it. */
export function podMetrics(pod: RunningPod): string {
  const { eventLog, pool, market, models } = pod;
  const { status } = eventLog;
  const scoring = pool.counts();
  const plain = (name: string, type: ExtraMetric['type'], help: string, value: number): ExtraMetric => ({
    name: `gavelin_${name}`,
    help,
    type,
    samples: [{ labels: {}, value }],
  });
  return renderPrometheus(pod.telemetry, [
    plain('ready', 'gauge', '1 while the pod takes requests.', pod.isReady ? 1 : 0),
    plain('ads', 'gauge', 'Ad rows in use.', market.catalog.adCount),
    plain('catalog_version', 'gauge', 'Raised by each change of the catalog.', market.catalog.version),
    plain('scoring_threads', 'gauge', 'Scoring threads that serve.', scoring.servingThreads),
    plain('scoring_thread_deaths_total', 'counter', 'Scoring threads that died and were replaced.', scoring.deaths),
    plain('scoring_batches_total', 'counter', 'Batches run by the living scoring threads.', scoring.batches),
    plain('scoring_rows_total', 'counter', 'Rows run by the living scoring threads.', scoring.rows),
    plain('log_fault', 'gauge', '1 while the event log cannot be written.', status.fault === undefined ? 0 : 1),
    plain('log_bytes', 'gauge', 'Bytes of the event log on disk.', status.bytes),
    plain('log_auctions_total', 'counter', 'Auctions written to the event log.', status.auctionsWritten),
    plain('log_notices_total', 'counter', 'Notices written to the event log.', status.noticesWritten),
    plain('log_syncs_total', 'counter', 'Times the event log waited for the disk.', status.syncs),
    plain('seen_notices', 'gauge', 'Notice ids that guard against repetition.', market.seen.size),
    plain(
      'caps_evicted_total',
      'counter',
      'Views forgotten before their time for want of room.',
      market.caps.evictedCount,
    ),
    ...lookupMetrics(pod.lookups),
    plain('resident_bytes', 'gauge', 'Resident memory of the process.', process.memoryUsage.rss()),
    {
      name: 'gavelin_model_info',
      help: 'The model and calibrator in service.',
      type: 'gauge',
      samples: [
        {
          labels: { model: models.active.bundle.id, calibrator: models.active.shared.model.calibration.id },
          value: 1,
        },
      ],
    },
  ]);
}

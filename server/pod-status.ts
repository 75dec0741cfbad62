import { monotonicNowMs } from './monotonic-clock.ts';
import type { RunningPod } from './pod.ts';
import { version } from './version.ts';

/** What the pod says of itself: `GET /admin/v1/status`, `gavelin status`. */
export function podStatus(pod: RunningPod): Record<string, unknown> {
  const { bundle, shared, userCount, sinceMs } = pod.models.active;
  const { catalog } = pod.market;
  return {
    version: version(),
    pid: process.pid,
    uptime_s: Math.round((monotonicNowMs() - pod.startedMs) / 1000),
    is_ready: pod.isReady,
    load_level: pod.loadLevel,
    bid_url: pod.bidUrl,
    model: {
      id: bundle.id,
      calibrator_id: shared.model.calibration.id,
      tower_version: bundle.towerVersion,
      slot: shared.model.slot,
      since_ms: sinceMs,
      provider: pod.pool.provider,
    },
    ads: catalog.adCount,
    line_items: catalog.lineItemCount,
    catalog_version: catalog.version,
    users: userCount,
    stores: storesStatus(pod),
    scoring: pod.pool.counts(),
    event_log: pod.eventLog.status,
    seen_notices: pod.market.seen.size,
    caps_evicted: pod.market.caps.evictedCount,
    rss_bytes: process.memoryUsage.rss(),
  };
}

/** Every copy of every shard as each serving thread sees it, and what became of lookups. No address carries a password. */
function storesStatus({ lookups }: RunningPod): unknown {
  return lookups.map(({ tables, copies, cache, pending, hedging }) => ({
    tables: tables.map(({ name, outcomes, sources }) => ({ name, outcomes, sources })),
    copies: copies.map(({ kind, name, breaker, inFlight, calls, failures, hedges, p50Ms, p98Ms }) => ({
      kind,
      name,
      breaker,
      in_flight: inFlight,
      calls,
      failures,
      hedges,
      p50_ms: p50Ms,
      p98_ms: p98Ms,
    })),
    cache,
    pending,
    hedging: { first_calls: hedging.firstCalls, extra_calls: hedging.extraCalls, refused: hedging.refused },
  }));
}

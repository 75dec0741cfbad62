import { MarketLayout } from '#deploy/demo/layout.ts';
import { OrdinaryRequests } from '#deploy/demo/bid-requests.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import { quantileUs } from '#server/histogram.ts';
import { type LoadReport, runLoad } from './load-generator.ts';
import type { Pod } from './pod.ts';

export type DemoSize = { readonly ads: number; readonly users: number; readonly rows: number };
/** What `npm start` makes. */
export const fullDemo: DemoSize = { ads: 10_000, users: 100_000, rows: 1_000_000 };
/** What the suite uses: the same code on a small market. */
export const smokeDemo: DemoSize = { ads: 3000, users: 20_000, rows: 60_000 };

export function demoEnv({ ads, users, rows }: DemoSize): Record<string, string> {
  return { GAVELIN_DEMO_ADS: String(ads), GAVELIN_DEMO_USERS: String(users), GAVELIN_DEMO_ROWS: String(rows) };
}

/**
 * Bodies of ordinary requests, of which only 300x250 banners are taken: there over 2,000 of 10 K ads are eligible, so that every
 * request brings 200 candidates to the head. Users and sites are Zipf, as in the demo's own traffic.
 */
export function bidBodies(size: DemoSize, count: number, seed: number): Uint8Array[] {
  const layout = new MarketLayout({ ads: size.ads, users: size.users, rows: 0, seed: 1 });
  const source = new OrdinaryRequests(layout, seededRandom(seed), `load-${seed}`);
  const bodies: Uint8Array[] = [];
  while (bodies.length < count) {
    const { body, context } = source.next(Date.now());
    if (context.size === 0) bodies.push(Buffer.from(JSON.stringify(body)));
  }
  return bodies;
}

type LatencyCounts = Readonly<Record<string, readonly number[]>>;

export type Measurement = {
  readonly report: LoadReport;
  /** CPU-seconds of the server process while the load ran. */
  readonly serverCpuSeconds: number;
  readonly predictions: number;
  /** Answers per rung, as shares. */
  readonly rungShares: Readonly<Record<string, number>>;
  /** Server-side quantiles by series, in ms. */
  readonly quantileMs: (series: string, share: number) => number;
};

/** Runs a load of bid requests and reads the server's own counters before and after it. */
export async function measureBids(
  pod: Pod,
  bodies: readonly Uint8Array[],
  plan: {
    readonly ratePerSecond: number;
    readonly seconds: number;
    readonly connections?: number;
    readonly warmUpSeconds?: number;
    readonly deadlineMs?: number;
  },
): Promise<Measurement> {
  const latencyBefore = await readLatency(pod);
  const metricsBefore = await pod.metrics();
  const cpuBefore = pod.cpuSeconds();
  const report = await runLoad({
    port: pod.bidPort,
    path: '/openrtb2/bid',
    headers: { 'content-type': 'application/json' },
    requests: bodies,
    connections: plan.connections ?? 32,
    ratePerSecond: plan.ratePerSecond,
    seconds: plan.seconds,
    poissonSeed: 7,
    ...(plan.warmUpSeconds === undefined ? {} : { warmUpSeconds: plan.warmUpSeconds }),
    ...(plan.deadlineMs === undefined ? {} : { deadlineMs: plan.deadlineMs }),
  });
  const serverCpuSeconds = pod.cpuSeconds() - cpuBefore;
  const metricsAfter = await pod.metrics();
  const latencyAfter = await readLatency(pod);
  const between = (series: string): number[] =>
    (latencyAfter[series] ?? []).map((count, bucket) => count - (latencyBefore[series]?.[bucket] ?? 0));
  const rungCounts = Object.keys(latencyAfter)
    .filter((series) => series.startsWith('rung:'))
    .map((series) => [series.slice('rung:'.length), between(series).reduce((sum, count) => sum + count, 0)] as const);
  const answered = rungCounts.reduce((sum, [, count]) => sum + count, 0);
  const counter = 'gavelin_predictions_total';
  return {
    report,
    serverCpuSeconds,
    predictions: (metricsAfter.get(counter) ?? 0) - (metricsBefore.get(counter) ?? 0),
    rungShares: Object.fromEntries(rungCounts.map(([name, count]) => [name, answered > 0 ? count / answered : 0])),
    quantileMs: (series, share) => quantileUs(between(series), share) / 1000,
  };
}

async function readLatency(pod: Pod): Promise<LatencyCounts> {
  return (await (await pod.admin('/admin/v1/latency')).json()) as LatencyCounts;
}

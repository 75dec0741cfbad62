import { setTimeout as sleep } from 'node:timers/promises';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { join, resolve } from 'node:path';
import { expect } from 'vitest';
import type { RungName } from '#server/rungs.ts';
import { bidBodies, smokeDemo } from './bid-load.ts';
import { type LoadReport, runLoad } from './load-generator.ts';
import type { Pod } from './pod.ts';
import { makeSmallDemo, smallDataDir, startSmallPod } from './small-demo.ts';

const root = resolve(import.meta.dirname, '../..');
const run = promisify(execFile);
/** Enough to see every shard's users within a second; a tenth of what two busy cores carry. */
const ratePerSecond = 150;
/** Long for an exchange, and so that a machine which stands still for a moment is no late answer: a store that hangs would hang longer. */
const tmaxMs = 600;
const sampleMs = 250;
/** The promise: full service this long after a fault has ended. */
const recoveryMsMax = 35_000;
/** Full service: a machine that stands still for a moment may cost a few answers their rung. */
const fullShare = 0.97;
/** Growth of the process during a drill that is no leak: heaps breathe by about this much. */
const rssGrowthBytesMax = 96 * 2 ** 20;

/** Settings of a pod that has no user in itself and keeps nothing that it has read: every request asks the stores. */
export const storesOnly: Readonly<Record<string, string>> = {
  GAVELIN_HOT_USERS_MAX: '0',
  GAVELIN_STORE_CACHE_MS: '0',
  // Ten times the defaults: on a machine that others use too, a store or a model that is well may take longer.
  GAVELIN_LOOKUP_MS: '30',
  GAVELIN_ML_BUDGET_MS: '100',
};

/** A pod of the small demo on stores that hold all of its users. `env` names the stores. */
export async function startPodOnStores(
  env: Readonly<Record<string, string>>,
  nodeFlags: readonly string[] = [],
): Promise<Pod> {
  const { files, bundle } = await makeSmallDemo();
  const dataDir = smallDataDir();
  const settings = {
    ...storesOnly,
    ...env,
    GAVELIN_DATA_DIR: dataDir,
    GAVELIN_USERS_FILE: files.users,
    GAVELIN_BUNDLE_DIR: bundle,
  };
  for (const words of [['create-tables'], ['fill', '--all']]) {
    await run(process.execPath, [join(root, 'deploy/gavelin.js'), 'stores', ...words], {
      env: { ...process.env, ...settings },
      timeout: 120_000,
    });
  }
  return startSmallPod({ dataDir, ownsDataDir: true, env: settings, nodeFlags });
}

export type Drill = {
  readonly pod: Pod;
  /** Breaks something. It is over when `mend` has been called and has resolved. */
  readonly fault: () => Promise<void>;
  readonly mend: () => Promise<void>;
  readonly faultMs: number;
  /** From a second into the fault on, requests are on these rungs, and each of them gets at least its share of them. */
  readonly rungs: Readonly<Partial<Record<RungName, number>>>;
};

type Sample = { readonly atMs: number; readonly byRung: Readonly<Record<string, number>> };

/**
 * Runs open-loop bids before, during and after a fault, and holds the server to its promises: no 5xx, nothing unanswered or late, the
 * right rung within a second, full service within 35 s after the end, nothing left pending, memory flat.
 */
export async function expectServiceThrough({ pod, fault, mend, faultMs, rungs }: Drill): Promise<void> {
  const calmMs = 3000;
  const seconds = Math.ceil((calmMs + faultMs + recoveryMsMax) / 1000) + 2;
  const bodies = bidBodies(smokeDemo, 2000, 11).map(withTmax);
  await pod.bid(Buffer.from(bodies[0]!).toString());
  const rssBefore = pod.rssBytes();
  const lateBefore = (await pod.metrics()).get('gavelin_late_total') ?? 0;
  const samples: Sample[] = [];
  const load = runLoad({
    port: pod.bidPort,
    path: '/openrtb2/bid',
    headers: { 'content-type': 'application/json' },
    requests: bodies,
    connections: 16,
    ratePerSecond,
    seconds,
    poissonSeed: 3,
  });
  const over = new AbortController();
  const sampling = (async () => {
    while (!over.signal.aborted) {
      samples.push({ atMs: performance.now(), byRung: await countsByRung(pod) });
      await sleep(sampleMs);
    }
  })();
  await sleep(calmMs);
  const calmShares = sharesBetween(samples, performance.now() - 1500, performance.now());
  const faultAtMs = performance.now();
  await fault();
  await sleep(faultMs);
  await mend();
  const mendedAtMs = performance.now();
  const report = await load;
  over.abort();
  await sampling;

  expect(calmShares['full'] ?? 0, `before the fault: ${JSON.stringify(calmShares)}`).toBeGreaterThan(fullShare);
  expectServed(report);
  expect(((await pod.metrics()).get('gavelin_late_total') ?? 0) - lateBefore, 'late').toBe(0);
  const during = sharesBetween(samples, faultAtMs + 1000, mendedAtMs);
  for (const [name, share] of Object.entries(rungs))
    expect(during[name] ?? 0, `${name} during the fault: ${JSON.stringify(during)}`).toBeGreaterThanOrEqual(share);
  const others = Object.entries(during).filter(([name]) => !Object.hasOwn(rungs, name));
  expect(
    others.reduce((sum, [, share]) => sum + share, 0),
    `other rungs during the fault: ${JSON.stringify(during)}`,
  ).toBeLessThan(0.02);
  expect(fullAgainMs(samples, mendedAtMs), 'ms until full service').toBeLessThanOrEqual(recoveryMsMax);
  // And it stays: what the next drill begins with.
  const lastShares = sharesBetween(samples, samples.at(-1)!.atMs - 2000, samples.at(-1)!.atMs);
  expect(lastShares['full'] ?? 0, `at the end: ${JSON.stringify(lastShares)}`).toBeGreaterThan(fullShare);
  await expectNothingPending(pod);
  expect(pod.rssBytes() - rssBefore, 'growth of the process').toBeLessThan(rssGrowthBytesMax);
}

function expectServed(report: LoadReport): void {
  // Connections that idle for 10 s are closed by the server, as always: only a request that got no answer counts.
  const { byStatus, unanswered } = report;
  expect(unanswered, 'unanswered').toBe(0);
  expect(Object.keys(byStatus).filter((status) => status !== '200' && status !== '204')).toEqual([]);
  expect(report.bids, 'bids').toBeGreaterThan(report.answered / 2);
}

async function expectNothingPending(pod: Pod): Promise<void> {
  // What the last requests asked of a store settles within the store's own limit.
  for (let turn = 0; turn < 20; turn++) {
    const { stores } = (await (await pod.admin('/admin/v1/status')).json()) as {
      stores: { pending: { lookups: number; calls: number; coldKeys: number } }[];
    };
    if (stores.every(({ pending }) => pending.lookups === 0 && pending.calls === 0 && pending.coldKeys === 0)) return;
    await sleep(500);
  }
  expect.unreachable('lookups or calls are pending 10 s after the load has ended');
}

async function countsByRung(pod: Pod): Promise<Record<string, number>> {
  const latency = (await (await pod.admin('/admin/v1/latency')).json()) as Record<string, number[]>;
  const byRung = Object.fromEntries(
    Object.entries(latency)
      .filter(([series]) => series.startsWith('rung:'))
      .map(([series, counts]) => [series.slice('rung:'.length), counts.reduce((sum, count) => sum + count, 0)]),
  );
  // Half the candidates for want of time: that is the machine's load, and no store's fault.
  const { reduced = 0, full = 0, ...others } = byRung;
  return { ...others, full: full + reduced };
}

/** Shares of the rungs among the answers between two moments; rungs without any are left out. */
function sharesBetween(samples: readonly Sample[], fromMs: number, toMs: number): Record<string, number> {
  const within = samples.filter(({ atMs }) => atMs >= fromMs && atMs <= toMs);
  const first = within[0];
  const last = within.at(-1);
  if (first === undefined || last === undefined) return {};
  const counts = Object.entries(last.byRung).map(([name, count]) => [name, count - (first.byRung[name] ?? 0)] as const);
  const sum = counts.reduce((total, [, count]) => total + count, 0);
  return Object.fromEntries(counts.filter(([, count]) => count > 0).map(([name, count]) => [name, count / sum]));
}

/** How long after the end of the fault the first second began in which service was full; infinite when there was none. */
function fullAgainMs(samples: readonly Sample[], mendedAtMs: number): number {
  for (const { atMs } of samples) {
    if (atMs < mendedAtMs || atMs + 1000 > samples.at(-1)!.atMs) continue;
    const shares = sharesBetween(samples, atMs, atMs + 1000 + sampleMs);
    if ((shares['full'] ?? 0) > fullShare) return atMs - mendedAtMs;
  }
  return Number.POSITIVE_INFINITY;
}

function withTmax(body: Uint8Array): Uint8Array {
  const request = JSON.parse(Buffer.from(body).toString()) as Record<string, unknown>;
  return Buffer.from(JSON.stringify({ ...request, tmax: tmaxMs }));
}

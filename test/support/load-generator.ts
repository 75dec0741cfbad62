import { fork } from 'node:child_process';
import { join } from 'node:path';

/** One open-loop load on 127.0.0.1. */
export type LoadPlan = {
  readonly port: number;
  /** Default POST. */
  readonly method?: 'POST' | 'GET';
  readonly path: string;
  /** Bodies, sent in turn. */
  readonly requests: readonly Uint8Array[];
  readonly headers?: Readonly<Record<string, string>>;
  /** Starts per second; request i is due at i / rate, or at a seeded Poisson time when `poissonSeed` is given. */
  readonly ratePerSecond: number;
  readonly poissonSeed?: number;
  /** At most 600. */
  readonly seconds: number;
  readonly connections: number;
  /** Requests due in the first seconds are sent but not measured. Default 0. */
  readonly warmUpSeconds?: number;
  /** How long to wait for answers after the last start. Default 3,000. */
  readonly drainMsMax?: number;
  /** Bids that come later than this after their request was due do not count as in time. */
  readonly deadlineMs?: number;
};

export type LatencySummary = {
  readonly meanMs: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
};

export type LoadReport = {
  readonly planned: number;
  readonly sent: number;
  readonly answered: number;
  /** Sent but never answered, plus planned but never sent. */
  readonly unanswered: number;
  /** Answers by status code, warm-up included. */
  readonly byStatus: Readonly<Record<string, number>>;
  /** Answers whose body holds a `seatbid` with a bid in it. */
  readonly bids: number;
  /** Those of them that came within the plan's `deadlineMs` of their request being due. */
  readonly bidsInTime: number;
  /** Connections that broke or closed early. */
  readonly connectionErrors: number;
  /** From the moment the request was due: what waited for a free connection counts, so a stalled server cannot hide. */
  readonly fromDue: LatencySummary;
  /** From the moment it was written: the server's own time and the wire. */
  readonly fromSent: LatencySummary;
  readonly answeredPerSecond: number;
  /** CPU of the generator, all of it, after it was warm. */
  readonly cpuSeconds: number;
  readonly cpuMicrosPerRequest: number;
  /** Per second since the start: answers, bids and the worst latency from due. */
  readonly timeline: readonly { readonly answered: number; readonly bids: number; readonly maxMs: number }[];
};

export const loadLimits = {
  secondsMax: 600,
  ratePerSecondMax: 100_000,
  connectionsMax: 1000,
  plannedMax: 20_000_000,
} as const;

/**
 * Sends the planned load from a child process and reports. Open loop: starts are scheduled before anything is sent and never wait
 * for answers (coordinated omission cannot happen), but no more than `connections` are in flight at once.
 */
export async function runLoad(plan: LoadPlan): Promise<LoadReport> {
  const planned = plan.ratePerSecond * plan.seconds;
  const fits =
    plan.seconds > 0 &&
    plan.seconds <= loadLimits.secondsMax &&
    plan.ratePerSecond > 0 &&
    plan.ratePerSecond <= loadLimits.ratePerSecondMax &&
    plan.connections >= 1 &&
    plan.connections <= loadLimits.connectionsMax &&
    planned <= loadLimits.plannedMax &&
    plan.requests.length > 0;
  if (!fits)
    throw new Error(`A load beyond ${JSON.stringify(loadLimits)}: ${plan.ratePerSecond}/s for ${plan.seconds} s`);
  const child = fork(join(import.meta.dirname, 'load-generator-child.ts'), [], {
    serialization: 'advanced',
    execArgv: ['--max-semi-space-size=16'],
  });
  const stopChild = (): void => {
    child.kill('SIGKILL');
  };
  process.once('exit', stopChild);
  const timer = setTimeout(stopChild, (plan.seconds + 30) * 1000 + (plan.drainMsMax ?? 3000));
  try {
    return await new Promise<LoadReport>((settle, fail) => {
      child.once('message', (report) => {
        settle(report as LoadReport);
      });
      child.once('error', fail);
      child.once('exit', (code, signal) => {
        fail(new Error(`the load generator ended early (${code ?? signal})`));
      });
      child.send(plan);
    });
  } finally {
    clearTimeout(timer);
    process.off('exit', stopChild);
    child.kill('SIGKILL');
  }
}

export type MaxRateSearch = {
  readonly startRate: number;
  readonly rateMax: number;
  /** Stop when the highest accepted and the lowest refused rate are this close: 0.05 is 5 %. */
  readonly precision: number;
  readonly run: (ratePerSecond: number) => Promise<LoadReport>;
  readonly accepts: (report: LoadReport) => boolean;
  readonly onStep?: (ratePerSecond: number, isAccepted: boolean, report: LoadReport) => void;
};

const searchStepsMax = 24;

/** The highest rate that is accepted: doubling from `startRate`, then halving the gap. Rate 0 and no report when even 1/64 of the start fails. */
export async function findMaxRate(
  search: MaxRateSearch,
): Promise<{ ratePerSecond: number; report: LoadReport | undefined }> {
  let accepted = 0;
  let refused = Number.POSITIVE_INFINITY;
  let best: LoadReport | undefined;
  let rate = Math.min(search.startRate, search.rateMax);
  for (let step = 0; step < searchStepsMax; step += 1) {
    const report = await search.run(rate);
    const isAccepted = search.accepts(report);
    search.onStep?.(rate, isAccepted, report);
    if (isAccepted) {
      accepted = rate;
      best = report;
    } else {
      refused = rate;
    }
    if (accepted >= search.rateMax) break;
    if (accepted === 0 && rate < search.startRate / 64) break;
    if (refused !== Number.POSITIVE_INFINITY && accepted > 0 && refused / accepted - 1 <= search.precision) break;
    if (refused === Number.POSITIVE_INFINITY) rate = Math.min(search.rateMax, accepted * 2);
    else rate = Math.round(accepted === 0 ? refused / 2 : (accepted + refused) / 2);
  }
  return { ratePerSecond: accepted, report: best };
}

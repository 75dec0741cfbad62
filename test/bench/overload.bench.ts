import type { Bench } from '../support/bench.ts';
import { type Measurement, measureBids } from '../support/bid-load.ts';
import { maxRate, rounded, withServer } from '../support/server-bench.ts';

/** The deadline that ordinary requests bring. */
const deadlineMs = 100;

export const bench: Bench = {
  name: 'overload',
  about:
    'bids per second inside the deadline at 2× the highest rate ÷ at 0.9×, with the rungs that gave them and the time to recover',
  async run(mode, progress) {
    return withServer(mode, async (server) => {
      const highest = await maxRate(server, (rate) => progress(0, 4, `trying ${rate}/s`));
      const seconds = server.isFull ? 15 : 1;
      const at = async (factor: number, connections: number): Promise<Measurement> =>
        measureBids(server.pod, server.bodies, {
          ratePerSecond: highest.ratePerSecond * factor,
          seconds,
          connections,
          deadlineMs,
        });
      progress(1, 4, '0.9×');
      const normal = await at(0.9, 32);
      progress(2, 4, '2×');
      // More connections than requests can be under way within the deadline: the queue stands in the server, not in the generator.
      const over = await at(2, 400);
      progress(3, 4, 'recovery');
      const recoveryMs = await recovery(server.pod);
      progress(4, 4, 'done');
      const inTime = ({ report }: Measurement): number => report.bidsInTime / seconds;
      return {
        bench: 'overload',
        value: rounded(inTime(over) / Math.max(1, inTime(normal))),
        unit: 'bids inside the deadline, 2× ÷ 0.9×',
        better: 'higher',
        figures: {
          ratePerSecond: Math.round(highest.ratePerSecond * 2),
          bidsInTimePerSecond: Math.round(inTime(over)),
          bidsInTimePerSecondAt90: Math.round(inTime(normal)),
          bidsLateShare: rounded(1 - over.report.bidsInTime / Math.max(1, over.report.bids)),
          p50FromDueMs: rounded(over.report.fromDue.p50Ms),
          p99FromDueMs: rounded(over.report.fromDue.p99Ms),
          p99ServerMs: rounded(over.quantileMs('stage:total', 0.99)),
          rungShares: Object.fromEntries(
            Object.entries(over.rungShares).map(([rung, share]) => [rung, rounded(share)]),
          ),
          byStatus: over.report.byStatus,
          unanswered: over.report.unanswered,
          recoveryMs,
        },
      };
    });
  },
};

/** Milliseconds until the load level is normal again and a lone request gets the full rung. */
async function recovery(pod: Parameters<typeof measureBids>[0]): Promise<number> {
  const startedMs = performance.now();
  const probe = {
    id: 'probe',
    test: 1,
    tmax: 100,
    imp: [{ id: '1', banner: { w: 300, h: 250 } }],
    site: { domain: 'probe.example' },
    device: { geo: { country: 'USA' } },
  };
  for (let attempt = 0; attempt < 500; attempt++) {
    const answer = await pod.bid(probe);
    const text = await answer.text();
    if (answer.status === 200 && text.includes('"rung":"full"')) return Math.round(performance.now() - startedMs);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return Number.POSITIVE_INFINITY;
}

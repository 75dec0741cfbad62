import type { Bench } from '../support/bench.ts';
import { maxRate, rounded, withServer } from '../support/server-bench.ts';

export const bench: Bench = {
  name: 'throughput',
  about:
    'highest open-loop rate with p99 ≤ 10 ms from the due time and ≥ 99.9 % on the top rung; generator on the same cores',
  async run(mode, progress) {
    return withServer(mode, async (server) => {
      const { ratePerSecond, measurement } = await maxRate(server, (rate) => progress(0, 1, `trying ${rate}/s`));
      progress(1, 1, 'done');
      const { report, rungShares, quantileMs } = measurement;
      const perAuction = measurement.predictions / Math.max(1, report.answered);
      return {
        bench: 'throughput',
        value: Math.round(ratePerSecond * perAuction),
        unit: 'calibrated predictions/s',
        better: 'higher',
        figures: {
          auctionsPerSecond: Math.round(ratePerSecond),
          candidatesPerAuction: rounded(perAuction, 4),
          p50FromDueMs: rounded(report.fromDue.p50Ms),
          p99FromDueMs: rounded(report.fromDue.p99Ms),
          p50FromSentMs: rounded(report.fromSent.p50Ms),
          p99FromSentMs: rounded(report.fromSent.p99Ms),
          p50ServerMs: rounded(quantileMs('stage:total', 0.5)),
          p99ServerMs: rounded(quantileMs('stage:total', 0.99)),
          fullRungShare: rounded(rungShares['full'] ?? 0, 4),
          bidShare: rounded(report.bids / Math.max(1, report.answered), 4),
          serverCpuMicrosPerAuction: rounded((measurement.serverCpuSeconds / Math.max(1, report.answered)) * 1e6),
          generatorCpuMicrosPerRequest: rounded(report.cpuMicrosPerRequest),
        },
      };
    });
  },
};

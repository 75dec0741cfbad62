import { stages } from '#server/telemetry.ts';
import type { Bench } from '../support/bench.ts';
import { measureBids } from '../support/bid-load.ts';
import { maxRate, rounded, withServer } from '../support/server-bench.ts';

export const bench: Bench = {
  name: 'latency',
  about: 'server-side p99 at 50 % of the highest rate, with p50 and p99.9, per stage',
  async run(mode, progress) {
    return withServer(mode, async (server) => {
      const highest = await maxRate(server, (rate) => progress(0, 2, `trying ${rate}/s`));
      progress(1, 2, '50 % load');
      const ratePerSecond = highest.ratePerSecond * 0.5;
      const measured = await measureBids(server.pod, server.bodies, { ratePerSecond, seconds: server.isFull ? 30 : 1 });
      progress(2, 2, 'done');
      const figures: Record<string, number> = { ratePerSecond: Math.round(ratePerSecond) };
      for (const stage of stages) {
        for (const [name, share] of [
          ['p50', 0.5],
          ['p99', 0.99],
          ['p999', 0.999],
        ] as const) {
          const value = measured.quantileMs(`stage:${stage}`, share);
          if (Number.isFinite(value)) figures[`${stage}_${name}_ms`] = rounded(value);
        }
      }
      return {
        bench: 'latency',
        value: rounded(measured.quantileMs('stage:total', 0.99)),
        unit: 'ms p99, server side',
        better: 'lower',
        figures: {
          ...figures,
          p99FromDueMs: rounded(measured.report.fromDue.p99Ms),
          p999FromDueMs: rounded(measured.report.fromDue.p999Ms),
          fullRungShare: rounded(measured.rungShares['full'] ?? 0, 4),
        },
      };
    });
  },
};

import type { Bench } from '../support/bench.ts';
import { measureBids } from '../support/bid-load.ts';
import { referenceCost } from '../support/reference-cost.ts';
import { maxRate, rounded, withServer } from '../support/server-bench.ts';

export const bench: Bench = {
  name: 'efficiency',
  about:
    'CPU of 1,000 candidates of the unsplit head in a bare onnxruntime loop ÷ CPU of 1,000 candidates bid over HTTP, at 70 % load',
  async run(mode, progress) {
    return withServer(mode, async (server) => {
      progress(1, 4, 'bare loop');
      const before = await referenceCost(server.isFull ? 200 : 5);
      progress(2, 4, 'highest rate');
      const highest = await maxRate(server, (rate) => progress(2, 4, `trying ${rate}/s`));
      progress(3, 4, '70 % load');
      const load = { ratePerSecond: highest.ratePerSecond * 0.7, seconds: server.isFull ? 20 : 1 };
      const measured = await measureBids(server.pod, server.bodies, load);
      // The bare loop again, so that a machine that changed its mood meanwhile shows.
      const after = await referenceCost(server.isFull ? 200 : 5);
      progress(4, 4, 'done');
      const bare = Math.min(before.cpuSecondsPerThousand, after.cpuSecondsPerThousand);
      const served = (measured.serverCpuSeconds / measured.predictions) * 1000;
      return {
        bench: 'efficiency',
        value: rounded(bare / served),
        unit: 'bare CPU ÷ served CPU',
        better: 'higher',
        figures: {
          bareCpuMsPerThousand: rounded(bare * 1000),
          bareBatch: before.batch,
          bareSpread: rounded(Math.abs(before.cpuSecondsPerThousand - after.cpuSecondsPerThousand) / bare),
          servedCpuMsPerThousand: rounded(served * 1000),
          servedCpuMicrosPerAuction: rounded((measured.serverCpuSeconds / measured.report.answered) * 1e6),
          candidatesPerAuction: rounded(measured.predictions / measured.report.answered, 4),
          ratePerSecond: Math.round(load.ratePerSecond),
          fullRungShare: rounded(measured.rungShares['full'] ?? 0, 4),
          generatorCpuMicrosPerRequest: rounded(measured.report.cpuMicrosPerRequest),
        },
      };
    });
  },
};

import type { Bench } from '../support/bench.ts';
import { measureBids } from '../support/bid-load.ts';
import { rounded, withServer } from '../support/server-bench.ts';

export const bench: Bench = {
  name: 'lone-request',
  about: 'time that a single request on an idle server waits for a scoring thread (submit to claim), p50',
  async run(mode, progress) {
    return withServer(mode, async (server) => {
      // 20 a second: nobody ever meets anybody.
      const plan = { ratePerSecond: 20, seconds: server.isFull ? 20 : 2, connections: 1 };
      progress(0, 1, 'one at a time');
      const { quantileMs, report } = await measureBids(server.pod, server.bodies, plan);
      progress(1, 1, 'done');
      return {
        bench: 'lone-request',
        value: rounded(quantileMs('stage:queue', 0.5)),
        unit: 'ms p50 in the queue',
        better: 'lower',
        figures: {
          queueP99Ms: rounded(quantileMs('stage:queue', 0.99)),
          scoreP50Ms: rounded(quantileMs('stage:score', 0.5)),
          totalP50Ms: rounded(quantileMs('stage:total', 0.5)),
          totalP99Ms: rounded(quantileMs('stage:total', 0.99)),
          requests: report.answered,
        },
      };
    });
  },
};

import { expect, test } from 'vitest';
import { runLoad } from '../support/load-generator.ts';
import { startSmallPod } from '../support/small-demo.ts';

const body = Buffer.from(
  JSON.stringify({
    id: 'threads',
    tmax: 1000,
    imp: [{ id: '1', banner: { w: 300, h: 250 } }],
    site: { domain: 'threads.example' },
    device: { geo: { country: 'USA' } },
  }),
);

test.each([
  ['uws', 2, 2],
  ['node', 1, 1],
  ['node', 2, 1],
] as const)(
  '%s with %i serving and %i scoring threads answers everything with bids',
  async (http, serving, scoring) => {
    const pod = await startSmallPod({
      env: {
        GAVELIN_HTTP: http,
        GAVELIN_SERVING_THREADS: String(serving),
        GAVELIN_SCORING_THREADS: String(scoring),
        // No rung below the top one because of a slow machine: this is about threads.
        GAVELIN_ML_BUDGET_MS: '100',
      },
    });
    try {
      const report = await runLoad({
        port: pod.bidPort,
        path: '/openrtb2/bid',
        requests: [body],
        ratePerSecond: 150,
        seconds: 3,
        connections: 24,
      });
      expect(report.unanswered).toBe(0);
      expect(report.bids).toBe(report.answered);
      const metrics = await pod.metrics();
      expect(metrics.get('gavelin_scoring_threads')).toBe(scoring);
      // Every thread had its part: connections are spread by the kernel.
      for (let thread = 0; thread < serving; thread++)
        expect(metrics.has(`gavelin_in_flight{thread="${thread}"}`)).toBe(true);
      expect(await pod.stop('SIGTERM')).toBe(0);
    } finally {
      await pod.stop('SIGKILL');
    }
  },
);

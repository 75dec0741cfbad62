import { expect, test } from 'vitest';
import { AdProbe, AdUpdates, type ProbeTimes } from '../support/ad-updates.ts';
import { bidBodies, smokeDemo } from '../support/bid-load.ts';
import { runLoad } from '../support/load-generator.ts';
import { makeSmallDemo, startSmallPod } from '../support/small-demo.ts';

const seconds = 5;

test('a thousand ads a second are added and changed under load: every answer is whole, and after the admin answer all threads know', async () => {
  const { files } = await makeSmallDemo();
  const pod = await startSmallPod({
    // Slow machines do not decide what is shown: this is about what threads see, and nobody counts time here.
    env: { GAVELIN_SERVING_THREADS: '2', GAVELIN_ML_BUDGET_MS: '100', GAVELIN_CANDIDATE_COUNT_MAX: '20' },
  });
  const probe = await AdProbe.open(pod);
  const updates = new AdUpdates(pod, files.catalog);
  const state = { isLoaded: true };
  try {
    const load = runLoad({
      port: pod.bidPort,
      path: '/openrtb2/bid',
      requests: bidBodies(smokeDemo, 64, 5),
      ratePerSecond: 100,
      seconds,
      connections: 16,
      poissonSeed: 3,
    }).finally(() => {
      state.isLoaded = false;
    });
    const times: ProbeTimes[] = [];
    const probed = async (): Promise<void> => {
      while (state.isLoaded) {
        times.push(await probe.addAd());
        for (let change = 0; change < 3; change++) times.push(await probe.changeAd());
      }
    };
    const [report] = await Promise.all([load, updates.run({ ratePerSecond: 1000, seconds, perCall: 50 }), probed()]);
    expect(updates.count).toBe(1000 * seconds);
    expect(report.unanswered).toBe(0);
    expect(report.connectionErrors).toBe(0);
    expect(Object.keys(report.byStatus).filter((status) => status !== '200' && status !== '204')).toEqual([]);
    expect(report.bids).toBeGreaterThan(0);
    expect(times.length).toBeGreaterThan(8);
    // A request sent after the admin answer sees the ad as it is now, on whichever thread.
    expect(times.map(({ staleAnswers }) => staleAnswers)).toEqual(times.map(() => 0));
    expect(await pod.stop()).toBe(0);
  } finally {
    probe.close();
    await pod.stop();
  }
});

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MarketLayout } from '#deploy/demo/layout.ts';
import { OrdinaryRequests } from '#deploy/demo/bid-requests.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import { runLoad } from '../support/load-generator.ts';
import type { Pod } from '../support/pod.ts';
import { smallDemoParameters, startSmallPod } from '../support/small-demo.ts';

let pod: Pod;
beforeAll(async () => {
  pod = await startSmallPod();
});
afterAll(async () => {
  await pod.stop();
});

const sizes = [
  [300, 250],
  [320, 50],
  [728, 90],
] as const;

function ordinary(index: number, user: string): unknown {
  const [w, h] = sizes[index % 3]!;
  return {
    id: `ordinary-${index}`,
    tmax: 100,
    imp: [{ id: '1', banner: { w, h }, bidfloor: (index % 11) / 100 }],
    site: { domain: `nobody-knows-${index % 97}.example` },
    device: { geo: { country: ['USA', 'GBR', 'DEU'][Math.floor(index / 3) % 3] } },
    user: { id: user },
  };
}

const bodies = (count: number, user: (index: number) => string): Uint8Array[] =>
  Array.from({ length: count }, (_, index) => Buffer.from(JSON.stringify(ordinary(index, user(index)))));

describe('ordinary traffic finds a buyer more than 8 times in 10', () => {
  test('strangers on unknown sites, as fast as the pod answers and without a single notice', async () => {
    const requests = bodies(2000, (index) => `stranger-${index}`);
    const report = await runLoad({
      port: pod.bidPort,
      path: '/openrtb2/bid',
      requests,
      ratePerSecond: 800,
      seconds: 8,
      connections: 16,
    });
    expect(report.unanswered).toBe(0);
    expect(report.bids / report.answered).toBeGreaterThan(0.8);
  });

  test('ten thousand requests of one user', async () => {
    const requests = bodies(1000, () => 'u000042');
    const report = await runLoad({
      port: pod.bidPort,
      path: '/openrtb2/bid',
      requests,
      ratePerSecond: 1000,
      seconds: 10,
      connections: 16,
    });
    expect(report.planned).toBe(10_000);
    expect(report.bids / report.answered).toBeGreaterThan(0.8);
  });

  test('everything that the demo driver sends is answered 200 or 204', async () => {
    const source = new OrdinaryRequests(new MarketLayout({ ...smallDemoParameters, rows: 0 }), seededRandom(5), 'all');
    const requests = Array.from({ length: 1500 }, () => Buffer.from(JSON.stringify(source.next(Date.now()).body)));
    const report = await runLoad({
      port: pod.bidPort,
      path: '/openrtb2/bid',
      requests,
      ratePerSecond: 500,
      seconds: 3,
      connections: 16,
    });
    expect(
      Object.keys(report.byStatus)
        .toSorted()
        .filter((status) => status !== '200' && status !== '204'),
    ).toEqual([]);
    expect(report.unanswered).toBe(0);
  });
});

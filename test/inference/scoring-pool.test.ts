import { expect, test } from 'vitest';
import { servedDims } from '#inference/head-weights.ts';
import { ScoringClient, type ScoringOutcome } from '#inference/scoring-client.ts';
import { ScoringPool } from '#inference/scoring-pool.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import { normals } from '../support/random-head.ts';
import { crossRows, nowMs, scoringFixture } from './scoring-fixture.ts';

test('scores a request', async () => {
  const { model, expected, adCount } = await scoringFixture(1);
  const pool = await ScoringPool.start({ threadCount: 1, clientCount: 1, provider: 'cpu' });
  const t = performance.now();
  await pool.load(model);
  console.log('load', performance.now() - t);
  let tell: (outcome: ScoringOutcome) => void = () => {};
  const client = new ScoringClient(pool.shared, 0, nowMs, (_, outcome) => tell(outcome));
  client.start();
  const random = seededRandom(9);
  for (let round = 0; round < 300; round++) {
    const rows = 1 + Math.floor(random() * 1000);
    const slot = client.begin(rows);
    const user = normals(64, 0.5, random);
    client.userOf(slot).set(user);
    const cross = crossRows(rows, random);
    client.crossOf(slot).set(cross);
    const ids = Int32Array.from({ length: rows }, () => Math.floor(random() * adCount));
    client.adIdsOf(slot).set(ids);
    const outcome = await new Promise<ScoringOutcome>((resolve) => {
      tell = resolve;
      client.submit(slot, 0, nowMs() + 1000);
    });
    expect(outcome).toBe('SCORED');
    const logits = client.logitsOf(slot);
    for (const row of [0, rows - 1, rows >> 1]) {
      const want = expected(user, ids[row]!, cross.subarray(row * servedDims.cross, (row + 1) * servedDims.cross));
      expect(Math.abs(logits[row * 2]! - want[0]!)).toBeLessThan(1e-5);
      expect(Math.abs(logits[row * 2 + 1]! - want[1]!)).toBeLessThan(1e-5);
    }
    client.release(slot);
  }
  console.log(pool.counts(), client.predictedWaitMs(200));
  await pool.stop();
});

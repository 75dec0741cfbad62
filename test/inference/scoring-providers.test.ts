import { expect, test } from 'vitest';
import { ScoringError } from '#inference/errors.ts';
import { type ExecutionProvider, resolveProvider } from '#inference/execution-providers.ts';
import { ScoringPool } from '#inference/scoring-pool.ts';
import { ScoringClient } from '#inference/scoring-client.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import { normals } from '../support/random-head.ts';
import { crossRows, nowMs, scoringFixture } from './scoring-fixture.ts';

const random = seededRandom(77);
const rows = 150;
const user = normals(64, 0.5, random);
const cross = crossRows(rows, random);

async function scores(provider: ExecutionProvider): Promise<Float32Array> {
  const { model } = await scoringFixture(42);
  const pool = await ScoringPool.start({ threadCount: 1, clientCount: 1, provider });
  await pool.load(model);
  const logits = await new Promise<Float32Array>((resolve, reject) => {
    const client = new ScoringClient(pool.shared, 0, nowMs, (slot, outcome) => {
      if (outcome === 'SCORED') resolve(client.logitsOf(slot).slice(0, rows * 2));
      else reject(new Error(outcome));
      client.stop();
    });
    client.start();
    const slot = client.begin(rows);
    client.userOf(slot).set(user);
    client.crossOf(slot).set(cross);
    for (let row = 0; row < rows; row++) client.adIdsOf(slot)[row] = row;
    client.submit(slot, 0, nowMs() + 10_000);
  });
  await pool.stop();
  return logits;
}

test('auto always finds one that works', async () => {
  expect(['cpu', 'cuda', 'webgpu']).toContain(await resolveProvider('auto'));
  expect(await resolveProvider('cpu')).toBe('cpu');
});

for (const name of ['cuda', 'webgpu'] as const) {
  const problem = await resolveProvider(name).then(
    () => undefined,
    (error: unknown) => error as ScoringError,
  );
  if (problem !== undefined) console.warn(`no ${name} here, its scores are not compared: ${problem.message}`);

  test.skipIf(problem !== undefined)(`${name} gives the scores of the CPU to 1e-4`, async () => {
    const [ours, theirs] = [await scores('cpu'), await scores(name)];
    for (const [index, value] of ours.entries()) expect(Math.abs(theirs[index]! - value)).toBeLessThanOrEqual(1e-4);
  });

  test.skipIf(problem === undefined)(
    `${name}, which is not here, stops the start with its name and a code`,
    async () => {
      expect(problem).toBeInstanceOf(ScoringError);
      expect(problem).toMatchObject({ code: 'PROVIDER_UNAVAILABLE' });
      expect(problem?.message).toContain(name);
      const start = ScoringPool.start({ threadCount: 1, clientCount: 1, provider: name });
      await expect(start).rejects.toMatchObject({ code: 'PROVIDER_UNAVAILABLE' });
    },
  );
}

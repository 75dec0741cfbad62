import { parentPort, workerData } from 'node:worker_threads';
import { servedDims } from '#inference/head-weights.ts';
import { ScoringClient } from '#inference/scoring-client.ts';
import type { ScoringShared } from '#inference/scoring-shared.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import { normals } from '../support/random-head.ts';
import { crossRows, nowMs } from './scoring-fixture.ts';

/** What one serving thread saw: outcomes, calls that should not have come, and scores that differed from the first time. */
export type ChildReport = { counts: Record<string, number>; surplusCalls: number; differences: number; left: number };
export type ChildData = { shared: ScoringShared; index: number; adCount: number; total: number; seed: number };

// A serving thread of its own: keeps ten requests under way until `total` were answered. The same few requests again and
// again, so that every score has one right value, whoever computes it in whatever company.
const { shared, index, adCount, total, seed } = workerData as ChildData;
const random = seededRandom(seed);
const templates = [1, 9, 60, 200, 333].map((rows) => ({
  user: normals(servedDims.user, 0.5, random),
  ids: Int32Array.from({ length: rows }, () => Math.floor(random() * adCount)),
  cross: crossRows(rows, random),
  logits: undefined as Float32Array | undefined,
}));
const templateOf = new Map<number, number>();
const report: ChildReport = { counts: { SCORED: 0, TOO_LATE: 0, FAILED: 0 }, surplusCalls: 0, differences: 0, left: 0 };
let sent = 0;
let answered = 0;

const client = new ScoringClient(shared, index, nowMs, (slot, outcome) => {
  const template = templates[templateOf.get(slot) ?? -1];
  templateOf.delete(slot);
  if (template === undefined) {
    report.surplusCalls++;
    return;
  }
  report.counts[outcome]!++;
  if (outcome === 'SCORED') {
    const logits = client.logitsOf(slot).slice(0, template.ids.length * servedDims.heads);
    template.logits ??= logits;
    if (logits.some((value, at) => !(Math.abs(value - template.logits![at]!) <= 1e-6))) report.differences++;
  }
  client.release(slot);
  answered++;
  if (sent < total) send();
  else if (answered === total) {
    report.left = client.underWayCount;
    client.stop();
    parentPort!.postMessage(report);
  }
});

function send(): void {
  const which = sent++ % templates.length;
  const { user, ids, cross } = templates[which]!;
  const slot = client.begin(ids.length);
  templateOf.set(slot, which);
  client.userOf(slot).set(user);
  client.adIdsOf(slot).set(ids);
  client.crossOf(slot).set(cross);
  client.submit(slot, 0, nowMs() + 10_000);
}

client.start();
for (let request = 0; request < 10; request++) send();

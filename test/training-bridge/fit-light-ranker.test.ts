import { beforeAll, expect, test } from 'vitest';
import { MarketLayout } from '#deploy/demo/layout.ts';
import { simulateLog } from '#deploy/demo/simulate.ts';
import { World } from '#deploy/demo/world.ts';
import { adColumnsOf } from '#inference/ad-columns.ts';
import { crossWidth } from '#inference/cross-features.ts';
import { LightRanker } from '#inference/light-ranker.ts';
import { LightRankerTrainer } from '#training-bridge/fit-light-ranker.ts';
import type { ImpressionSet } from '#training-bridge/impression-set.ts';
import { entityRows } from '#training-bridge/training-rows.ts';

const rows = 6000;
let set: ImpressionSet;
let trainer: LightRankerTrainer;
let learnt: Float32Array;
let surprises = 0;
beforeAll(() => {
  set = simulateLog(new World(new MarketLayout({ ads: 300, users: 500, rows, seed: 4 }))).impressions;
  trainer = new LightRankerTrainer(set, { from: 0, to: rows });
  learnt = new Float32Array(rows * crossWidth);
  const before = new Float32Array(crossWidth);
  const after = new Float32Array(crossWidth);
  for (let row = 0; row < rows; row++) {
    trainer.crossInto(before, 0, row);
    trainer.learn(learnt, row * crossWidth, row);
    trainer.crossInto(after, 0, row);
    // Compared here: afterwards the weights of that moment are gone.
    const own = learnt.subarray(row * crossWidth, (row + 1) * crossWidth);
    if (own.some((value, place) => value !== before[place])) surprises++;
    const wanted = set.click[row] === 1 ? 1 : -1;
    if ((after[0]! - before[0]!) * wanted <= 0) surprises++;
  }
});

test('features are made before a row is learnt from, and learning moves towards what happened', () => {
  expect(surprises).toBe(0);
});

test('the exported weights score like the live ones, for thousands of ads as for one', () => {
  const weights = trainer.weights();
  const ads = adColumnsOf(set.schema, weights, set.ads.values, set.ads.ids.length);
  const ranker = new LightRanker(set.schema, weights, ads);
  const people = entityRows(set.schema.user, set.users, 1);
  const userWidth = people.length / set.users.ids.length;
  const contextWidth = set.contextIds.length / rows;
  const cross = new Float32Array(crossWidth);
  const logits = new Float32Array(1);
  let spread = 0;
  for (let row = 0; row < rows; row += 37) {
    trainer.crossInto(cross, 0, row);
    ranker.prepare(
      set.contextIds.subarray(row * contextWidth, (row + 1) * contextWidth),
      people.subarray(set.userIndex[row]! * userWidth, (set.userIndex[row]! + 1) * userWidth),
    );
    ranker.score(Uint32Array.of(set.adIndex[row]!), 1, logits);
    expect(logits[0]).toBe(cross[0]);
    expect(Math.fround(ranker.conversionLogit(set.adIndex[row]!))).toBe(cross[11]);
    spread = Math.max(spread, Math.abs(logits[0]! - weights.click.bias));
  }
  expect(spread).toBeGreaterThan(0.3);
});

import { MarketLayout } from '#deploy/demo/layout.ts';
import { demoDefaults } from '#deploy/demo/parameters.ts';
import { simulateLog } from '#deploy/demo/simulate.ts';
import { World } from '#deploy/demo/world.ts';
import { deepDefaults } from '#training-bridge/deep-parameters.ts';
import type { ImpressionSet } from '#training-bridge/impression-set.ts';
import { type TrainingOptions, trainModel } from '#training-bridge/trainer.ts';
import type { Bench, BenchProgress } from '../support/bench.ts';
import { hashedImpressions } from '../support/hashed-impressions.ts';
import { quantisedQuality } from '../support/quantised-scores.ts';
import { readCriteoSample, researchFolder } from '../support/research-data.ts';
import { rounded } from '../support/server-bench.ts';

const sizes = {
  smoke: { ads: 1000, users: 5000, rows: 20_000, seed: 1 },
  full: demoDefaults,
} as const;

async function figuresOf(
  set: ImpressionSet,
  checkShare: number,
  options: Partial<TrainingOptions>,
  onProgress: BenchProgress,
): Promise<Record<string, number>> {
  const model = await trainModel(set, { seed: 1, checkShare, onProgress, ...options });
  const { exact, quantised, movedMean, movedMax, memoryRatio } = await quantisedQuality(
    model,
    set,
    Math.floor(set.rowCount * (1 - checkShare)),
  );
  return {
    auc: rounded(exact.auc, 5),
    // What the trainer itself found on the same rows: the way here is another, the numbers must be these.
    aucOfTrainer: rounded(model.metrics['click_auc'] ?? Number.NaN, 5),
    aucChange: rounded(quantised.auc - exact.auc, 2),
    logLossChange: rounded(quantised.logLoss - exact.logLoss, 2),
    calibrationRatio: rounded(exact.ratio, 5),
    calibrationRatioChange: rounded(quantised.ratio - exact.ratio, 2),
    probabilityMovedMean: rounded(movedMean),
    probabilityMovedMax: rounded(movedMax),
    memoryRatio: rounded(memoryRatio),
    heldOutRows: exact.rows,
    heldOutClicks: exact.hits,
  };
}

export const bench: Bench = {
  name: 'quantise',
  about:
    'AUC and calibration with vectors of users and ads in one byte a number ÷ in float32, demo world and criteo-sample',
  async run(mode, progress) {
    const { impressions } = simulateLog(new World(new MarketLayout(sizes[mode])));
    const demo = await figuresOf(impressions, 0.1, {}, progress);
    const found = researchFolder();
    const criteo =
      'folder' in found
        ? await figuresOf(
            hashedImpressions(readCriteoSample(found.folder)),
            0.2,
            { hyper: { ...deepDefaults, batchRows: 32 } },
            progress,
          )
        : undefined;
    const changes = [demo, criteo].flatMap((each) => (each === undefined ? [] : [Math.abs(each['aucChange']!)]));
    return {
      bench: 'quantise',
      value: Math.max(...changes),
      unit: 'change of the AUC, the worse set',
      better: 'lower',
      figures: {
        demo,
        ...(criteo === undefined ? { criteoSkipped: 'skipped' in found ? found.skipped : '' } : { criteo }),
      },
    };
  },
};

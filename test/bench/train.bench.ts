import { MarketLayout } from '#deploy/demo/layout.ts';
import { demoDefaults } from '#deploy/demo/parameters.ts';
import { simulateLog } from '#deploy/demo/simulate.ts';
import { World } from '#deploy/demo/world.ts';
import { trainModel } from '#training-bridge/trainer.ts';
import { qualityOf } from '#training-bridge/training-metrics.ts';
import { type Bench, cpuSeconds } from '../support/bench.ts';
import { rounded } from '../support/server-bench.ts';

const checkShare = 0.1;
const sizes = {
  smoke: { ads: 1000, users: 5000, rows: 20_000, seed: 1 },
  full: demoDefaults,
} as const;

export const bench: Bench = {
  name: 'train',
  about:
    'rows/s of the whole training, one pass on one core; both rankers against the best possible, on rows never seen',
  async run(mode, progress) {
    const { impressions: set, clickProbability } = simulateLog(new World(new MarketLayout(sizes[mode])));
    const startedMs = performance.now();
    const cpuBefore = cpuSeconds();
    const { metrics } = await trainModel(set, { seed: 1, checkShare, onProgress: progress });
    const seconds = (performance.now() - startedMs) / 1000;
    const cpu = cpuSeconds() - cpuBefore;
    const checkFrom = Math.floor(set.rowCount * (1 - checkShare));
    const truth = clickProbability.subarray(checkFrom);
    const best = qualityOf(truth, set.click.subarray(checkFrom));
    const expectedClicks = truth.reduce((sum, p) => sum + p, 0);
    const figures = (name: string): Record<string, number> => {
      const figure = (what: string): number => metrics[`${name}_${what}`] ?? Number.NaN;
      return {
        auc: rounded(figure('auc'), 4),
        aucBelowBest: rounded(best.auc - figure('auc')),
        logLoss: rounded(figure('log_loss'), 4),
        logLossAboveBest: rounded(figure('log_loss') - best.logLoss),
        informationGain: rounded(figure('rig')),
        calibrationRatio: rounded(figure('ratio'), 4),
        calibrationRatioLow: rounded(figure('ratio_low'), 4),
        calibrationRatioHigh: rounded(figure('ratio_high'), 4),
        // Σ probability ÷ Σ true probability: clicks are drawn by chance, the truth behind them is not.
        ratioToTruth: rounded((figure('ratio') * figure('hits')) / expectedClicks, 4),
      };
    };
    return {
      bench: 'train',
      value: Math.round(set.rowCount / seconds),
      unit: 'rows/s',
      better: 'higher',
      figures: {
        deep: figures('click'),
        light: figures('light_click'),
        conversionAuc: rounded(metrics['conversion_auc'] ?? Number.NaN),
        lightConversionAuc: rounded(metrics['light_conversion_auc'] ?? Number.NaN),
        conversionRatio: rounded(metrics['conversion_ratio'] ?? Number.NaN),
        conversionRatioLow: rounded(metrics['conversion_ratio_low'] ?? Number.NaN),
        conversionRatioHigh: rounded(metrics['conversion_ratio_high'] ?? Number.NaN),
        bestAuc: rounded(best.auc, 4),
        bestLogLoss: rounded(best.logLoss, 4),
        heldOutRows: best.rows,
        heldOutClicks: best.hits,
        seconds: rounded(seconds),
        cpuMicrosPerRow: rounded((cpu / set.rowCount) * 1e6),
        rows: set.rowCount,
      },
    };
  },
};

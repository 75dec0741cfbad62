import { CompiledCalibrator } from '#inference/calibration.ts';
import { deepDefaults } from '#training-bridge/deep-parameters.ts';
import { fitCalibrator } from '#training-bridge/fit-calibration.ts';
import { Ftrl, sigmoid } from '#training-bridge/ftrl.ts';
import { trainModel } from '#training-bridge/trainer.ts';
import { qualityOf } from '#training-bridge/training-metrics.ts';
import type { Bench } from '../support/bench.ts';
import { hashedImpressions } from '../support/hashed-impressions.ts';
import {
  hashedWord,
  readCriteoSample,
  readIpinyou2997,
  researchFolder,
  type ResearchRows,
} from '../support/research-data.ts';
import { rounded } from '../support/server-bench.ts';

const trainShare = 0.8;
const calibrateShare = 0.1;
const slotCount = 1 << 18;
/** About half the demo log's rate, for logs of a hundredth of its size; 0.05 to 0.1 move neither AUC by a standard error. */
const ftrlOptions = { alpha: 0.05, beta: 1, l1: 0, l2: 0 };

/** What logistic regression of others reached on the same split, and in how many passes: see the README beside the rows. */
type Case = {
  readonly read: (folder: string) => ResearchRows;
  readonly auc: number;
  readonly logLoss: number;
  readonly passes: number;
};
const cases: readonly Case[] = [
  { read: readCriteoSample, auc: 0.732, logLoss: 0.4533, passes: 3 },
  { read: readIpinyou2997, auc: 0.646, logLoss: 0.05587, passes: 5 },
];

/** The light ranker's learner on hashed fields: rows before `end` in the order of the file. */
function fitHashed(rows: ResearchRows, slots: readonly Uint32Array[], end: number, passes: number): Ftrl {
  const ftrl = new Ftrl(slotCount + 1, ftrlOptions);
  for (let pass = 0; pass < passes; pass++) {
    for (let row = 0; row < end; row++) {
      const own = slots[row]!;
      ftrl.update(own, own.length, sigmoid(ftrl.logit(own, own.length)) - rows.outcomes[row]!);
    }
  }
  return ftrl;
}

/** Standard error of an AUC (Hanley and McNeil, 1982). */
function aucError(auc: number, hits: number, misses: number): number {
  const both = auc / (2 - auc) - auc * auc;
  const other = (2 * auc * auc) / (1 + auc) - auc * auc;
  return Math.sqrt((auc * (1 - auc) + (hits - 1) * both + (misses - 1) * other) / (hits * misses));
}

async function figuresOf({ read, auc, logLoss, passes }: Case, folder: string): Promise<Record<string, number>> {
  const rows = read(folder);
  const count = rows.outcomes.length;
  const end = Math.floor(count * trainShare);
  const slots = rows.values.map((words) =>
    Uint32Array.from([slotCount, ...words.map((word, field) => hashedWord(field, word) % slotCount)]),
  );
  const outcomes = rows.outcomes.subarray(end);
  const logitsOf = (ftrl: Ftrl, from: number, to: number): Float32Array =>
    Float32Array.from(slots.slice(from, to), (own) => ftrl.logit(own, own.length));
  const light = qualityOf(logitsOf(fitHashed(rows, slots, end, passes), end, count).map(sigmoid), outcomes);
  // The calibrator needs rows of its own: a model of the first 70 %, calibrated on the next 10 %.
  const calibrateFrom = Math.floor(count * (trainShare - calibrateShare));
  const shorter = fitHashed(rows, slots, calibrateFrom, passes);
  const calibrator = new CompiledCalibrator(
    fitCalibrator({
      logits: logitsOf(shorter, calibrateFrom, end),
      outcomes: rows.outcomes.subarray(calibrateFrom, end),
      weights: new Float32Array(end - calibrateFrom).fill(1),
    }),
  );
  const calibrated = qualityOf(
    Float64Array.from(logitsOf(shorter, end, count), (logit) => calibrator.q30(logit) / 2 ** 30),
    outcomes,
  );
  // A hundred times fewer rows than the demo log: smaller batches, so that one pass still has a few hundred steps.
  const { metrics } = await trainModel(hashedImpressions(rows), {
    seed: 1,
    calibrateShare,
    checkShare: 1 - trainShare,
    hyper: { ...deepDefaults, batchRows: 32 },
  });
  const error = aucError(auc, light.hits, light.rows - light.hits);
  return {
    rows: count,
    heldOutRows: light.rows,
    heldOutHits: light.hits,
    lightAuc: rounded(light.auc, 4),
    baselineAuc: auc,
    aucStandardError: rounded(error),
    lightErrorsAboveBaseline: rounded((light.auc - auc) / error),
    lightLogLoss: rounded(light.logLoss, 4),
    baselineLogLoss: logLoss,
    lightCalibrationRatio: rounded(calibrated.ratio),
    lightCalibrationRatioLow: rounded(calibrated.ratioLow),
    lightCalibrationRatioHigh: rounded(calibrated.ratioHigh),
    deepAuc: rounded(metrics['click_auc']!, 4),
    deepLogLoss: rounded(metrics['click_log_loss']!, 4),
    deepCalibrationRatio: rounded(metrics['click_ratio']!),
    deepCalibrationRatioLow: rounded(metrics['click_ratio_low']!),
    deepCalibrationRatioHigh: rounded(metrics['click_ratio_high']!),
  };
}

export const bench: Bench = {
  name: 'real-ctr',
  about:
    'real click logs (GAVELIN_RESEARCH_DATA): the light ranker against published logistic regression, the deep model beside it',
  async run(mode, progress) {
    const found = researchFolder();
    const report = {
      bench: 'real-ctr',
      unit: 'standard errors above the baseline AUC, the worse set',
      better: 'higher',
    } as const;
    if ('skipped' in found) return { ...report, value: 0, figures: { skipped: found.skipped } };
    const figures: Record<string, Record<string, number>> = {};
    const wanted = mode === 'full' ? cases : cases.slice(0, 1);
    for (const [index, each] of wanted.entries()) {
      progress(index, wanted.length, 'real logs');
      const name = index === 0 ? 'criteo' : 'ipinyou2997';
      figures[name] = await figuresOf(each, found.folder);
    }
    progress(wanted.length, wanted.length, 'real logs');
    const value = Math.min(...Object.values(figures).map((each) => each['lightErrorsAboveBaseline']!));
    return { ...report, value, figures };
  },
};

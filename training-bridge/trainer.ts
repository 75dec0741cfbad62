import {
  calibratedRungs,
  type CalibrationSet,
  type Calibrator,
  CompiledCalibrator,
  type HeadCalibrators,
} from '#inference/calibration.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import type { TrainedModel } from '#inference/trained-model.ts';
import { checkImpressionSet } from './check-impression-set.ts';
import { type DeepHyperParameters, deepDefaults } from './deep-parameters.ts';
import { DeepTrainer } from './deep-trainer.ts';
import { exportedParts, goldenRows } from './export-model.ts';
import { fitCalibrator } from './fit-calibration.ts';
import { crossPlace, LightRankerTrainer } from './fit-light-ranker.ts';
import type { ImpressionSet } from './impression-set.ts';
import { TrainerError } from './trainer-errors.ts';
import { type Quality, qualityOf } from './training-metrics.ts';
import { type RowRange, shuffledRows, splitRows } from './training-rows.ts';

export type TrainingOptions = {
  /** The same seed, rows and machine give the same model to the last bit. */
  readonly seed: number;
  /** `done` of `total` rows of the step `what`: "training", then "calibrating". */
  readonly onProgress?: (done: number, total: number, what: string) => void;
  /** Share of the rows, the last ones, that the figures are from. */
  readonly checkShare?: number;
  /** Share of the rows before those, on which the calibrators are fitted. */
  readonly calibrateShare?: number;
  /** Stops between two batches with `TRAINING_STOPPED`. */
  readonly signal?: AbortSignal;
  /** Id of the bundle that this model is to replace: written into the manifest. */
  readonly parent?: string;
  readonly hyper?: DeepHyperParameters;
};

/**
 * A model from logged impressions, in exactly one pass: each row first lends its cross features (the light ranker's honest guess),
 * then teaches the light ranker and, batch by batch, the towers and the head. The rows after the training window calibrate both
 * rankers, and the last ones are the exam. Single-threaded; yields to the event loop between batches.
 */
export async function trainModel(set: ImpressionSet, options: TrainingOptions): Promise<TrainedModel> {
  checkImpressionSet(set);
  const split = splitRows(set, options.calibrateShare ?? 0.1, options.checkShare ?? 0.1);
  const hyper = options.hyper ?? deepDefaults;
  const random = seededRandom(options.seed);
  const light = new LightRankerTrainer(set, split.train);
  const deep = await DeepTrainer.create(set, hyper, random);
  try {
    await learn(set, split.train, light, deep, hyper, random, options);
    deep.finish();
    const calibrateLogits = await score(split.calibrate, light, deep, hyper.batchRows, options, 0);
    const calibration = calibrators(set, split.calibrate, calibrateLogits);
    const checkLogits = await score(split.check, light, deep, hyper.batchRows, options, 1);
    const parts = exportedParts(deep);
    return {
      schema: set.schema,
      ...parts,
      ranker: light.weights(),
      calibration,
      golden: await goldenRows(set, split.check, parts, deep, light),
      window: { fromMs: set.timeMs[0]!, toMs: set.timeMs[split.train.to - 1]!, rows: split.train.to },
      metrics: metricsOf(set, split.check, checkLogits, calibration),
      ...(options.parent === undefined ? {} : { parent: options.parent }),
    };
  } finally {
    await deep.release();
  }
}

async function learn(
  set: ImpressionSet,
  train: RowRange,
  light: LightRankerTrainer,
  deep: DeepTrainer,
  { batchRows, decayFrom }: DeepHyperParameters,
  random: () => number,
  { onProgress, signal }: TrainingOptions,
): Promise<void> {
  const order = shuffledRows(train, random);
  const cross = new Float32Array(batchRows * crossPlace.width);
  for (let start = 0; start < order.length; start += batchRows) {
    if (signal?.aborted === true) throw new TrainerError('TRAINING_STOPPED');
    const count = Math.min(batchRows, order.length - start);
    for (let index = 0; index < count; index++) light.learn(cross, index * crossPlace.width, order[start + index]!);
    const done = start / order.length;
    await deep.step(order, start, count, cross, done < decayFrom ? 1 : (1 - done) / (1 - decayFrom));
    onProgress?.(start + count, order.length, 'training');
  }
}

/** Logits of a range under both rankers. */
type Scored = {
  readonly deep: readonly [Float32Array, Float32Array];
  readonly light: readonly [Float32Array, Float32Array];
};

async function score(
  range: RowRange,
  light: LightRankerTrainer,
  deep: DeepTrainer,
  batchRows: number,
  { onProgress, signal }: TrainingOptions,
  part: 0 | 1,
): Promise<Scored> {
  const rows = Uint32Array.from({ length: range.to - range.from }, (_, index) => range.from + index);
  const cross = new Float32Array(batchRows * crossPlace.width);
  const logits = new Float32Array(2 * batchRows);
  const column = (): Float32Array => new Float32Array(rows.length);
  const scored: Scored = { deep: [column(), column()], light: [column(), column()] };
  for (let start = 0; start < rows.length; start += batchRows) {
    if (signal?.aborted === true) throw new TrainerError('TRAINING_STOPPED');
    const count = Math.min(batchRows, rows.length - start);
    for (let index = 0; index < count; index++) {
      const at = index * crossPlace.width;
      light.crossInto(cross, at, rows[start + index]!);
      scored.light[0][start + index] = cross[at + crossPlace.clickLogit]!;
      scored.light[1][start + index] = cross[at + crossPlace.conversionLogit]!;
    }
    await deep.score(rows, start, count, cross, logits);
    for (let index = 0; index < count; index++) {
      scored.deep[0][start + index] = logits[2 * index]!;
      scored.deep[1][start + index] = logits[2 * index + 1]!;
    }
    onProgress?.(part * rows.length + start + count, 2 * rows.length, 'calibrating');
  }
  return scored;
}

/** Rows of a head: every row for a click, the clicked ones for a conversion. */
function headRows(set: ImpressionSet, { from, to }: RowRange, head: 0 | 1): Uint32Array {
  const rows = Uint32Array.from({ length: to - from }, (_, index) => from + index);
  return head === 0 ? rows : rows.filter((row) => set.click[row] === 1);
}

function columnsOf(set: ImpressionSet, range: RowRange, head: 0 | 1, logits: Float32Array) {
  const rows = headRows(set, range, head);
  const outcome = head === 0 ? set.click : set.conversion;
  return {
    logits: Float32Array.from(rows, (row) => logits[row - range.from]!),
    outcomes: Uint8Array.from(rows, (row) => outcome[row]!),
    weights: Float32Array.from(rows, (row) => set.weight[row]!),
  };
}

function calibrators(set: ImpressionSet, range: RowRange, scored: Scored): CalibrationSet {
  const fitted = (head: 0 | 1): HeadCalibrators => {
    const deep = fitCalibrator(columnsOf(set, range, head, scored.deep[head]));
    const light = fitCalibrator(columnsOf(set, range, head, scored.light[head]));
    // "reduced" scores fewer candidates with the same head: the same logit means the same there.
    const byRung: Readonly<Record<(typeof calibratedRungs)[number], Calibrator>> = {
      full: deep,
      reduced: deep,
      'light-ranker': light,
    };
    return byRung;
  };
  return { id: '', heads: { click: fitted(0), conversion: fitted(1) } };
}

function metricsOf(
  set: ImpressionSet,
  range: RowRange,
  scored: Scored,
  { heads }: CalibrationSet,
): Record<string, number> {
  const metrics: Record<string, number> = {};
  const note = (name: string, calibrator: Calibrator, head: 0 | 1, logits: Float32Array): void => {
    const compiled = new CompiledCalibrator(calibrator);
    const { logits: each, outcomes, weights } = columnsOf(set, range, head, logits);
    const probabilities = Float64Array.from(each, (logit) => compiled.q30(logit) / 2 ** 30);
    const quality = qualityOf(probabilities, outcomes, weights);
    for (const [what, value] of Object.entries(quality) as [keyof Quality, number][])
      if (Number.isFinite(value)) metrics[`${name}_${metricWords[what]}`] = value;
    // Calibration may tie logits that were apart: the order is the model's own.
    const ranking = qualityOf(Float64Array.from(each, logistic), outcomes, weights).auc;
    if (Number.isFinite(ranking)) metrics[`${name}_auc`] = ranking;
  };
  note('click', heads.click.full, 0, scored.deep[0]);
  note('conversion', heads.conversion.full, 1, scored.deep[1]);
  note('light_click', heads.click['light-ranker'], 0, scored.light[0]);
  note('light_conversion', heads.conversion['light-ranker'], 1, scored.light[1]);
  return metrics;
}

const metricWords: Readonly<Record<keyof Quality, string>> = {
  rows: 'rows',
  hits: 'hits',
  auc: 'auc',
  logLoss: 'log_loss',
  rig: 'rig',
  ratio: 'ratio',
  ratioLow: 'ratio_low',
  ratioHigh: 'ratio_high',
};

function logistic(logit: number): number {
  return 1 / (1 + Math.exp(-logit));
}

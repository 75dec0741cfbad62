import type { VectorScale } from '#embeddings/quantisation.ts';
import {
  type CalibrationSet,
  type Calibrator,
  CompiledCalibrator,
  type HeadCalibrators,
} from '#inference/calibration.ts';
import type { LightRankerWeights } from '#inference/light-ranker.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import type { TrainedModel } from '#inference/trained-model.ts';
import { checkImpressionSet } from './check-impression-set.ts';
import { type DeepHyperParameters, deepDefaults } from './deep-parameters.ts';
import { DeepTrainer } from './deep-trainer.ts';
import { exportedParts, goldenRows } from './export-model.ts';
import { type ExportedParts, ExportedScorer } from './exported-scorer.ts';
import { fitCalibrator } from './fit-calibration.ts';
import { fitLadder, type LadderCalibrators, userScale } from './fit-ladder.ts';
import { crossPlace, LightRankerTrainer } from './fit-light-ranker.ts';
import { fitVectorProfile } from './fit-vector-profile.ts';
import type { ImpressionSet } from './impression-set.ts';
import { TrainerError } from './trainer-errors.ts';
import { type HeadNumber, ScoredRows } from './scored-rows.ts';
import { areaUnderCurve, type Quality, qualityOf } from './training-metrics.ts';
import { type RowRange, shuffledRows, splitRows, type TrainingSplit } from './training-rows.ts';

export type TrainingOptions = {
  /** The same seed, rows and machine give the same model to the last bit. */
  readonly seed: number;
  /** `done` of `total` rows of the step `what`: "training", then "scoring". */
  readonly onProgress?: (done: number, total: number, what: string) => void;
  /** Share of the rows, the last ones, that the figures are from. */
  readonly checkShare?: number;
  /** Share of the rows before those, which only calibrate. */
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
    const scored = new ScoredRows(set, split.calibrate.to - split.calibrate.from);
    await learn(split.train, light, deep, hyper, random, options);
    light.finish();
    deep.finish();
    await score(split.calibrate, light, deep, hyper.batchRows, options, scored);
    const parts = exportedParts(deep);
    const ranker = light.weights();
    const ladder = await ladderParts(set, split, parts, ranker, random);
    const calibration = withLadder(calibrators(scored), ladder.calibrators);
    const exam = new ScoredRows(set, split.check.to - split.check.from);
    await score(split.check, light, deep, hyper.batchRows, options, exam);
    return {
      schema: set.schema,
      ...parts,
      ranker: ladder.ranker,
      calibration,
      userScale: ladder.scale,
      golden: await goldenRows(set, split.check, parts, deep, light),
      window: { fromMs: set.timeMs[0]!, toMs: set.timeMs[split.train.to - 1]!, rows: split.train.to },
      metrics: metricsOf(exam, calibration),
      ...(options.parent === undefined ? {} : { parent: options.parent }),
    };
  } finally {
    await deep.release();
  }
}

async function learn(
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

/** Scores a range with the finished model. */
async function score(
  range: RowRange,
  light: LightRankerTrainer,
  deep: DeepTrainer,
  batchRows: number,
  { onProgress, signal }: TrainingOptions,
  scored: ScoredRows,
): Promise<void> {
  const rows = Uint32Array.from({ length: range.to - range.from }, (_, index) => range.from + index);
  const cross = new Float32Array(batchRows * crossPlace.width);
  const logits = new Float32Array(2 * batchRows);
  for (let start = 0; start < rows.length; start += batchRows) {
    if (signal?.aborted === true) throw new TrainerError('TRAINING_STOPPED');
    const count = Math.min(batchRows, rows.length - start);
    for (let index = 0; index < count; index++) light.crossInto(cross, index * crossPlace.width, rows[start + index]!);
    await deep.score(rows, start, count, cross, logits);
    scored.add(rows, start, count, cross, logits);
    onProgress?.(start + count, rows.length, 'scoring');
  }
}

/**
 * What the failure ladder needs of a finished model: how its user vectors lie, what they say of profiles, and calibrators of the rungs
 * that came later.
 */
async function ladderParts(
  set: ImpressionSet,
  split: TrainingSplit,
  parts: ExportedParts,
  ranker: LightRankerWeights,
  random: () => number,
): Promise<{
  readonly scale: VectorScale;
  readonly ranker: LightRankerWeights;
  readonly calibrators: LadderCalibrators;
}> {
  const scorer = await ExportedScorer.open(set, parts, ranker);
  try {
    const scale = userScale(set, split.train, scorer, parts.head.dims.user);
    const vectorProfile = fitVectorProfile(set, split.train, scorer, ranker);
    const whole = vectorProfile === undefined ? ranker : { ...ranker, vectorProfile };
    const calibrators = await fitLadder(set, split, scorer.withRanker(whole), scale.mean, random);
    return { scale, ranker: whole, calibrators };
  } finally {
    await scorer.close();
  }
}

function withLadder({ id, heads }: CalibrationSet, ladder: LadderCalibrators): CalibrationSet {
  return {
    id,
    heads: {
      click: { ...heads.click, ...ladder.click },
      conversion: { ...heads.conversion, ...ladder.conversion },
    },
  };
}

function calibrators(scored: ScoredRows): CalibrationSet {
  const fitted = (head: HeadNumber): HeadCalibrators => {
    const deep = fitCalibrator(scored.columns('deep', head));
    const light = fitCalibrator(scored.columns('light', head));
    // "reduced" scores fewer candidates with the same head: the same logit means the same there.
    return { full: deep, reduced: deep, 'light-ranker': light };
  };
  return { id: '', heads: { click: fitted(0), conversion: fitted(1) } };
}

function metricsOf(exam: ScoredRows, { heads }: CalibrationSet): Record<string, number> {
  const metrics: Record<string, number> = {};
  const note = (name: string, calibrator: Calibrator, ranker: 'deep' | 'light', head: HeadNumber): void => {
    const compiled = new CompiledCalibrator(calibrator);
    const { logits, outcomes, weights } = exam.columns(ranker, head);
    const probabilities = Float64Array.from(logits, (logit) => compiled.q30(logit) / 2 ** 30);
    const quality = qualityOf(probabilities, outcomes, weights);
    for (const [what, value] of Object.entries(quality) as [keyof Quality, number][])
      if (Number.isFinite(value)) metrics[`${name}_${metricWords[what]}`] = value;
    // Calibration may tie logits that were apart: the order is the model's own.
    const ranking = areaUnderCurve(logits, outcomes);
    if (Number.isFinite(ranking)) metrics[`${name}_auc`] = ranking;
  };
  note('click', heads.click.full, 'deep', 0);
  note('conversion', heads.conversion.full, 'deep', 1);
  note('light_click', heads.click['light-ranker'], 'light', 0);
  note('light_conversion', heads.conversion['light-ranker'], 'light', 1);
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

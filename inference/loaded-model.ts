import { createHash } from 'node:crypto';
import type { VectorScale } from '#embeddings/quantisation.ts';
import {
  type CalibratedRung,
  calibratedRungs,
  type CalibrationSet,
  calibratorFor,
  CompiledCalibrator,
  type HeadCalibrators,
  type LaterCalibratedRung,
  laterCalibratedRungs,
} from './calibration.ts';
import { CrossFeatures, crossWidth } from './cross-features.ts';
import type { FeatureSchema } from './feature-schema.ts';
import { LightRanker } from './light-ranker.ts';
import type { ModelShared } from './model-tables.ts';
import { UserSegments } from './user-segments.ts';
import { ViewLookup } from './view-lookup.ts';

/** What cross features need beside the ranker's parts: see server/pipeline-ports.ts, whose type fits. */
export type RequestFacts = {
  readonly contextIds: Uint32Array;
  readonly viewCount: number;
  readonly viewLineItems: Uint32Array;
  readonly views: Uint32Array;
};

type ContextPlace = { readonly rows: Float32Array; readonly skipsZero: boolean };

/** The model in service as one serving thread asks it; nothing here allocates per request. */
export class LoadedModel {
  readonly slot: number;
  readonly modelId: string;
  /** Stored user vectors of another tower version mean nothing to this model. */
  readonly towerVersion: string;
  readonly schema: FeatureSchema;
  readonly ranker: LightRanker;
  /** How int8 user vectors of this tower version are read, and the mean vector; undefined: its bundle does not say. */
  readonly userScale: VectorScale | undefined;
  readonly userSegments: UserSegments;
  /** 32 bits of the model's id. */
  readonly predictionKey: number;
  readonly #adLineItem: Uint32Array;
  readonly #cross: CrossFeatures;
  readonly #context: readonly ContextPlace[];
  readonly #userDimension: number;
  readonly #views = new ViewLookup();
  #calibratorId: string;
  #click: RungCalibrators;
  #conversion: RungCalibrators;

  /** `adLineItem`: line item number of every ad row, as the catalog keeps it. */
  constructor(shared: ModelShared, adLineItem: Uint32Array) {
    this.slot = shared.slot;
    this.modelId = shared.modelId;
    this.towerVersion = shared.towerVersion;
    this.schema = shared.schema;
    this.ranker = new LightRanker(shared.schema, shared.ranker, shared.columns);
    this.userScale = shared.userScale;
    this.userSegments = new UserSegments(shared.schema);
    this.predictionKey = createHash('sha256').update(shared.modelId).digest().readInt32LE(0);
    this.#adLineItem = adLineItem;
    this.#cross = new CrossFeatures(shared.schema, this.ranker);
    this.#userDimension = shared.userDimension;
    this.#context = shared.schema.context.flatMap(({ width }, field) =>
      Array.from({ length: width }, () => ({ rows: shared.context[field]!, skipsZero: width > 1 })),
    );
    this.#calibratorId = shared.calibration.id;
    this.#click = new RungCalibrators(shared.calibration.heads.click);
    this.#conversion = new RungCalibrators(shared.calibration.heads.conversion);
  }

  get calibratorId(): string {
    return this.#calibratorId;
  }

  /** Other calibrators for the same model, from the next call on. */
  useCalibration({ id, heads }: CalibrationSet): void {
    this.#calibratorId = id;
    this.#click = new RungCalibrators(heads.click);
    this.#conversion = new RungCalibrators(heads.conversion);
  }

  /** u = stored user vector + Σ rows of the context ids. */
  requestVectorInto(target: Float32Array, userVector: Float32Array, contextIds: Uint32Array): void {
    const dimension = this.#userDimension;
    for (let d = 0; d < dimension; d++) target[d] = userVector[d]!;
    const context = this.#context;
    for (let place = 0; place < context.length; place++) {
      const { rows, skipsZero } = context[place]!;
      const id = contextIds[place]!;
      if (id === 0 && skipsZero) continue;
      const base = (id + 1) * dimension <= rows.length ? id * dimension : 0;
      for (let d = 0; d < dimension; d++) target[d] = target[d]! + rows[base + d]!;
    }
  }

  /** The 16 numbers of each of `count` ad rows from `from` on, after `ranker.prepare` for the same request. */
  crossInto(target: Float32Array, rows: Uint32Array, from: number, count: number, facts: RequestFacts): void {
    const cross = this.#cross;
    const views = this.#views;
    const adLineItem = this.#adLineItem;
    cross.prepare(facts.contextIds, 0);
    cross.rowsInto(target, 0, rows, from, count);
    if (facts.viewCount === 0) return;
    views.fill(facts.viewCount, facts.viewLineItems, facts.views);
    for (let index = 0; index < count; index++) {
      const seen = views.viewsOf(adLineItem[rows[from + index]!]!);
      if (seen > 0) cross.viewsInto(target, index * crossWidth, seen);
    }
  }

  /**
   * Calibrated probabilities of a rung as Q30, at least 1; NaN gives 0, which no auction sells. A rung that this model's bundle has no
   * calibrator for takes its neighbour's: see `laterCalibratedRungs`.
   */
  clickQ30(rung: CalibratedRung, logit: number): number {
    return this.#click.of(rung).q30(logit);
  }

  /** `clickQ30` of the logits from `first` on, to the same places of `target`. */
  clicksQ30Into(rung: CalibratedRung, logits: Float32Array, first: number, count: number, target: Uint32Array): void {
    this.#click.of(rung).q30Into(logits, first, count, target);
  }

  conversionQ30(rung: CalibratedRung, logit: number): number {
    return this.#conversion.of(rung).q30(logit);
  }

  /** Conversion logit of the light ranker, after `ranker.prepare`: for the rungs without a head. */
  lightConversionLogit(row: number): number {
    return this.ranker.conversionLogit(row);
  }
}

const laterRungs = Object.keys(laterCalibratedRungs) as LaterCalibratedRung[];

/** Calibrators by rung; the last one asked for stays at hand, since a request asks dozens of times for the same. */
class RungCalibrators {
  readonly #byRung: ReadonlyMap<CalibratedRung, CompiledCalibrator>;
  #lastRung: CalibratedRung = 'full';
  #last: CompiledCalibrator;

  constructor(calibrators: HeadCalibrators) {
    this.#byRung = new Map(
      [...calibratedRungs, ...laterRungs].map((rung) => [
        rung,
        new CompiledCalibrator(calibratorFor(calibrators, rung)),
      ]),
    );
    this.#last = this.#byRung.get(this.#lastRung)!;
  }

  of(rung: CalibratedRung): CompiledCalibrator {
    if (rung !== this.#lastRung) {
      this.#lastRung = rung;
      this.#last = this.#byRung.get(rung)!;
    }
    return this.#last;
  }
}

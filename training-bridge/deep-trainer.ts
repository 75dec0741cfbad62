import * as ort from 'onnxruntime-node';
import type { CategoricalField } from '#inference/feature-schema.ts';
import { placeCount } from '#inference/field-places.ts';
import { servedDims } from '#inference/head-weights.ts';
import { type DeepHyperParameters, initialParameters } from './deep-parameters.ts';
import { type DeepShape, parameterShapes, servedShape, trainingGraph } from './deep-graph.ts';
import { DenseParameter } from './dense-optimizer.ts';
import { TrainedEmbedding } from './embedding-optimizer.ts';
import type { ImpressionSet } from './impression-set.ts';
import { TrainerError } from './trainer-errors.ts';
import { entityRows } from './training-rows.ts';

const heads = servedDims.heads;
const sessionOptions = { intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 3 } as const;

/** The ids of one side, row by row, with the table of each field. */
export type Side = {
  readonly fields: readonly CategoricalField[];
  readonly embeddings: readonly TrainedEmbedding[];
  readonly rows: Uint32Array;
  readonly width: number;
  readonly inputWidth: number;
};

/** Embeddings, towers and head, trained batch by batch: embeddings here in JavaScript, everything dense in one graph. */
export class DeepTrainer {
  readonly user: Side;
  readonly ad: Side;
  readonly context: readonly TrainedEmbedding[];
  readonly parameters: ReadonlyMap<string, DenseParameter>;
  readonly shape: DeepShape;
  readonly #set: ImpressionSet;
  readonly #hyper: DeepHyperParameters;
  readonly #session: ort.InferenceSession;
  readonly #contextWidth: number;
  readonly #contextRows: Float32Array;
  readonly #contextRowsGradient: Float32Array;
  /** Per context field: its first row among the small fields' rows, −1 for a large one. */
  readonly #hotStarts: readonly number[];
  readonly #batches = new Map<number, Batch>();
  #step = 0;

  private constructor(
    set: ImpressionSet,
    hyper: DeepHyperParameters,
    random: () => number,
    sides: { readonly user: Side; readonly ad: Side },
    shape: DeepShape,
    session: ort.InferenceSession,
  ) {
    this.#set = set;
    this.#hyper = hyper;
    this.#session = session;
    this.user = sides.user;
    this.ad = sides.ad;
    this.shape = shape;
    this.#contextWidth = placeCount(set.schema.context);
    this.#contextRows = new Float32Array(shape.contextRows * shape.dims.user);
    this.#contextRowsGradient = new Float32Array(shape.contextRows * shape.dims.user);
    this.#hotStarts = hotStarts(set.schema.context);
    this.context = set.schema.context.map(({ size }, index) => {
      const start = this.#hotStarts[index]! * shape.dims.user;
      const window = (rows: Float32Array): Float32Array => rows.subarray(start, start + size * shape.dims.user);
      const storage =
        start < 0 ? undefined : { table: window(this.#contextRows), gradients: window(this.#contextRowsGradient) };
      const options = start < 0 ? hyper.largeContext : hyper.smallContext;
      return new TrainedEmbedding(size, shape.dims.user, options, random, storage);
    });
    this.parameters = new Map(
      [...initialParameters(shape, random)].map(([name, values]) => [name, new DenseParameter(values)]),
    );
  }

  static async create(set: ImpressionSet, hyper: DeepHyperParameters, random: () => number): Promise<DeepTrainer> {
    const { schema } = set;
    const sideOf = (fields: readonly CategoricalField[], rows: Uint32Array): Side => {
      const embeddings = fields.map(({ name, size }) => {
        const { dimension, ...options } = hyper.fields[name] ?? hyper.otherField;
        return new TrainedEmbedding(size, dimension, options, random);
      });
      const inputWidth = embeddings.reduce((sum, { dimension }) => sum + dimension, 0);
      return { fields, embeddings, rows, width: placeCount(fields), inputWidth };
    };
    const user = sideOf(schema.user, entityRows(schema.user, set.users));
    const ad = sideOf(schema.ad, entityRows(schema.ad, set.ads));
    const starts = hotStarts(schema.context);
    const hotRows = schema.context.reduce((sum, { size }, index) => sum + (starts[index]! < 0 ? 0 : size), 0);
    const shape = servedShape(user.inputWidth, ad.inputWidth, Math.max(1, hotRows));
    const session = await ort.InferenceSession.create(trainingGraph(shape), sessionOptions);
    return new DeepTrainer(set, hyper, random, { user, ad }, shape, session);
  }

  /** Learns `count` rows of `order` from `start`; `cross` holds their cross features. Returns the weighted mean losses. */
  async step(
    order: Uint32Array,
    start: number,
    count: number,
    cross: Float32Array,
    pace: number,
  ): Promise<readonly [number, number]> {
    const batch = this.#batch(count);
    this.#assemble(batch, order, start, count, cross);
    await this.#session.run(batch.feeds, batch.fetches);
    const clickLoss = batch.loss[0]!;
    const conversionLoss = batch.loss[1]!;
    if (!Number.isFinite(clickLoss + conversionLoss))
      throw new TrainerError('TRAINING_DIVERGED', {
        detail: `Step ${this.#step}: loss ${clickLoss}, ${conversionLoss}.`,
      });
    this.#step += 1;
    for (const parameter of this.parameters.values()) parameter.apply(this.#hyper.denseRate * pace, this.#step);
    this.#scatter(batch, order, start, count);
    return [clickLoss, conversionLoss];
  }

  /** Logits of click and conversion for rows, without learning: [count × 2] into `target`. Runs the training graph, so no second one is held. */
  async score(
    order: Uint32Array,
    start: number,
    count: number,
    cross: Float32Array,
    target: Float32Array,
  ): Promise<void> {
    const batch = this.#batch(count);
    this.#assemble(batch, order, start, count, cross);
    await this.#session.run(batch.feeds, batch.fetches);
    target.set(batch.logits);
  }

  /**
   * Ends training: an id that no row of the log had becomes the mean of its field, weighted by how often each id occurred, so that a
   * new ad or an unseen weekday counts as an average one. Places that mean "no id" stay 0.
   */
  finish(): void {
    const { schema } = this.#set;
    const pairs = [
      ...schema.user.map((field, index) => [field, this.user.embeddings[index]!] as const),
      ...schema.ad.map((field, index) => [field, this.ad.embeddings[index]!] as const),
      ...schema.context.map((field, index) => [field, this.context[index]!] as const),
    ];
    for (const [{ width }, embedding] of pairs) {
      embedding.fillUnseen(width === 1 ? 0 : 1);
      // Never trained, never added here: but the exported towers add the row of every place, unused ones too.
      if (width > 1) embedding.table.fill(0, 0, embedding.dimension);
    }
  }

  async release(): Promise<void> {
    await this.#session.release();
  }

  #batch(count: number): Batch {
    let batch = this.#batches.get(count);
    if (batch === undefined) {
      batch = new Batch(count, this.shape, this.parameters, {
        rows: this.#contextRows,
        gradient: this.#contextRowsGradient,
      });
      this.#batches.set(count, batch);
    }
    return batch;
  }

  #assemble(batch: Batch, order: Uint32Array, start: number, count: number, cross: Float32Array): void {
    const set = this.#set;
    gatherSide(this.user, set.userIndex, order, start, count, batch.userInput);
    gatherSide(this.ad, set.adIndex, order, start, count, batch.adInput);
    const vectorWidth = this.shape.dims.user;
    const contextWidth = this.#contextWidth;
    const { contextRows } = this.shape;
    batch.contextSum.fill(0);
    batch.contextHot.fill(0);
    let place = 0;
    for (const [index, { width }] of set.schema.context.entries()) {
      const embedding = this.context[index]!;
      const hotStart = this.#hotStarts[index]!;
      for (let each = 0; each < width; each++, place++) {
        for (let at = 0; at < count; at++) {
          const id = set.contextIds[order[start + at]! * contextWidth + place]!;
          if (id === 0 && width > 1) continue;
          if (hotStart < 0) embedding.addTo(batch.contextSum, at * vectorWidth, id, 1);
          else batch.contextHot[at * contextRows + hotStart + id] = 1;
        }
      }
    }
    let weightSum = 0;
    for (let at = 0; at < count; at++) weightSum += set.weight[order[start + at]!]!;
    const scale = 1 / Math.max(weightSum, 1e-30);
    for (let at = 0; at < count; at++) {
      const row = order[start + at]!;
      const weight = set.weight[row]! * scale;
      batch.labels[at * heads] = set.click[row]!;
      batch.labels[at * heads + 1] = set.conversion[row]!;
      batch.weights[at * heads] = weight;
      // Conversion is learnt given a click: other rows are hidden from it.
      batch.weights[at * heads + 1] = set.click[row] === 1 ? weight * this.#hyper.conversionWeight : 0;
    }
    batch.cross.set(cross.subarray(0, count * this.shape.dims.cross));
  }

  #scatter(batch: Batch, order: Uint32Array, start: number, count: number): void {
    const set = this.#set;
    scatterSide(this.user, set.userIndex, order, start, count, batch.userGradient);
    scatterSide(this.ad, set.adIndex, order, start, count, batch.adGradient);
    const vectorWidth = this.shape.dims.user;
    let place = 0;
    for (const [index, { width }] of set.schema.context.entries()) {
      const embedding = this.context[index]!;
      const isHot = this.#hotStarts[index]! >= 0;
      for (let each = 0; each < width; each++, place++) {
        for (let at = 0; at < count; at++) {
          const id = set.contextIds[order[start + at]! * this.#contextWidth + place]!;
          if (id === 0 && width > 1) continue;
          if (isHot) embedding.touch(id);
          else embedding.collect(batch.contextGradient, at * vectorWidth, id, 1);
        }
      }
      embedding.apply(count);
    }
    for (const embedding of [...this.user.embeddings, ...this.ad.embeddings]) embedding.apply(count);
  }
}

/** A context field of at most this many ids is small: one more column of a matrix product costs less than a gather. */
const hotSizeMax = 64;
const hotRowsMax = 256;

/** First row of each small context field among all of them, −1 for the large ones and for those that no longer fit. */
function hotStarts(fields: readonly CategoricalField[]): number[] {
  let next = 0;
  return fields.map(({ size, width }) => {
    if (size > hotSizeMax || width > 1 || next + size > hotRowsMax) return -1;
    next += size;
    return next - size;
  });
}

/** 1 ÷ √n of n ids in one field: a person with eight segments is not eight times as loud as one with one. */
const shareOf = Float64Array.from({ length: 65 }, (_, count) => 1 / Math.sqrt(Math.max(1, count)));

function usedPlaces(rows: Uint32Array, at: number, width: number): number {
  let used = 0;
  for (let each = 0; each < width; each++) if (rows[at + each]! > 0) used++;
  return used;
}

function gatherSide(
  side: Side,
  index: Uint32Array,
  order: Uint32Array,
  start: number,
  count: number,
  into: Float32Array,
): void {
  const { fields, embeddings, rows, width, inputWidth } = side;
  into.fill(0);
  for (let field = 0, place = 0, column = 0; field < fields.length; field++) {
    const fieldWidth = fields[field]!.width;
    const embedding = embeddings[field]!;
    for (let at = 0; at < count; at++) {
      const from = index[order[start + at]!]! * width + place;
      const to = at * inputWidth + column;
      if (fieldWidth === 1) {
        embedding.addTo(into, to, rows[from]!, 1);
        continue;
      }
      const share = shareOf[usedPlaces(rows, from, fieldWidth)]!;
      for (let each = 0; each < fieldWidth; each++) {
        if (rows[from + each]! > 0) embedding.addTo(into, to, rows[from + each]!, share);
      }
    }
    place += fieldWidth;
    column += embedding.dimension;
  }
}

function scatterSide(
  side: Side,
  index: Uint32Array,
  order: Uint32Array,
  start: number,
  count: number,
  from: Float32Array,
): void {
  const { fields, embeddings, rows, width, inputWidth } = side;
  for (let field = 0, place = 0, column = 0; field < fields.length; field++) {
    const fieldWidth = fields[field]!.width;
    const embedding = embeddings[field]!;
    for (let at = 0; at < count; at++) {
      const ids = index[order[start + at]!]! * width + place;
      const source = at * inputWidth + column;
      if (fieldWidth === 1) {
        embedding.collect(from, source, rows[ids]!, 1);
        continue;
      }
      const share = shareOf[usedPlaces(rows, ids, fieldWidth)]!;
      for (let each = 0; each < fieldWidth; each++) {
        if (rows[ids + each]! > 0) embedding.collect(from, source, rows[ids + each]!, share);
      }
    }
    place += fieldWidth;
    column += embedding.dimension;
  }
}

/** Buffers of one batch size, made once: the graph reads its inputs from them and writes its outputs into them. */
class Batch {
  readonly userInput: Float32Array;
  readonly adInput: Float32Array;
  readonly contextSum: Float32Array;
  readonly contextHot: Float32Array;
  readonly cross: Float32Array;
  readonly labels: Float32Array;
  readonly weights: Float32Array;
  readonly loss = new Float32Array(heads);
  readonly logits: Float32Array;
  readonly userGradient: Float32Array;
  readonly adGradient: Float32Array;
  readonly contextGradient: Float32Array;
  readonly feeds: Record<string, ort.Tensor> = {};
  readonly fetches: Record<string, ort.Tensor> = {};

  constructor(
    count: number,
    shape: DeepShape,
    parameters: ReadonlyMap<string, DenseParameter>,
    context: { readonly rows: Float32Array; readonly gradient: Float32Array },
  ) {
    const { dims, user, ad } = shape;
    const tensor = (into: Record<string, ort.Tensor>, name: string, columns: number): Float32Array => {
      const data = new Float32Array(count * columns);
      into[name] = new ort.Tensor('float32', data, [count, columns]);
      return data;
    };
    this.userInput = tensor(this.feeds, 'user_input', user.input);
    this.adInput = tensor(this.feeds, 'ad_input', ad.input);
    this.contextSum = tensor(this.feeds, 'context_sum', dims.user);
    this.contextHot = tensor(this.feeds, 'context_hot', shape.contextRows);
    const contextDims = [shape.contextRows, dims.user];
    this.feeds['context_rows'] = new ort.Tensor('float32', context.rows, contextDims);
    this.fetches['d_context_rows'] = new ort.Tensor('float32', context.gradient, contextDims);
    this.cross = tensor(this.feeds, 'cross', dims.cross);
    this.labels = tensor(this.feeds, 'labels', heads);
    this.weights = tensor(this.feeds, 'weights', heads);
    this.logits = tensor(this.fetches, 'logits', heads);
    this.userGradient = tensor(this.fetches, 'd_user_input', user.input);
    this.adGradient = tensor(this.fetches, 'd_ad_input', ad.input);
    this.contextGradient = tensor(this.fetches, 'd_context_sum', dims.user);
    this.fetches['loss'] = new ort.Tensor('float32', this.loss, [heads]);
    for (const { name, rows, columns } of parameterShapes(shape)) {
      const { values, gradient } = parameters.get(name)!;
      this.feeds[name] = new ort.Tensor('float32', values, [rows, columns]);
      this.fetches[`d_${name}`] = new ort.Tensor('float32', gradient, [rows, columns]);
    }
  }
}

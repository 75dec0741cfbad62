import { adColumnsOf } from '#inference/ad-columns.ts';
import { CrossFeatures, crossWidth } from '#inference/cross-features.ts';
import type { CategoricalField } from '#inference/feature-schema.ts';
import { placeCount } from '#inference/field-places.ts';
import { referenceHeadGraph } from '#inference/head-graph.ts';
import { LightRanker, type LightRankerWeights } from '#inference/light-ranker.ts';
import { floats, Graph, Tower } from '#inference/tower.ts';
import type { TrainedModel } from '#inference/trained-model.ts';
import { addContext } from './export-model.ts';
import type { EntityTable, ImpressionSet } from './impression-set.ts';
import { entityRows } from './training-rows.ts';

export type ExportedParts = Pick<TrainedModel, 'head' | 'userTower' | 'adTower' | 'context'>;

/** Rows per run of a graph: 2,048 take a few milliseconds. */
const batchRows = 2048;

/**
 * One question: an ad for a user in the context of a logged row. `vector` in place of the user's own; `isVectorOnly`: nothing but the
 * vector is known of the user.
 */
export type ScorerQuestion = {
  readonly user: number;
  readonly contextRow: number;
  readonly ad: number;
  readonly views: number;
  readonly vector?: Float32Array;
  readonly isVectorOnly?: boolean;
};

/** Click and conversion. */
export type HeadAnswer = { readonly click: number; readonly conversion: number };

/**
 * A finished model as it will be served, asked about any user with any ad in any context: what some rungs answer is in no logged
 * row. Holds the vectors of all users and ads.
 */
export class ExportedScorer {
  /** [users × dims.user]. */
  readonly userVectors: Float32Array;
  /** Ids of the users without the identity, row by row. */
  readonly userIds: Uint32Array;
  readonly userWidth: number;
  readonly #set: ImpressionSet;
  readonly #parts: ExportedParts;
  readonly #adVectors: Float32Array;
  readonly #contextWidth: number;
  readonly #ranker: LightRanker;
  readonly #cross: CrossFeatures;
  readonly #head: Graph;
  readonly #noIds: Uint32Array;

  private constructor(
    set: ImpressionSet,
    parts: ExportedParts,
    weights: LightRankerWeights,
    userVectors: Float32Array,
    adVectors: Float32Array,
    head: Graph,
  ) {
    const { schema } = set;
    this.#set = set;
    this.#parts = parts;
    this.userVectors = userVectors;
    this.#adVectors = adVectors;
    this.userIds = entityRows(schema.user, set.users, 1);
    this.userWidth = placeCount(schema.user.slice(1));
    this.#contextWidth = placeCount(schema.context);
    this.#ranker = new LightRanker(schema, weights, adColumnsOf(schema, weights, set.ads.values, set.ads.ids.length));
    this.#cross = new CrossFeatures(schema, this.#ranker);
    this.#head = head;
    this.#noIds = new Uint32Array(this.userWidth);
  }

  static async open(set: ImpressionSet, parts: ExportedParts, weights: LightRankerWeights): Promise<ExportedScorer> {
    const { schema, users, ads } = set;
    const { dims } = parts.head;
    const userVectors = await towerVectors(parts.userTower, 'user-tower.onnx', schema.user, users, dims.user);
    const adVectors = await towerVectors(parts.adTower, 'ad-tower.onnx', schema.ad, ads, dims.ad);
    const head = await Graph.open(referenceHeadGraph(parts.head), 'head.onnx');
    return new ExportedScorer(set, parts, weights, userVectors, adVectors, head);
  }

  /** The same towers and head beside a light ranker of other weights; only one of the two is to be closed. */
  withRanker(weights: LightRankerWeights): ExportedScorer {
    return new ExportedScorer(this.#set, this.#parts, weights, this.userVectors, this.#adVectors, this.#head);
  }

  /** Answers `count` questions one after another; yields to the event loop between batches. */
  async ask(
    count: number,
    question: (index: number) => ScorerQuestion,
    answer: (index: number, said: HeadAnswer) => void,
  ): Promise<void> {
    const { dims } = this.#parts.head;
    for (let from = 0; from < count; from += batchRows) {
      const rows = Math.min(batchRows, count - from);
      const user = new Float32Array(rows * dims.user);
      const ad = new Float32Array(rows * dims.ad);
      const cross = new Float32Array(rows * crossWidth);
      for (let index = 0; index < rows; index++) {
        const asked = question(from + index);
        const own = this.#vectorOf(asked.user);
        const vector = user.subarray(index * dims.user, (index + 1) * dims.user);
        vector.set(asked.vector ?? own);
        addContext(vector, this.#contextOf(asked.contextRow), this.#set, this.#parts.context);
        ad.set(this.#adVectors.subarray(asked.ad * dims.ad, (asked.ad + 1) * dims.ad), index * dims.ad);
        this.#crossInto(cross, index * crossWidth, asked, asked.isVectorOnly === true ? own : undefined);
      }
      const inputs = {
        user: floats(user, rows, dims.user),
        ad: floats(ad, rows, dims.ad),
        cross: floats(cross, rows, dims.cross),
      };
      const { logits } = await this.#head.run(inputs, { logits: rows * dims.heads });
      for (let index = 0; index < rows; index++)
        answer(from + index, { click: logits[index * dims.heads]!, conversion: logits[index * dims.heads + 1]! });
    }
  }

  /** What the light ranker says of somebody whose ids are known, or only the vector, or neither. */
  light({ user, contextRow, ad }: Omit<ScorerQuestion, 'views'>, known: 'ids' | 'vector' | 'nothing'): HeadAnswer {
    const ids = known === 'ids' ? this.userIds : this.#noIds;
    const at = known === 'ids' ? user * this.userWidth : 0;
    const vector = known === 'vector' ? this.#vectorOf(user) : undefined;
    this.#ranker.prepareFor(ad, this.#set.contextIds, contextRow * this.#contextWidth, ids, at, vector);
    return { click: this.#ranker.clickLogit(ad), conversion: this.#ranker.conversionLogit(ad) };
  }

  async close(): Promise<void> {
    await this.#head.close();
  }

  #crossInto(target: Float32Array, at: number, asked: ScorerQuestion, vectorOnly: Float32Array | undefined): void {
    const { user, contextRow, ad, views } = asked;
    const { contextIds } = this.#set;
    const contextAt = contextRow * this.#contextWidth;
    const ids = vectorOnly === undefined ? this.userIds : this.#noIds;
    const userAt = vectorOnly === undefined ? user * this.userWidth : 0;
    this.#cross.oneInto(target, at, ad, contextIds, contextAt, ids, userAt, views, vectorOnly);
  }

  #vectorOf(user: number): Float32Array {
    const { user: dimension } = this.#parts.head.dims;
    return this.userVectors.subarray(user * dimension, (user + 1) * dimension);
  }

  #contextOf(row: number): Uint32Array {
    return this.#set.contextIds.subarray(row * this.#contextWidth, (row + 1) * this.#contextWidth);
  }
}

async function towerVectors(
  bytes: Uint8Array,
  name: string,
  fields: readonly CategoricalField[],
  table: EntityTable,
  dimension: number,
): Promise<Float32Array> {
  const ids = Int32Array.from(entityRows(fields, table));
  const width = placeCount(fields);
  const count = table.ids.length;
  const vectors = new Float32Array(count * dimension);
  const tower = await Tower.open(bytes, name, width, dimension);
  try {
    for (let from = 0; from < count; from += batchRows) {
      const rows = Math.min(batchRows, count - from);
      vectors.set(await tower.vectors(ids.slice(from * width, (from + rows) * width), rows), from * dimension);
    }
  } finally {
    await tower.close();
  }
  return vectors;
}

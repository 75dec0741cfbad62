import { setImmediate as turn } from 'node:timers/promises';
import type { VectorScale } from '#embeddings/quantisation.ts';
import { AdColumnFiller, type AdColumns, allocateAdColumns } from './ad-columns.ts';
import { AdTower } from './ad-tower.ts';
import { AdWordIds } from './ad-word-ids.ts';
import type { Bundle } from './bundle.ts';
import type { CalibrationSet } from './calibration.ts';
import type { CategoricalField, FeatureSchema } from './feature-schema.ts';
import { goldenInputs } from './golden.ts';
import type { LightRankerWeights, RankerHead } from './light-ranker.ts';
import type { GoldenRows, ScoringModel, ScoringTable } from './scoring-model.ts';

/** A model in service as every thread gets it (workerData, messages): all that is large lies in shared memory. */
export type ModelShared = {
  readonly slot: number;
  readonly modelId: string;
  readonly towerVersion: string;
  readonly userDimension: number;
  /** Undefined: its bundle has none. */
  readonly userScale: VectorScale | undefined;
  readonly calibration: CalibrationSet;
  /** Without the vocabularies of users, ads, line items and advertisers: what a request needs. */
  readonly schema: FeatureSchema;
  /** Without the weights of ads, which are in `columns`. */
  readonly ranker: LightRankerWeights;
  readonly context: readonly Float32Array[];
  readonly columns: AdColumns;
  readonly adCapacity: number;
  readonly graph: Uint8Array;
  readonly tables: readonly ScoringTable[];
  readonly golden: GoldenRows;
};

/** Words of an ad row in the order of `adFieldNames`: what the catalog knows. */
export type AdWordsOf = (row: number) => readonly string[];

/** Ads per run of the tower: about 3 ms each, after which the event loop gets its turn. */
const adsPerRun = 1024;
/** Of ads added while requests are served: less than half a millisecond, so that a core is not taken from them for longer. */
const addedAdsPerRun = 128;

/** Vocabularies that requests need, or that are short. The identity of the user is the first field whatever its name. */
const keptAdVocabularies: ReadonlySet<string> = new Set(['category', 'size']);

/**
 * Works out everything that a model keeps per ad: vectors, projections, the ranker's static part. Rows `adCount` to `adCapacity`
 * wait for ads that are added later; behind them lie the golden rows.
 */
export async function buildModelShared(
  bundle: Bundle,
  slot: number,
  adWordsOf: AdWordsOf,
  adCount: number,
  adCapacity: number,
  onProgress: (done: number, total: number) => void = () => {},
): Promise<ModelTables> {
  if (adCount > adCapacity) throw new RangeError(`${adCount} ads do not fit ${adCapacity} rows`);
  const tower = await AdTower.open(bundle);
  try {
    const shared = await sharedPart(bundle, slot, adCapacity, tower);
    const made = new ModelTables(shared, bundle.schema, bundle.ranker, tower);
    const rows = Uint32Array.from({ length: adCount }, (_, row) => row);
    await made.fill(rows, adWordsOf, adsPerRun, onProgress);
    return made;
  } catch (error) {
    await tower.close();
    throw error;
  }
}

/** Everything but the live ads themselves. */
async function sharedPart(bundle: Bundle, slot: number, adCapacity: number, tower: AdTower): Promise<ModelShared> {
  const tableRows = adCapacity + bundle.golden.length;
  const tables = bundle.tables.map(({ name, width }) => ({
    name,
    width,
    rows: tableRows,
    data: new SharedArrayBuffer(tableRows * width * Float32Array.BYTES_PER_ELEMENT),
  }));
  const inputs = await goldenInputs(bundle, tower);
  for (const { name, width, data } of tables) new Float32Array(data).set(inputs.tables[name]!, adCapacity * width);
  return {
    slot,
    modelId: bundle.id,
    towerVersion: bundle.towerVersion,
    userDimension: bundle.head.dims.user,
    userScale: bundle.userScale,
    calibration: bundle.calibration,
    schema: requestSchema(bundle.schema),
    ranker: {
      click: sharedHead(bundle.ranker.click),
      conversion: sharedHead(bundle.ranker.conversion),
      ...(bundle.ranker.vectorProfile === undefined ? {} : { vectorProfile: sharedCopy(bundle.ranker.vectorProfile) }),
    },
    context: bundle.context.map(sharedCopy),
    columns: allocateAdColumns(adCapacity),
    adCapacity,
    graph: sharedBytes(bundle.serveGraph),
    tables,
    golden: {
      count: inputs.count,
      firstRow: adCapacity,
      user: sharedCopy(inputs.user),
      cross: sharedCopy(inputs.cross),
      logits: sharedCopy(Float32Array.from(bundle.golden.flatMap(({ logits }) => logits))),
    },
  };
}

/** The main thread's side of a model in service: what other threads get, and the way to add ads. */
export class ModelTables {
  readonly shared: ModelShared;
  readonly #words: AdWordIds;
  readonly #filler: AdColumnFiller;
  readonly #tower: AdTower;

  /** `tower` stays open for ads that come later, since opening it anew costs a second where it holds a million ads. */
  constructor(shared: ModelShared, schema: FeatureSchema, ranker: LightRankerWeights, tower: AdTower) {
    this.shared = shared;
    this.#words = new AdWordIds(schema);
    this.#filler = new AdColumnFiller(schema, ranker);
    this.#tower = tower;
  }

  /** What the scoring threads load. */
  get scoringModel(): ScoringModel {
    const { slot, modelId, graph, tables, golden } = this.shared;
    return { slot, modelId, graph, tables, golden };
  }

  /** Fills rows of ads that requests do not see yet; requests for other rows go on meanwhile. */
  async addAds(rows: ArrayLike<number>, adWordsOf: AdWordsOf): Promise<void> {
    await this.fill(rows, adWordsOf, addedAdsPerRun);
  }

  async fill(
    rows: ArrayLike<number>,
    adWordsOf: AdWordsOf,
    rowsPerRun: number,
    onProgress: (done: number, total: number) => void = () => {},
  ): Promise<void> {
    const { columns, tables, adCapacity } = this.shared;
    const targets = tables.map(({ name, width, data }) => ({ name, width, data: new Float32Array(data) }));
    const { idsPerRow } = this.#tower;
    for (let from = 0; from < rows.length; from += rowsPerRun) {
      const count = Math.min(rowsPerRun, rows.length - from);
      const ids = new Int32Array(count * idsPerRow);
      for (let index = 0; index < count; index++) {
        const row = rows[from + index]!;
        if (!(row < adCapacity)) throw new RangeError(`ad row ${row} is beyond the ${adCapacity} rows of the model`);
        this.#words.idsInto(adWordsOf(row), ids, index * idsPerRow);
        this.#filler.fill(columns, row, ids, index * idsPerRow);
      }
      const results = await this.#tower.tablesOf(ids, count);
      for (const { name, width, data } of targets) copyRows(results[name]!, width, rows, from, count, data);
      onProgress(from + count, rows.length);
      await turn();
    }
  }

  /** When no ads will be added any more: gives back what the towers hold outside the JavaScript heap. */
  async close(): Promise<void> {
    await this.#tower.close();
  }
}

function copyRows(
  source: Float32Array,
  width: number,
  rows: ArrayLike<number>,
  from: number,
  count: number,
  target: Float32Array,
): void {
  for (let index = 0; index < count; index++)
    target.set(source.subarray(index * width, (index + 1) * width), rows[from + index]! * width);
}

/** Bytes by part, for all rows: what `bench memory` shows. */
export function modelMemory(shared: ModelShared): Readonly<Record<string, number>> {
  const { columns, ranker, context, graph, tables } = shared;
  const sum = (arrays: readonly { byteLength: number }[]): number =>
    arrays.reduce((total, { byteLength }) => total + byteLength, 0);
  const headBytes = (head: RankerHead): number =>
    sum([
      ...head.user,
      ...head.context,
      ...head.contextByCategory,
      ...head.userByCategory,
      ...Object.values(head.contextByAdvertiser),
    ]);
  return {
    ...Object.fromEntries(tables.map(({ name, data }) => [name, data.byteLength])),
    light_ranker_columns: sum(Object.values(columns)),
    light_ranker_weights:
      headBytes(ranker.click) + headBytes(ranker.conversion) + (ranker.vectorProfile?.byteLength ?? 0),
    context_rows: sum(context),
    serve_graph: graph.byteLength,
  };
}

function requestSchema(schema: FeatureSchema): FeatureSchema {
  const without = ({ name, size, width }: CategoricalField): CategoricalField => ({ name, size, width });
  return {
    ...schema,
    user: schema.user.map((field, index) => (index === 0 ? without(field) : field)),
    ad: schema.ad.map((field) => (keptAdVocabularies.has(field.name) ? field : without(field))),
  };
}

function sharedHead(head: RankerHead): RankerHead {
  return {
    bias: head.bias,
    interestMatch: head.interestMatch,
    siteMatch: head.siteMatch,
    user: head.user.map((weights, field) => (field === 0 ? new Float32Array(0) : sharedCopy(weights))),
    ad: head.ad.map(() => new Float32Array(0)),
    context: head.context.map(sharedCopy),
    contextByCategory: head.contextByCategory.map(sharedCopy),
    userByCategory: head.userByCategory.map((weights, field) =>
      field === 0 ? new Float32Array(0) : sharedCopy(weights),
    ),
    contextByAdvertiser: Object.fromEntries(
      Object.entries(head.contextByAdvertiser).map(([name, weights]) => [name, sharedCopy(weights)]),
    ),
  };
}

function sharedCopy(values: Float32Array): Float32Array {
  const copy = new Float32Array(new SharedArrayBuffer(values.byteLength));
  copy.set(values);
  return copy;
}

function sharedBytes(values: Uint8Array): Uint8Array {
  const copy = new Uint8Array(new SharedArrayBuffer(values.byteLength));
  copy.set(values);
  return copy;
}

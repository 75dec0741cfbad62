import * as ort from 'onnxruntime-node';
import { batchRowsMax, chunkRowsMax, chunkRowsOf } from './batch-policy.ts';
import { CostModel } from './cost-model.ts';
import { ScoringError } from './errors.ts';
import { type ExecutionProvider, sessionOptions } from './execution-providers.ts';
import { servedDims } from './head-weights.ts';
import type { ScoringModel } from './scoring-model.ts';
import { pieceRows, requestRowsMax, type ScoringMemory } from './scoring-shared.ts';

/** How far a golden row may be from the score that the model came with: 100 times what rounding does. */
export const goldenTolerance = 1e-4;
/** Rows of staging. Chunks of one size for requests of several sizes never need more (held by a test of `chunkRowsOf`). */
export const stagingRowsMax = 2 * batchRowsMax + chunkRowsMax;
/** Batches run to warm up and to measure the first cost, per size. */
const warmUpRuns = 5;
const warmUpSizes = [1, 50, 200, 800, 1600] as const;
const { user: userWidth, cross: crossWidth, heads } = servedDims;

type Shape = { readonly feeds: ort.InferenceSession.FeedsType; readonly fetches: ort.InferenceSession.FetchesType };

/** Memory that a scoring thread assembles batches in; all its sessions share it. */
export class ScoringStaging {
  /** Copies move whole pieces, so the last one may write past its rows. */
  readonly #rows = stagingRowsMax + requestRowsMax;
  readonly users = new Float32Array(stagingRowsMax * userWidth);
  readonly adIds = new Int32Array(this.#rows);
  readonly cross = new Float32Array(this.#rows * crossWidth);
  readonly logits = new Float32Array(stagingRowsMax * heads);
}

/** One model in one scoring thread: its session, the tensors of every shape seen, and the cost learnt so far. */
export class ScoringSession {
  readonly modelId: string;
  cost = new CostModel();
  readonly #session: ort.InferenceSession;
  readonly #staging: ScoringStaging;
  readonly #tables: Readonly<Record<string, ort.Tensor>>;
  /** By rows per chunk × 4096 + chunks: at most about 800 shapes exist, each four small objects over the staging. */
  readonly #shapes = new Map<number, Shape>();

  /** Loads, checks the golden rows and warms up; throws a coded error when the model must not serve. */
  static async load(
    model: ScoringModel,
    provider: ExecutionProvider,
    staging: ScoringStaging,
    now: () => number,
  ): Promise<ScoringSession> {
    const tables = tablesOf(model);
    let session: ort.InferenceSession;
    try {
      // A copy: the runtime takes shared memory for tensors, but not for a graph.
      session = await ort.InferenceSession.create(new Uint8Array(model.graph), sessionOptions(provider));
    } catch (error) {
      throw new ScoringError('MODEL_LOAD_FAILED', error instanceof Error ? error.message : String(error), {
        cause: error,
      });
    }
    const missing = session.inputNames.filter((name) => !requestInputs.has(name) && tables[name] === undefined);
    if (missing.length > 0 || !session.outputNames.includes('logits')) {
      throw new ScoringError(
        'MODEL_MALFORMED',
        `no table for: ${missing.join(', ') || '(none)'}; output logits needed`,
      );
    }
    const loaded = new ScoringSession(model, session, staging, tables);
    await loaded.#checkGolden(model);
    loaded.cost = await loaded.#warmUp(now);
    return loaded;
  }

  private constructor(
    model: ScoringModel,
    session: ort.InferenceSession,
    staging: ScoringStaging,
    tables: Readonly<Record<string, ort.Tensor>>,
  ) {
    this.modelId = model.modelId;
    this.#session = session;
    this.#staging = staging;
    this.#tables = tables;
  }

  /**
   * Scores whole requests (by first piece): copies them into staging as chunks of one size, runs, copies the logits back.
   * Returns the rows that were run. Throws when the runtime refuses, and then nothing was written back.
   */
  async score(memory: ScoringMemory, pieces: Int32Array, rowCounts: Int32Array, count: number): Promise<number> {
    const chunkRows = chunkRowsOf(rowCounts, count);
    let chunks = 0;
    for (let index = 0; index < count; index++) {
      chunks = this.#stage(memory, pieces[index]!, rowCounts[index]!, chunkRows, chunks);
    }
    const { feeds, fetches } = this.#shape(chunks, chunkRows);
    await this.#session.run(feeds, fetches);
    let chunk = 0;
    for (let index = 0; index < count; index++) {
      const rowCount = rowCounts[index]!;
      copyFloats(
        this.#staging.logits,
        chunk * chunkRows * heads,
        memory.logits,
        pieces[index]! * pieceRows * heads,
        rowCount * heads,
      );
      chunk += Math.ceil(rowCount / chunkRows);
    }
    return chunks * chunkRows;
  }

  async release(): Promise<void> {
    await this.#session.release();
  }

  /** Copies one request to chunk `at` and following; returns the chunk after its last. */
  #stage(memory: ScoringMemory, piece: number, rowCount: number, chunkRows: number, at: number): number {
    const { users, adIds, cross } = this.#staging;
    const end = at + Math.ceil(rowCount / chunkRows);
    const firstRow = at * chunkRows;
    for (let chunk = at; chunk < end; chunk++)
      copyFloats(memory.users, piece * userWidth, users, chunk * userWidth, userWidth);
    cross.set(memory.crossView(piece, rowCount), firstRow * crossWidth);
    adIds.set(memory.adIdsView(piece, rowCount), firstRow);
    // Padding gathers row 0, which every table has: what an earlier batch left here may lie outside this model's tables.
    adIds.fill(0, firstRow + rowCount, end * chunkRows);
    return end;
  }

  #shape(chunks: number, chunkRows: number): Shape {
    const key = chunkRows * 4096 + chunks;
    let shape = this.#shapes.get(key);
    if (shape === undefined) {
      const { users, adIds, cross, logits } = this.#staging;
      const rows = chunks * chunkRows;
      if (rows > stagingRowsMax) throw new RangeError(`A batch of ${rows} rows is larger than the staging.`);
      shape = {
        feeds: {
          ...this.#tables,
          user: new ort.Tensor('float32', users.subarray(0, chunks * userWidth), [chunks, userWidth]),
          ad_ids: new ort.Tensor('int32', adIds.subarray(0, rows), [chunks, chunkRows]),
          cross: new ort.Tensor('float32', cross.subarray(0, rows * crossWidth), [chunks, chunkRows, crossWidth]),
        },
        fetches: { logits: new ort.Tensor('float32', logits.subarray(0, rows * heads), [chunks, chunkRows, heads]) },
      };
      this.#shapes.set(key, shape);
    }
    return shape;
  }

  async #checkGolden({ golden, modelId }: ScoringModel): Promise<void> {
    const { users, adIds, cross, logits } = this.#staging;
    for (let from = 0; from < golden.count; from += batchRowsMax) {
      const count = Math.min(batchRowsMax, golden.count - from);
      users.set(golden.user.subarray(from * userWidth, (from + count) * userWidth));
      cross.set(golden.cross.subarray(from * crossWidth, (from + count) * crossWidth));
      for (let row = 0; row < count; row++) adIds[row] = golden.firstRow + from + row;
      const { feeds, fetches } = this.#shape(count, 1);
      await this.#run(feeds, fetches);
      for (let at = 0; at < count * heads; at++) {
        const expected = golden.logits[from * heads + at]!;
        // Negated, so that NaN on either side is a mismatch.
        if (!(Math.abs(logits[at]! - expected) <= goldenTolerance)) {
          const row = from + Math.floor(at / heads);
          throw new ScoringError(
            'MODEL_GOLDEN_MISMATCH',
            `${modelId}: golden row ${row}, head ${at % heads}: ${logits[at]} instead of ${expected}`,
          );
        }
      }
    }
  }

  /** Runs the shapes that serving uses most, and starts the cost model with what they took here. */
  async #warmUp(now: () => number): Promise<CostModel> {
    const { users, adIds, cross } = this.#staging;
    users.fill(0.1);
    cross.fill(0.1);
    adIds.fill(0);
    const took: number[] = [];
    for (const rows of warmUpSizes) {
      const chunkRows = Math.min(rows, chunkRowsMax);
      const { feeds, fetches } = this.#shape(rows / chunkRows, chunkRows);
      let bestMs = Number.POSITIVE_INFINITY;
      for (let run = 0; run < warmUpRuns; run++) {
        const startedMs = now();
        await this.#run(feeds, fetches);
        bestMs = Math.min(bestMs, now() - startedMs);
      }
      took.push(bestMs);
    }
    const smallest = warmUpSizes[0];
    const largest = warmUpSizes.at(-1)!;
    const perRowMs = Math.max(0, (took.at(-1)! - took[0]!) / (largest - smallest));
    return new CostModel({ fixedMs: took[0]!, perRowMs });
  }

  async #run(feeds: ort.InferenceSession.FeedsType, fetches: ort.InferenceSession.FetchesType): Promise<void> {
    try {
      await this.#session.run(feeds, fetches);
    } catch (error) {
      throw new ScoringError('MODEL_LOAD_FAILED', error instanceof Error ? error.message : String(error), {
        cause: error,
      });
    }
  }
}

const requestInputs: ReadonlySet<string> = new Set(['user', 'ad_ids', 'cross']);

function tablesOf({ tables, golden }: ScoringModel): Readonly<Record<string, ort.Tensor>> {
  const wrong: string[] = [];
  for (const { name, width, rows, data } of tables) {
    if (data.byteLength < rows * width * 4) wrong.push(`${name}: ${data.byteLength} bytes for ${rows} × ${width}`);
    if (rows < golden.firstRow + golden.count) wrong.push(`${name}: ${rows} rows end before the golden rows do`);
  }
  if (tables.length === 0) wrong.push('no tables');
  if (golden.user.length !== golden.count * userWidth) wrong.push(`golden user: ${golden.user.length} numbers`);
  if (golden.cross.length !== golden.count * crossWidth) wrong.push(`golden cross: ${golden.cross.length} numbers`);
  if (golden.logits.length !== golden.count * heads) wrong.push(`golden logits: ${golden.logits.length} numbers`);
  if (wrong.length > 0) throw new ScoringError('MODEL_MALFORMED', wrong.join('; '));
  return Object.fromEntries(
    tables.map(({ name, width, rows, data }) => [
      name,
      new ort.Tensor('float32', new Float32Array(data, 0, rows * width), [rows, width]),
    ]),
  );
}

/** A loop: for a few hundred floats it is faster than a view made to be copied once. */
function copyFloats(from: Float32Array, fromAt: number, to: Float32Array, toAt: number, count: number): void {
  for (let index = 0; index < count; index++) to[toAt + index] = from[fromAt + index]!;
}

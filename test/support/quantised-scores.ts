import { adColumnsOf } from '#inference/ad-columns.ts';
import { CompiledCalibrator } from '#inference/calibration.ts';
import { CrossFeatures, crossWidth } from '#inference/cross-features.ts';
import { placeCount } from '#inference/field-places.ts';
import { referenceHeadGraph } from '#inference/head-graph.ts';
import { LightRanker } from '#inference/light-ranker.ts';
import { floats, Graph, Tower } from '#inference/tower.ts';
import type { TrainedModel } from '#inference/trained-model.ts';
import { fitScale } from '#embeddings/quantisation.ts';
import { QuantisedTable } from '#embeddings/quantised-table.ts';
import { addContext } from '#training-bridge/export-model.ts';
import type { ImpressionSet } from '#training-bridge/impression-set.ts';
import { entityRows } from '#training-bridge/training-rows.ts';
import { areaUnderCurve, type Quality, qualityOf } from '#training-bridge/training-metrics.ts';

const rowsPerRun = 1024;

/** Vectors of users or ads, row by row: exact, and as they come back from one byte a number. */
export type VectorRows = { readonly exact: Float32Array; readonly quantised: Float32Array; readonly int8Bytes: number };

async function vectorRows(tower: Tower, ids: Int32Array, count: number, dimension: number): Promise<VectorRows> {
  const width = ids.length / count;
  const exact = new Float32Array(count * dimension);
  for (let from = 0; from < count; from += rowsPerRun) {
    const rows = Math.min(rowsPerRun, count - from);
    exact.set(await tower.vectors(ids.slice(from * width, (from + rows) * width), rows), from * dimension);
  }
  await tower.close();
  const table = new QuantisedTable(QuantisedTable.allocate(count, fitScale(exact, dimension)));
  for (let row = 0; row < count; row++) table.setRow(row, exact, row * dimension);
  const quantised = new Float32Array(exact.length);
  table.gather(
    Uint32Array.from({ length: count }, (_, row) => row),
    quantised,
  );
  return { exact, quantised, int8Bytes: table.data.byteLength };
}

export type ScoredQuality = Quality & { readonly auc: number };
export type QuantisedQuality = {
  readonly exact: ScoredQuality;
  readonly quantised: ScoredQuality;
  /** Mean and largest distance between the probabilities of a click. */
  readonly movedMean: number;
  readonly movedMax: number;
  /** Bytes of float32 rows ÷ bytes of int8 rows, users and ads together. */
  readonly memoryRatio: number;
};

/**
 * How well a model foretells the clicks of rows from `from` on with the vectors that stores and tables keep (users' without context,
 * ads') in float32 and in one byte a number. Context, cross features and head are exact in both.
 */
export async function quantisedQuality(
  model: TrainedModel,
  set: ImpressionSet,
  from: number,
): Promise<QuantisedQuality> {
  const { schema, head } = model;
  const { dims } = head;
  const userCount = set.users.ids.length;
  const adCount = set.ads.ids.length;
  const users = await vectorRows(
    await Tower.open(model.userTower, 'user tower', placeCount(schema.user), dims.user),
    Int32Array.from(entityRows(schema.user, set.users)),
    userCount,
    dims.user,
  );
  const ads = await vectorRows(
    await Tower.open(model.adTower, 'ad tower', placeCount(schema.ad), dims.ad),
    Int32Array.from(entityRows(schema.ad, set.ads)),
    adCount,
    dims.ad,
  );
  const graph = await Graph.open(referenceHeadGraph(head), 'head');
  const columns = adColumnsOf(schema, model.ranker, set.ads.values, adCount);
  const features = new CrossFeatures(schema, new LightRanker(schema, model.ranker, columns));
  const userIds = entityRows(schema.user, set.users, 1);
  const userWidth = placeCount(schema.user.slice(1));
  const contextWidth = placeCount(schema.context);
  const count = set.rowCount - from;
  const logits = { exact: new Float32Array(count), quantised: new Float32Array(count) };
  for (let start = 0; start < count; start += rowsPerRun) {
    const rows = Math.min(rowsPerRun, count - start);
    const cross = new Float32Array(rows * crossWidth);
    const context = new Float32Array(rows * dims.user);
    for (let index = 0; index < rows; index++) {
      const row = from + start + index;
      const contextAt = row * contextWidth;
      const userAt = set.userIndex[row]! * userWidth;
      const { contextIds } = set;
      features.oneInto(
        cross,
        index * crossWidth,
        set.adIndex[row]!,
        contextIds,
        contextAt,
        userIds,
        userAt,
        set.views[row]!,
      );
      addContext(
        context.subarray(index * dims.user, (index + 1) * dims.user),
        contextIds.subarray(contextAt, contextAt + contextWidth),
        set,
        model.context,
      );
    }
    for (const kind of ['exact', 'quantised'] as const) {
      const user = context.slice();
      const ad = new Float32Array(rows * dims.ad);
      for (let index = 0; index < rows; index++) {
        const userFrom = set.userIndex[from + start + index]! * dims.user;
        const adFrom = set.adIndex[from + start + index]! * dims.ad;
        for (let d = 0; d < dims.user; d++) user[index * dims.user + d]! += users[kind][userFrom + d]!;
        ad.set(ads[kind].subarray(adFrom, adFrom + dims.ad), index * dims.ad);
      }
      const result = await graph.run(
        { user: floats(user, rows, dims.user), ad: floats(ad, rows, dims.ad), cross: floats(cross, rows, crossWidth) },
        { logits: rows * dims.heads },
      );
      for (let index = 0; index < rows; index++) logits[kind][start + index] = result.logits[index * dims.heads]!;
    }
  }
  await graph.close();
  const calibrator = new CompiledCalibrator(model.calibration.heads.click.full);
  const outcomes = set.click.subarray(from);
  const probabilities = (of: Float32Array): Float64Array =>
    Float64Array.from(of, (each) => calibrator.q30(each) / 2 ** 30);
  const quality = (of: Float32Array): ScoredQuality => ({
    ...qualityOf(probabilities(of), outcomes, set.weight.subarray(from)),
    // Calibration may tie logits that were apart: the order is the model's own.
    auc: areaUnderCurve(of, outcomes),
  });
  const [before, after] = [probabilities(logits.exact), probabilities(logits.quantised)];
  const moved = before.map((each, index) => Math.abs(each - after[index]!));
  return {
    exact: quality(logits.exact),
    quantised: quality(logits.quantised),
    movedMean: moved.reduce((sum, each) => sum + each, 0) / count,
    movedMax: moved.reduce((most, each) => Math.max(most, each), 0),
    memoryRatio: (users.exact.byteLength + ads.exact.byteLength) / (users.int8Bytes + ads.int8Bytes),
  };
}

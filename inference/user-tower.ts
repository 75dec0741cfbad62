import { setImmediate as turn } from 'node:timers/promises';
import { bundleFiles, type BundleContent } from './bundle.ts';
import { placeCount } from './field-places.ts';
import { Tower } from './tower.ts';

/** Rows per run: large enough that the call costs nothing, small enough that the thread is never away for more than milliseconds. */
const rowsPerRun = 2048;

export function openUserTower({ schema, head, userTower }: BundleContent): Promise<Tower> {
  return Tower.open(userTower, bundleFiles.userTower.name, placeCount(schema.user), head.dims.user);
}

/**
 * Vectors of users, without context: what the stores keep under the bundle's tower version. `ids` holds, per user, the ids of
 * all user fields in the schema's order, the identity first; vectors come back in the same order, [count × dims.user],
 * in `vectors` when given.
 */
export async function userVectors(
  bundle: BundleContent,
  ids: Int32Array,
  count: number,
  onProgress: (done: number, total: number) => void = () => {},
  vectors: Float32Array = new Float32Array(count * bundle.head.dims.user),
): Promise<Float32Array> {
  const idsPerRow = placeCount(bundle.schema.user);
  if (ids.length < count * idsPerRow) throw new RangeError(`${count} users need ${count * idsPerRow} ids`);
  const dimension = bundle.head.dims.user;
  const tower = await openUserTower(bundle);
  try {
    for (let from = 0; from < count; from += rowsPerRun) {
      const rows = Math.min(rowsPerRun, count - from);
      const input = ids.slice(from * idsPerRow, (from + rows) * idsPerRow);
      vectors.set(await tower.vectors(input, rows), from * dimension);
      onProgress(from + rows, count);
      await turn();
    }
  } finally {
    await tower.close();
  }
  return vectors;
}

import type { CategoricalField } from '#inference/feature-schema.ts';
import { placeCount } from '#inference/field-places.ts';
import type { EntityTable, ImpressionSet } from './impression-set.ts';
import { TrainerError } from './trainer-errors.ts';

/** Ids of entities row by row, `Σ widths` places each, from the columns of a table; fields before `firstField` are left out. */
export function entityRows(
  fields: readonly CategoricalField[],
  { ids, values }: EntityTable,
  firstField = 0,
): Uint32Array {
  const width = placeCount(fields.slice(firstField));
  const rows = new Uint32Array(ids.length * width);
  let place = 0;
  for (let index = firstField; index < fields.length; index++) {
    const column = values[index]!;
    const fieldWidth = fields[index]!.width;
    for (let entity = 0; entity < ids.length; entity++) {
      for (let each = 0; each < fieldWidth; each++)
        rows[entity * width + place + each] = column[entity * fieldWidth + each]!;
    }
    place += fieldWidth;
  }
  return rows;
}

/** Rows `from` up to `to` of a set. */
export type RowRange = { readonly from: number; readonly to: number };

/** In the order of time: training never sees what calibration is fitted on, and neither sees what the figures are from. */
export type TrainingSplit = { readonly train: RowRange; readonly calibrate: RowRange; readonly check: RowRange };

/** Fewer would make calibrators and figures out of chance alone. */
const clicksMin = 10;
const rowsMin = 1000;

/** Splits by time. Throws `TRAINING_TOO_SMALL` when a part would have too few rows or clicks to mean anything. */
export function splitRows(set: ImpressionSet, calibrateShare: number, checkShare: number): TrainingSplit {
  const checkFrom = Math.floor(set.rowCount * (1 - checkShare));
  const calibrateFrom = Math.floor(set.rowCount * (1 - checkShare - calibrateShare));
  const split = {
    train: { from: 0, to: calibrateFrom },
    calibrate: { from: calibrateFrom, to: checkFrom },
    check: { from: checkFrom, to: set.rowCount },
  };
  if (set.rowCount < rowsMin)
    throw new TrainerError('TRAINING_TOO_SMALL', { detail: `${set.rowCount} rows; ${rowsMin} are needed.` });
  for (const [name, { from, to }] of Object.entries(split)) {
    let clicks = 0;
    for (let row = from; row < to; row++) clicks += set.click[row]!;
    if (clicks < clicksMin || clicks === to - from)
      throw new TrainerError('TRAINING_TOO_SMALL', {
        detail: `The part "${name}" has ${clicks} clicks in ${to - from} rows; at least ${clicksMin} of each outcome are needed.`,
      });
  }
  return split;
}

/** The rows of a range in a random order (Fisher–Yates). */
export function shuffledRows({ from, to }: RowRange, random: () => number): Uint32Array {
  const rows = Uint32Array.from({ length: to - from }, (_, index) => from + index);
  for (let last = rows.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    const row = rows[last]!;
    rows[last] = rows[other]!;
    rows[other] = row;
  }
  return rows;
}

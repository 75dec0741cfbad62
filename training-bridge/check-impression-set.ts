import type { CategoricalField } from '#inference/feature-schema.ts';
import type { EntityTable, ImpressionSet } from './impression-set.ts';
import { TrainerError } from './trainer-errors.ts';

/** Throws `IMPRESSIONS_INCONSISTENT`, naming the column, unless lengths fit, ids lie in their vocabularies and time goes forward. */
export function checkImpressionSet(set: ImpressionSet): void {
  const { schema, rowCount, users, ads } = set;
  for (const field of [...schema.user, ...schema.ad, ...schema.context]) {
    const { vocabulary } = field;
    if (vocabulary !== undefined && vocabulary.length !== field.size - 1)
      wrong(field.name, `${vocabulary.length} words for ids up to ${field.size - 1}`);
  }
  checkEntities('users', users, schema.user);
  checkEntities('ads', ads, schema.ad);
  const contextWidth = schema.context.reduce((sum, { width }) => sum + width, 0);
  const columns = ['userIndex', 'adIndex', 'views', 'timeMs', 'click', 'conversion', 'weight'] as const;
  for (const name of columns) hasLength(name, set[name].length, rowCount);
  hasLength('contextIds', set.contextIds.length, rowCount * contextWidth);
  isBelow('userIndex', set.userIndex, users.ids.length);
  isBelow('adIndex', set.adIndex, ads.ids.length);
  isBelow('click', set.click, 2);
  isBelow('conversion', set.conversion, 2);
  const limits = schema.context.flatMap(({ width, size }) => Array.from({ length: width }, () => size));
  for (let row = 0; row < rowCount; row++) {
    const at = row * contextWidth;
    for (let place = 0; place < contextWidth; place++) {
      if (set.contextIds[at + place]! >= limits[place]!)
        wrong('contextIds', `row ${row} holds ${set.contextIds[at + place]} where ${limits[place]} is the limit`);
    }
    if (!(set.weight[row]! >= 0 && set.weight[row]! < Number.POSITIVE_INFINITY))
      wrong('weight', `row ${row} weighs ${set.weight[row]}`);
    if (!Number.isFinite(set.timeMs[row]!) || (row > 0 && set.timeMs[row]! < set.timeMs[row - 1]!))
      wrong('timeMs', `row ${row} is earlier than the row before it, or has no time`);
    if (set.conversion[row]! > set.click[row]!) wrong('conversion', `row ${row} converts without a click`);
  }
}

function checkEntities(what: string, { ids, values }: EntityTable, fields: readonly CategoricalField[]): void {
  if (ids.length === 0) wrong(what, 'row 0, "unknown", is missing');
  hasLength(what, values.length, fields.length);
  for (const [index, { name, size, width }] of fields.entries()) {
    hasLength(`${what}.${name}`, values[index]!.length, ids.length * width);
    isBelow(`${what}.${name}`, values[index]!, size);
  }
}

function hasLength(column: string, length: number, wanted: number): void {
  if (length !== wanted) wrong(column, `${length} values where ${wanted} are needed`);
}

function isBelow(column: string, values: Uint8Array | Uint32Array, limit: number): void {
  for (let at = 0; at < values.length; at++) {
    if (values[at]! >= limit) wrong(column, `place ${at} holds ${values[at]}, the limit is ${limit}`);
  }
}

function wrong(column: string, why: string): never {
  throw new TrainerError('IMPRESSIONS_INCONSISTENT', { detail: `${column}: ${why}.` });
}

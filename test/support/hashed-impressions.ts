import { crossFeatureNames } from '#inference/feature-schema.ts';
import type { CategoricalField, FeatureSchema } from '#inference/feature-schema.ts';
import type { EntityTable, ImpressionSet } from '#training-bridge/impression-set.ts';
import { hashedWord, type ResearchRows } from './research-data.ts';

const fieldSize = 1 << 12;

/**
 * Anonymous fields as impressions, so that the whole trainer can be run on them: the first third of the fields describes the "user",
 * the last quarter the "ad", the rest the context. Every row is a user and an ad of its own without an identity (id 0).
 */
export function hashedImpressions({ fieldNames, outcomes, values }: ResearchRows): ImpressionSet {
  const rowCount = outcomes.length;
  const userEnd = Math.floor(fieldNames.length / 3);
  const adFrom = Math.floor(fieldNames.length * 0.75);
  const fields = (from: number, to: number): CategoricalField[] =>
    fieldNames.slice(from, to).map((name) => ({ name: `x_${name}`, size: fieldSize, width: 1 }));
  const idOf = (row: number, field: number): number =>
    values[row]![field] === '' ? 0 : 1 + (hashedWord(field, values[row]![field]!) % (fieldSize - 1));
  const identity = (name: string): CategoricalField => ({ name, size: 1, width: 1 });
  const schema: FeatureSchema = {
    version: 1,
    user: [identity('user'), ...fields(0, userEnd)],
    ad: [identity('ad'), ...fields(adFrom, fieldNames.length)],
    context: fields(userEnd, adFrom),
    cross: crossFeatureNames,
  };
  const table = (from: number, to: number): EntityTable => ({
    ids: ['', ...Array.from({ length: rowCount }, (_, row) => String(row))],
    values: [
      new Uint32Array(rowCount + 1),
      ...Array.from({ length: to - from }, (_, index) =>
        Uint32Array.from({ length: rowCount + 1 }, (_each, entity) =>
          entity === 0 ? 0 : idOf(entity - 1, from + index),
        ),
      ),
    ],
  });
  const own = Uint32Array.from({ length: rowCount }, (_, row) => row + 1);
  const contextWidth = adFrom - userEnd;
  return {
    schema,
    rowCount,
    users: table(0, userEnd),
    ads: table(adFrom, fieldNames.length),
    userIndex: own,
    adIndex: own,
    contextIds: Uint32Array.from({ length: rowCount * contextWidth }, (_, at) =>
      idOf(Math.floor(at / contextWidth), userEnd + (at % contextWidth)),
    ),
    views: new Uint8Array(rowCount),
    timeMs: Float64Array.from({ length: rowCount }, (_, row) => row),
    click: outcomes,
    conversion: new Uint8Array(rowCount),
    weight: new Float32Array(rowCount).fill(1),
  };
}

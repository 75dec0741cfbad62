import type { CategoricalField } from './feature-schema.ts';

/** How many ids one entity or row of these fields holds: the sum of their widths. */
export function placeCount(fields: readonly CategoricalField[]): number {
  return fields.reduce((sum, { width }) => sum + width, 0);
}

/** Position of a field by name, and where its ids begin; `undefined` when the schema has no such field. */
export function fieldPlace(
  fields: readonly CategoricalField[],
  name: string,
): { readonly field: CategoricalField; readonly index: number; readonly place: number } | undefined {
  const index = fields.findIndex((field) => field.name === name);
  if (index < 0) return undefined;
  return { field: fields[index]!, index, place: placeCount(fields.slice(0, index)) };
}

/**
 * For every id of `from`, the id of the same word in `to`, 0 when `to` has no such word: how "the ad's category is the page's
 * category" is asked without words. Fields without vocabularies share no words.
 */
export function sameWordIds(from: CategoricalField | undefined, to: CategoricalField | undefined): Uint32Array {
  const ids = new Uint32Array(from?.size ?? 1);
  const known = new Map((to?.vocabulary ?? []).map((word, position) => [word, position + 1]));
  for (const [position, word] of (from?.vocabulary ?? []).entries()) ids[position + 1] = known.get(word) ?? 0;
  return ids;
}

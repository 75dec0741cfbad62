/**
 * One categorical field of the model: ids 0..size-1, 0 = unknown or absent. `width` ids per entity or row (unused places 0).
 * With a vocabulary, id = position + 1; without one, ids were hashed by whoever made the rows.
 */
export type CategoricalField = {
  readonly name: string;
  readonly size: number;
  readonly width: number;
  readonly vocabulary?: readonly string[];
};

/** What the model reads, in the order in which rows hold it. Part of the bundle; a model with another schema is another model. */
export type FeatureSchema = {
  readonly version: 1;
  /** User tower inputs. The first field is the identity (`user`). */
  readonly user: readonly CategoricalField[];
  /** Ad tower inputs. The first field is the identity (`ad`). */
  readonly ad: readonly CategoricalField[];
  /** Per request; their embeddings are added to the user vector. */
  readonly context: readonly CategoricalField[];
  /** Names of the per-candidate numbers, in order: see `crossFeatureNames`. */
  readonly cross: readonly string[];
};

/** User fields that Gavelin's own traffic has. `segment` holds up to 8, among them the interests (= category ids). */
export const userFieldNames = ['user', 'age', 'gender', 'segment'] as const;
/** Ad fields: `size` is "banner:300x250", "video" or "native". */
export const adFieldNames = ['ad', 'line_item', 'advertiser', 'category', 'size'] as const;
/** Context fields. `site` is domain or bundle, `size` as for ads, `hour` and `day` are UTC. */
export const contextFieldNames = [
  'site',
  'site_category',
  'surface',
  'hour',
  'day',
  'device',
  'os',
  'country',
  'size',
  'language',
] as const;

/**
 * Per-candidate numbers of the head. The first four are the light ranker's logit for click and its parts, so the head
 * learns what the linear model got wrong; the rest are facts about the pair. Unused places stay 0; the last is always 1.
 */
export const crossFeatureNames = [
  'light_logit',
  'light_ad',
  'light_category',
  'light_advertiser',
  'line_item_views_log',
  'site_category_match',
  'interest_match',
  'size_match',
  'is_video',
  'is_native',
  'light_logit_squared',
  'light_conversion_logit',
  'hour_sin',
  'hour_cos',
  'reserved_14',
  'one',
] as const;

/** Vocabulary id of a word in a field: 0 when unknown. Build once per field, ask per request. */
export function vocabularyIndex(field: CategoricalField): ReadonlyMap<string, number> {
  return new Map((field.vocabulary ?? []).map((word, position) => [word, position + 1]));
}

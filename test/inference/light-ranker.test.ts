import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { adColumnsOf } from '#inference/ad-columns.ts';
import { CrossFeatures, crossWidth } from '#inference/cross-features.ts';
import { crossFeatureNames, type CategoricalField } from '#inference/feature-schema.ts';
import { fieldPlace, placeCount, sameWordIds } from '#inference/field-places.ts';
import { LightRanker, type RankerHead } from '#inference/light-ranker.ts';
import { smallAdWords, smallSchema, smallTrainedModel } from '../support/small-model.ts';

const adCount = 60;
const schema = smallSchema({ adCount });
const vocabularyId = (field: CategoricalField, word: string): number => field.vocabulary!.indexOf(word) + 1;
/** Row r is ad r; the last row is an ad that the model has never heard of. */
const adIds = Array.from({ length: adCount + 1 }, (_, ad) =>
  schema.ad.map((field, index) => (ad === adCount ? 0 : vocabularyId(field, smallAdWords(ad)[index]!))),
);
const adValues = schema.ad.map((_, field) => Uint32Array.from(adIds, (ids) => ids[field]!));
const { ranker: weights } = await smallTrainedModel(11);
const columns = adColumnsOf(schema, weights, adValues, adIds.length);

const idsOf = (fields: readonly CategoricalField[]): fc.Arbitrary<number[]> =>
  fc.tuple(
    ...fields.flatMap(({ size, width }) => Array.from({ length: width }, () => fc.integer({ min: 0, max: size - 1 }))),
  );
const request = fc.record({ context: idsOf(schema.context), user: idsOf(schema.user.slice(1)) });

type Parts = { request: number; ad: number; category: number; advertiser: number };

/** The model's formula in float64, word for word from the docstring of `RankerHead`; nothing is shared with the ranker. */
function naiveParts(head: RankerHead, context: number[], user: number[], ad: number[]): Parts {
  const category = ad[3]!;
  const advertiser = ad[2]!;
  const parts: Parts = { request: head.bias, ad: 0, category: 0, advertiser: 0 };
  for (const [field, id] of context.entries()) {
    parts.request += head.context[field]![id]!;
    parts.category += head.contextByCategory[field]![id * schema.ad[3]!.size + category]!;
  }
  const [age, gender, ...segments] = user;
  const used = [[1, age!], [2, gender!], ...segments.filter((id) => id > 0).map((id) => [3, id])] as [number, number][];
  for (const [field, id] of used) {
    parts.request += head.user[field]![id]!;
    parts.category += head.userByCategory[field]![id * schema.ad[3]!.size + category]!;
  }
  const word = schema.ad[3]!.vocabulary![category - 1];
  if (word !== undefined && segments.some((id) => schema.user[3]!.vocabulary![id - 1] === word))
    parts.category += head.interestMatch;
  if (word !== undefined && schema.context[1]!.vocabulary![context[1]! - 1] === word) parts.category += head.siteMatch;
  for (const [field, id] of ad.entries()) parts.ad += head.ad[field]![id]!;
  for (const [name, crossed] of Object.entries(head.contextByAdvertiser)) {
    const place = schema.context.findIndex((field) => field.name === name);
    parts.advertiser += crossed[context[place]! * schema.ad[2]!.size + advertiser]!;
  }
  return parts;
}

const total = (parts: Parts): number => parts.request + parts.ad + parts.category + parts.advertiser;

describe('the light ranker', () => {
  const ranker = new LightRanker(schema, weights, columns);
  const rows = Uint32Array.from(adIds, (_, row) => row);

  test('scores as the plain sum over features does', () => {
    fc.assert(
      fc.property(request, ({ context, user }) => {
        ranker.prepare(Uint32Array.from(context), Uint32Array.from(user));
        const logits = new Float32Array(rows.length);
        ranker.score(rows, rows.length, logits);
        for (const [row, ids] of adIds.entries()) {
          const click = naiveParts(weights.click, context, user, ids);
          expect(logits[row]).toBeCloseTo(total(click), 5);
          expect(ranker.categorySums[columns.category[row]!]).toBeCloseTo(click.category, 9);
          expect(ranker.advertiserSums[columns.advertiser[row]!]).toBeCloseTo(click.advertiser, 9);
          expect(ranker.conversionLogit(row)).toBeCloseTo(total(naiveParts(weights.conversion, context, user, ids)), 5);
        }
        const conversions = new Float32Array(2 * rows.length);
        ranker.conversionLogitsInto(conversions, 1, 2, rows, 0, rows.length);
        for (const row of rows) expect(conversions[1 + 2 * row]).toBe(Math.fround(ranker.conversionLogit(row)));
      }),
      { numRuns: 50 },
    );
  });

  test('scores only what it is asked for, in that order, repeats included', () => {
    ranker.prepare(new Uint32Array(placeCount(schema.context)), new Uint32Array(10));
    const all = new Float32Array(rows.length);
    ranker.score(rows, rows.length, all);
    const logits = new Float32Array(4).fill(7);
    ranker.score(Uint32Array.of(5, 59, 5, 1), 3, logits);
    expect([...logits]).toEqual([all[5], all[59], all[5], 7]);
  });

  test('scores the same without advertiser crosses as with crosses that weigh nothing', () => {
    const plain = (head: RankerHead): RankerHead => ({ ...head, contextByAdvertiser: {} });
    const zero = (head: RankerHead): RankerHead => ({
      ...head,
      contextByAdvertiser: { device: new Float32Array(head.contextByAdvertiser['device']!.length) },
    });
    const scores = [plain, zero].map((change) => {
      const changed = { click: change(weights.click), conversion: change(weights.conversion) };
      const other = new LightRanker(schema, changed, columns);
      other.prepare(Uint32Array.of(1, 2, 1, 5, 2, 1, 1, 1, 1, 1), new Uint32Array(10));
      const logits = new Float32Array(rows.length);
      other.score(rows, rows.length, logits);
      return [...logits, other.conversionLogit(3)];
    });
    expect(scores[0]).toEqual(scores[1]);
  });

  test('keeps nothing of the ids: the buffers of a request are used for the next one', () => {
    const context = Uint32Array.of(1, 2, 1, 5, 2, 3, 1, 1, 1, 1);
    const user = Uint32Array.of(1, 1, 2, 3, 0, 0, 0, 0, 0, 0);
    ranker.prepare(context, user);
    const answers = (): number[] => [ranker.clickLogit(3), ranker.conversionLogit(3), ...ranker.interestMatches];
    const before = answers();
    context.fill(0);
    user.fill(0);
    expect(answers()).toEqual(before);
  });

  test('gives ids that it does not know no weight, and stays finite', () => {
    ranker.prepare(new Uint32Array(placeCount(schema.context)).fill(4_000_000_000), new Uint32Array(10).fill(999));
    const logits = new Float32Array(rows.length);
    ranker.score(rows, rows.length, logits);
    expect(logits.every(Number.isFinite)).toBe(true);
    expect(Number.isFinite(ranker.conversionLogit(0))).toBe(true);
  });
});

describe('cross features', () => {
  const serving = new LightRanker(schema, weights, columns);
  const servingCross = new CrossFeatures(schema, serving);
  const training = new LightRanker(schema, weights, columns);
  const trainingCross = new CrossFeatures(schema, training);

  test('are the same to the last bit in serving and in training', () => {
    // Training reads impressions out of long columns, in any order; serving one request at a time.
    const impression = fc.record({ request, row: fc.nat(adIds.length - 1), views: fc.nat(300) });
    fc.assert(
      fc.property(fc.array(impression, { minLength: 1, maxLength: 20 }), (impressions) => {
        const contextIds = Uint32Array.from(impressions.flatMap((each) => each.request.context));
        const userIds = Uint32Array.from(impressions.flatMap((each) => each.request.user));
        for (const [
          index,
          {
            request: { context, user },
            row,
            views,
          },
        ] of impressions.entries()) {
          const trained = new Float32Array(crossWidth);
          trainingCross.oneInto(
            trained,
            0,
            row,
            contextIds,
            index * context.length,
            userIds,
            index * user.length,
            views,
          );
          const served = new Float32Array(crossWidth * 3);
          serving.prepare(Uint32Array.from(context), Uint32Array.from(user));
          servingCross.prepare(Uint32Array.from(context), 0);
          servingCross.rowsInto(served, 0, Uint32Array.of(9, (row + 1) % adIds.length, row), 1, 2);
          servingCross.viewsInto(served, crossWidth, views);
          expect([...served.subarray(crossWidth, 2 * crossWidth)]).toEqual([...trained]);
          const logits = new Float32Array(1);
          serving.score(Uint32Array.of(row), 1, logits);
          expect(served[crossWidth]).toBe(logits[0]);
        }
      }),
      { numRuns: 50 },
    );
  });

  /** Cross features of ad `ad` (from 0) by name, for words of a request. */
  function featuresOf(
    ad: number,
    words: Record<string, string>,
    segments: string[],
    views = 0,
  ): Record<string, number> {
    const context = Uint32Array.from(schema.context, (field) => vocabularyId(field, words[field.name] ?? ''));
    const user = new Uint32Array(10);
    for (const [index, word] of segments.entries()) user[2 + index] = vocabularyId(schema.user[3]!, word);
    const target = new Float32Array(crossWidth);
    servingCross.oneInto(target, 0, ad, context, 0, user, 0, views);
    return Object.fromEntries(crossFeatureNames.map((name, index) => [name, target[index]!]));
  }

  test('tell what their names say', () => {
    // Ad 12 (from 0): adv2, IAB2, size banner:728x90; ad 13 is a video, ad 14 native.
    expect(smallAdWords(12)).toEqual(['ad13', 'li4', 'adv2', 'IAB2', 'banner:728x90']);
    const words = { site_category: 'IAB2', size: 'banner:728x90', hour: '6' };
    const banner = featuresOf(12, words, ['seg01', 'IAB2'], 3);
    expect(banner).toMatchObject({
      site_category_match: 1,
      interest_match: 1,
      size_match: 1,
      is_video: 0,
      is_native: 0,
      line_item_views_log: Math.fround(Math.log(4)),
      hour_sin: 1,
      reserved_14: 0,
      one: 1,
    });
    expect(banner['hour_cos']).toBeCloseTo(0, 7);
    expect(banner['light_logit_squared']).toBeCloseTo((banner['light_logit']! / 4) ** 2, 5);
    const { light_logit, light_ad, light_category, light_advertiser } = banner;
    const ids = schema.context.map((field) => vocabularyId(field, (words as Record<string, string>)[field.name] ?? ''));
    const user = [
      0,
      0,
      vocabularyId(schema.user[3]!, 'seg01'),
      vocabularyId(schema.user[3]!, 'IAB2'),
      0,
      0,
      0,
      0,
      0,
      0,
    ];
    const parts = naiveParts(weights.click, ids, user, adIds[12]!);
    expect(light_logit).toBeCloseTo(total(parts), 5);
    expect([light_ad, light_category, light_advertiser].map((each) => each!.toFixed(4))).toEqual(
      [parts.ad, parts.category, parts.advertiser].map((each) => each.toFixed(4)),
    );
    expect(featuresOf(13, words, ['IAB3'])).toMatchObject({ is_video: 1, size_match: 0, interest_match: 0 });
    expect(featuresOf(14, words, [], 1000)).toMatchObject({
      is_native: 1,
      line_item_views_log: Math.fround(Math.log(256)),
    });
  });

  test('know nothing about what is unknown', () => {
    const unknown = featuresOf(adCount, {}, []);
    for (const name of ['site_category_match', 'interest_match', 'size_match', 'is_video', 'hour_sin', 'hour_cos'])
      expect(unknown[name]).toBe(0);
    expect(featuresOf(12, { hour: '18' }, [])).toMatchObject({ hour_sin: -1 });
  });
});

test('places and words of fields', () => {
  expect(placeCount(schema.user)).toBe(11);
  expect(fieldPlace(schema.user, 'segment')).toMatchObject({ index: 3, place: 3 });
  expect(fieldPlace(schema.user, 'none')).toBeUndefined();
  const ids = sameWordIds(schema.user[3], schema.ad[3]);
  expect([...ids]).toEqual([0, 1, 2, 3, 4, 5, 0, 0, 0]);
  expect([...sameWordIds({ name: 'x', size: 3, width: 1 }, schema.ad[3])]).toEqual([0, 0, 0]);
});

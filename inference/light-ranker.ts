import type { AdColumns } from './ad-columns.ts';
import { type AdvertiserCross, KeptAdvertiserSums, sumAdvertiserWeights } from './advertiser-sums.ts';
import type { CategoricalField, FeatureSchema } from './feature-schema.ts';
import { fieldPlace, placeCount, sameWordIds } from './field-places.ts';
import { VectorProfile, vectorProfileColumns, type VectorProfileWeights } from './vector-profile.ts';

/**
 * A linear model of one outcome. Lists hold one array per field of the schema, in its order; an empty array stands for a
 * field that the model does not use. The identity of the user (first user field) is never used: users come and go, and a
 * ranker of two thousand ads per request wants what is shared between them.
 */
export type RankerHead = {
  readonly bias: number;
  /** Weight of every id of a field; id 0 (unknown) has a weight too. */
  readonly user: readonly Float32Array[];
  readonly ad: readonly Float32Array[];
  readonly context: readonly Float32Array[];
  /** [size of the field × size of the ad field `category`], row-major. */
  readonly contextByCategory: readonly Float32Array[];
  readonly userByCategory: readonly Float32Array[];
  /** By name of a context field: [its size × size of the ad field `advertiser`]. Few fields; none beyond 4,096 advertisers. */
  readonly contextByAdvertiser: Readonly<Record<string, Float32Array>>;
  /** Added when the ad's category is among the user's segments, or is the site's category (same word). */
  readonly interestMatch: number;
  readonly siteMatch: number;
};

export type LightRankerWeights = {
  readonly click: RankerHead;
  readonly conversion: RankerHead;
  /** For users of whom nothing but their vector is known; undefined: then nothing is known of them. */
  readonly vectorProfile?: VectorProfileWeights;
};

/** More advertisers than this would make the sums per request dearer than what they add: see `contextByAdvertiser`. */
export const crossedAdvertiserCountMax = 4096;

/** One place of ids, with the weights that it picks from. */
type Place = {
  readonly place: number;
  /** In a field wider than one, 0 is an empty place. */
  readonly skipsZero: boolean;
  readonly main: Float32Array;
  readonly byCategory: Float32Array;
};

const noWeights = new Float32Array(0);

function placesOf(
  fields: readonly CategoricalField[],
  main: readonly Float32Array[],
  byCategory: readonly Float32Array[],
  firstField: number,
): readonly Place[] {
  const places: Place[] = [];
  for (let field = firstField, place = 0; field < fields.length; field++) {
    for (let index = 0; index < fields[field]!.width; index++, place++) {
      const weights = { main: main[field] ?? noWeights, byCategory: byCategory[field] ?? noWeights };
      if (weights.main.length > 0 || weights.byCategory.length > 0)
        places.push({ place, skipsZero: fields[field]!.width > 1, ...weights });
    }
  }
  return places;
}

/** The sums of one outcome for the request in hand. Float64: the same order of additions then gives the same number everywhere. */
class PreparedHead {
  readonly category: Float64Array;
  readonly advertiserCrosses: readonly AdvertiserCross[];
  request = 0;
  readonly #head: RankerHead;
  readonly #context: readonly Place[];
  readonly #user: readonly Place[];

  constructor(schema: FeatureSchema, head: RankerHead, categoryCount: number) {
    this.#head = head;
    this.category = new Float64Array(categoryCount);
    this.#context = placesOf(schema.context, head.context, head.contextByCategory, 0);
    // Ids of users reach the ranker without the identity, so places count from the second field.
    this.#user = placesOf(schema.user, head.user, head.userByCategory, 1);
    this.advertiserCrosses = Object.keys(head.contextByAdvertiser)
      .toSorted()
      .flatMap((name) => {
        const found = fieldPlace(schema.context, name);
        return found === undefined ? [] : [{ place: found.place, weights: head.contextByAdvertiser[name]! }];
      });
  }

  /** Sums for the categories from `first` up to `end`: all of them when serving, the one of a row when training. */
  prepare(
    contextIds: Uint32Array,
    contextAt: number,
    userIds: Uint32Array,
    userAt: number,
    first: number,
    end: number,
    siteCategory: number,
    interests: Uint32Array,
    interestCount: number,
  ): void {
    this.request = this.#head.bias;
    const { category } = this;
    category.fill(0, first, end);
    this.#add(this.#context, contextIds, contextAt, first, end);
    this.#add(this.#user, userIds, userAt, first, end);
    if (siteCategory > 0 && siteCategory >= first && siteCategory < end)
      category[siteCategory] = category[siteCategory]! + this.#head.siteMatch;
    for (let index = 0; index < interestCount; index++) {
      const interest = interests[index]!;
      if (interest >= first && interest < end) category[interest] = category[interest]! + this.#head.interestMatch;
    }
  }

  /** Adds parts from elsewhere: the request's own at `at`, one per category behind it. */
  addParts(parts: Float64Array, at: number, first: number, end: number): void {
    const { category } = this;
    this.request += parts[at]!;
    for (let each = first; each < end; each++) category[each] = category[each]! + parts[at + 1 + each]!;
  }

  #add(places: readonly Place[], ids: Uint32Array, at: number, first: number, end: number): void {
    const { category } = this;
    const width = category.length;
    for (let index = 0; index < places.length; index++) {
      const { place, skipsZero, main, byCategory } = places[index]!;
      const id = ids[at + place]!;
      if (id === 0 && skipsZero) continue;
      if (id < main.length) this.request += main[id]!;
      const base = id * width;
      if (base + width > byCategory.length) continue;
      for (let each = first; each < end; each++) category[each] = category[each]! + byCategory[base + each]!;
    }
  }
}

/**
 * The linear model over thousands of ads per request. What depends on the ad alone is one number per row, what crosses the
 * request with a category or an advertiser is summed once per request, so a row costs three gathers:
 *
 *   logit = light_ad[row] + (request + category sum)[category of row] + advertiser sum[advertiser of row]
 */
export class LightRanker {
  readonly ads: AdColumns;
  readonly #click: PreparedHead;
  readonly #conversion: PreparedHead;
  /** Of the request in hand, for whoever reads many rows: parts of `clickLogit` by category (`categoryBase` with the request's own). */
  readonly categoryBase: Float64Array;
  readonly categorySums: Float64Array;
  /** … by advertiser. */
  advertiserSums: Float64Array;
  /** 1 for categories that are among the user's segments (same word); between 0 and 1 where a vector makes it likely. */
  readonly interestMatches: Float32Array;
  /** The site's category (same word), 0 unknown. */
  siteCategory = 0;
  readonly #advertiserCount: number;
  readonly #keptSums: KeptAdvertiserSums;
  /** For `prepareFor`, which sums up one advertiser. */
  readonly #ownSums: Float64Array;
  readonly #vectorProfile: VectorProfile | undefined;
  readonly #contextCategory: Uint32Array;
  readonly #contextCategoryPlace: number;
  readonly #segmentCategory: Uint32Array;
  readonly #segmentPlace: number;
  readonly #segmentCount: number;
  readonly #interests: Uint32Array;
  #interestCount = 0;
  #conversionSums = new Float64Array(256);
  /** Where the rows of the conversion head's advertiser crosses begin, for the request in hand. */
  readonly #conversionCrossAt: Float64Array;

  constructor(schema: FeatureSchema, weights: LightRankerWeights, ads: AdColumns) {
    this.ads = ads;
    const category = fieldPlace(schema.ad, 'category')?.field;
    const categoryCount = category?.size ?? 1;
    const advertiserCount = fieldPlace(schema.ad, 'advertiser')?.field.size ?? 1;
    this.#click = new PreparedHead(schema, weights.click, categoryCount);
    this.#conversion = new PreparedHead(schema, weights.conversion, categoryCount);
    this.#advertiserCount = advertiserCount;
    this.#keptSums = new KeptAdvertiserSums(this.#click.advertiserCrosses, advertiserCount);
    this.#ownSums = new Float64Array(advertiserCount);
    this.advertiserSums = this.#ownSums;
    this.#conversionCrossAt = new Float64Array(this.#conversion.advertiserCrosses.length);
    this.categoryBase = new Float64Array(categoryCount);
    this.categorySums = this.#click.category;
    this.interestMatches = new Float32Array(categoryCount);
    if (weights.vectorProfile !== undefined)
      this.#vectorProfile = new VectorProfile(weights.vectorProfile, categoryCount);
    const siteCategory = fieldPlace(schema.context, 'site_category');
    this.#contextCategory = sameWordIds(siteCategory?.field, category);
    this.#contextCategoryPlace = siteCategory?.place ?? -1;
    const segment = fieldPlace(schema.user, 'segment');
    this.#segmentCategory = sameWordIds(segment?.field, category);
    this.#segmentPlace = segment === undefined ? 0 : segment.place - placeCount(schema.user.slice(0, 1));
    this.#segmentCount = segment?.field.width ?? 0;
    this.#interests = new Uint32Array(this.#segmentCount);
  }

  /**
   * Once per imp, before anything below. `userIds` begin after the identity: age, gender, segments. `vector`: of a user whose ids are
   * lost (and then all 0); what it says of them is added.
   */
  prepare(contextIds: Uint32Array, userIds: Uint32Array, vector?: Float32Array): void {
    this.advertiserSums = this.#keptSums.of(contextIds);
    this.#prepare(contextIds, 0, userIds, 0, 0, this.categoryBase.length, vector);
  }

  /** As `prepare`, for one ad row only: the trainer's way, same numbers. Ids begin at the given places of long columns. */
  prepareFor(
    row: number,
    contextIds: Uint32Array,
    contextAt: number,
    userIds: Uint32Array,
    userAt: number,
    vector?: Float32Array,
  ): void {
    const category = this.ads.category[row]!;
    const advertiser = this.ads.advertiser[row]!;
    const { advertiserCrosses } = this.#click;
    sumAdvertiserWeights(this.#ownSums, advertiserCrosses, contextIds, contextAt, advertiser, advertiser + 1);
    this.advertiserSums = this.#ownSums;
    this.#prepare(contextIds, contextAt, userIds, userAt, category, category + 1, vector);
  }

  /** Of the request in hand, after `prepare`: all that user ids have a say in, in the columns of a vector profile. */
  partsInto(target: Float64Array): void {
    const { click, conversion, interest } = vectorProfileColumns(this.categoryBase.length);
    target[click] = this.#click.request;
    target.set(this.#click.category, click + 1);
    target[conversion] = this.#conversion.request;
    target.set(this.#conversion.category, conversion + 1);
    target.set(this.interestMatches, interest);
  }

  /** Logits of click for `count` rows. */
  score(rows: Uint32Array, count: number, logits: Float32Array): void {
    const { lightClick, category, advertiser } = this.ads;
    const base = this.categoryBase;
    const sums = this.advertiserSums;
    if (this.#click.advertiserCrosses.length === 0) {
      for (let index = 0; index < count; index++) {
        const row = rows[index]!;
        logits[index] = lightClick[row]! + base[category[row]!]!;
      }
      return;
    }
    for (let index = 0; index < count; index++) {
      const row = rows[index]!;
      logits[index] = lightClick[row]! + base[category[row]!]! + sums[advertiser[row]!]!;
    }
  }

  /** What `score` gives for one row, before it is rounded to float32. */
  clickLogit(row: number): number {
    const { lightClick, category, advertiser } = this.ads;
    return lightClick[row]! + this.categoryBase[category[row]!]! + this.advertiserSums[advertiser[row]!]!;
  }

  /** `conversionLogit` of many rows, `stride` places apart from `at` on: summed part by part, which saves a third of the time. */
  conversionLogitsInto(
    target: Float32Array,
    at: number,
    stride: number,
    rows: Uint32Array,
    from: number,
    count: number,
  ): void {
    if (this.#conversionSums.length < count) this.#conversionSums = new Float64Array(count);
    const logits = this.#conversionSums;
    const { lightConversion, category, advertiser } = this.ads;
    const { request, category: sums, advertiserCrosses } = this.#conversion;
    for (let index = 0; index < count; index++) {
      const row = rows[from + index]!;
      logits[index] = lightConversion[row]! + request + sums[category[row]!]!;
    }
    for (let cross = 0; cross < advertiserCrosses.length; cross++) {
      const { weights } = advertiserCrosses[cross]!;
      if (this.#conversionCrossAt[cross]! >= weights.length) continue;
      const crossAt = this.#conversionCrossAt[cross]! | 0;
      for (let index = 0; index < count; index++) {
        const place = crossAt + advertiser[rows[from + index]!]!;
        if (place < weights.length) logits[index] = logits[index]! + weights[place]!;
      }
    }
    for (let index = 0; index < count; index++) target[at + index * stride] = logits[index]!;
  }

  conversionLogit(row: number): number {
    const { lightConversion, category, advertiser } = this.ads;
    const { request, category: sums, advertiserCrosses } = this.#conversion;
    let logit = lightConversion[row]! + request + sums[category[row]!]!;
    // Asked for hundreds of rows, not thousands: summing as needed costs less than a sum per advertiser.
    for (let index = 0; index < advertiserCrosses.length; index++) {
      const { weights } = advertiserCrosses[index]!;
      const at = this.#conversionCrossAt[index]! + advertiser[row]!;
      if (at < weights.length) logit += weights[at]!;
    }
    return logit;
  }

  #prepare(
    contextIds: Uint32Array,
    contextAt: number,
    userIds: Uint32Array,
    userAt: number,
    firstCategory: number,
    endCategory: number,
    vector: Float32Array | undefined,
  ): void {
    const sitePlace = this.#contextCategoryPlace;
    this.siteCategory = sitePlace < 0 ? 0 : (this.#contextCategory[contextIds[contextAt + sitePlace]!] ?? 0);
    this.#collectInterests(userIds, userAt);
    this.interestMatches.fill(0, firstCategory, endCategory);
    for (let index = 0; index < this.#interestCount; index++) this.interestMatches[this.#interests[index]!] = 1;
    for (let head = 0; head < 2; head++) {
      const prepared = head === 0 ? this.#click : this.#conversion;
      prepared.prepare(
        contextIds,
        contextAt,
        userIds,
        userAt,
        firstCategory,
        endCategory,
        this.siteCategory,
        this.#interests,
        this.#interestCount,
      );
    }
    if (vector !== undefined) this.#addVector(vector, firstCategory, endCategory);
    const { request, category } = this.#click;
    for (let each = firstCategory; each < endCategory; each++) this.categoryBase[each] = request + category[each]!;
    for (let index = 0; index < this.#conversionCrossAt.length; index++) {
      const { place } = this.#conversion.advertiserCrosses[index]!;
      this.#conversionCrossAt[index] = contextIds[contextAt + place]! * this.#advertiserCount;
    }
  }

  #addVector(vector: Float32Array, firstCategory: number, endCategory: number): void {
    const profile = this.#vectorProfile;
    if (profile === undefined) return;
    profile.read(vector);
    const { said } = profile;
    const { click, conversion, interest } = vectorProfileColumns(this.categoryBase.length);
    this.#click.addParts(said, click, firstCategory, endCategory);
    this.#conversion.addParts(said, conversion, firstCategory, endCategory);
    for (let each = firstCategory; each < endCategory; each++)
      this.interestMatches[each] = Math.min(1, Math.max(0, said[interest + each]!));
  }

  /** The distinct categories among the user's segments. */
  #collectInterests(userIds: Uint32Array, userAt: number): void {
    const interests = this.#interests;
    let count = 0;
    for (let index = 0; index < this.#segmentCount; index++) {
      const category = this.#segmentCategory[userIds[userAt + this.#segmentPlace + index]!] ?? 0;
      if (category === 0) continue;
      let isNew = true;
      for (let each = 0; each < count; each++) if (interests[each] === category) isNew = false;
      if (isNew) interests[count++] = category;
    }
    this.#interestCount = count;
  }
}

import { AdColumnFiller, type AdColumns, allocateAdColumns } from '#inference/ad-columns.ts';
import { CrossFeatures, crossWidth } from '#inference/cross-features.ts';
import type { CategoricalField, FeatureSchema } from '#inference/feature-schema.ts';
import { fieldPlace, placeCount } from '#inference/field-places.ts';
import {
  crossedAdvertiserCountMax,
  LightRanker,
  type LightRankerWeights,
  type RankerHead,
} from '#inference/light-ranker.ts';
import { Ftrl, type FtrlOptions, sigmoid } from './ftrl.ts';
import type { ImpressionSet } from './impression-set.ts';
import { entityRows, type RowRange } from './training-rows.ts';

/** Found on the demo log of 1 M rows, like the shares below: see README. */
export const clickFtrl: FtrlOptions = { alpha: 0.09, beta: 1, l1: 0.1, l2: 1 };
export const conversionFtrl: FtrlOptions = { alpha: 0.02, beta: 1, l1: 0, l2: 0 };

/**
 * Factors of α by field. An id with dozens of clicks is worth learning from at once, and the square root in FTRL's rate is slow to do
 * so; what only tells the time or the machine hardly changes what people like, so its many crosses learn little and noise least.
 */
const mainShares: Readonly<Record<string, number>> = { site: 2.8, advertiser: 2.2 };
const crossShares: Readonly<Record<string, number>> = {
  hour: 0.33,
  day: 0.33,
  os: 0.33,
  language: 0.33,
  country: 0.33,
  size: 0.33,
};
const advertiserCrossShare = 0.33;

/** Context fields that are crossed with the advertiser: small ones, whose effect differs from one advertiser to the next. */
const advertiserCrossNames = ['site_category', 'device'];

/** One place of ids: where its main effects and its crosses with the ad's category begin among the slots. */
type SlotPlace = {
  readonly place: number;
  readonly skipsZero: boolean;
  readonly main: number;
  readonly byCategory: number;
};

/** Where everything that `RankerHead` lists lies in one row of slots; both heads share the layout. */
class SlotLayout {
  readonly bias = 0;
  readonly interestMatch = 1;
  readonly siteMatch = 2;
  readonly user: readonly SlotPlace[];
  readonly ad: readonly SlotPlace[];
  readonly context: readonly SlotPlace[];
  readonly advertiserCrosses: readonly {
    readonly name: string;
    readonly place: number;
    readonly size: number;
    readonly start: number;
  }[];
  readonly categoryPlace: number;
  readonly categoryCount: number;
  readonly advertiserPlace: number;
  readonly advertiserCount: number;
  readonly slotsPerRowMax: number;
  readonly rateShares: Float32Array;
  slotCount = 3;
  readonly #shares: { readonly start: number; readonly count: number; readonly share: number }[] = [];

  constructor(schema: FeatureSchema) {
    const category = fieldPlace(schema.ad, 'category');
    const advertiser = fieldPlace(schema.ad, 'advertiser');
    this.categoryPlace = category?.place ?? -1;
    this.categoryCount = category?.field.size ?? 0;
    this.advertiserPlace = advertiser?.place ?? -1;
    this.advertiserCount = advertiser?.field.size ?? 0;
    this.user = this.#places(schema.user.slice(1), true);
    this.ad = this.#places(schema.ad, false);
    this.context = this.#places(schema.context, true);
    const crossed = this.advertiserCount <= crossedAdvertiserCountMax ? advertiserCrossNames.toSorted() : [];
    this.advertiserCrosses = crossed.flatMap((name) => {
      const found = advertiser === undefined ? undefined : fieldPlace(schema.context, name);
      if (found === undefined) return [];
      const { size } = found.field;
      return [{ name, place: found.place, size, start: this.#take(size * this.advertiserCount, advertiserCrossShare) }];
    });
    this.slotsPerRowMax =
      3 + this.ad.length + 2 * (this.user.length + this.context.length) + this.advertiserCrosses.length;
    this.rateShares = new Float32Array(this.slotCount).fill(1);
    for (const { start, count, share } of this.#shares) this.rateShares.fill(share, start, start + count);
  }

  #places(fields: readonly CategoricalField[], isCrossed: boolean): SlotPlace[] {
    const places: SlotPlace[] = [];
    for (const { name, size, width } of fields) {
      const main = this.#take(size, mainShares[name] ?? 1);
      const byCategory = isCrossed ? this.#take(size * this.categoryCount, crossShares[name] ?? 1) : -1;
      for (let index = 0; index < width; index++)
        places.push({ place: places.length, skipsZero: width > 1, main, byCategory });
    }
    return places;
  }

  #take(count: number, share: number): number {
    const start = this.slotCount;
    this.#shares.push({ start, count, share });
    this.slotCount += count;
    return start;
  }
}

/** The parts of a head that are plain numbers follow the slots when asked to: the lists are windows on the weights themselves. */
type LiveHead = { -readonly [Part in keyof RankerHead]: RankerHead[Part] };

function liveHead(layout: SlotLayout, schema: FeatureSchema, weights: Float32Array): LiveHead {
  const window = (start: number, length: number): Float32Array => weights.subarray(start, start + length);
  const none = new Float32Array(0);
  const firstOf = (fields: readonly CategoricalField[], places: readonly SlotPlace[]): readonly SlotPlace[] =>
    fields.map((_, index) => places[placeCount(fields.slice(0, index))]!);
  const main = (fields: readonly CategoricalField[], places: readonly SlotPlace[]): Float32Array[] =>
    firstOf(fields, places).map(({ main: start }, index) => window(start, fields[index]!.size));
  const crosses = (fields: readonly CategoricalField[], places: readonly SlotPlace[]): Float32Array[] =>
    firstOf(fields, places).map(({ byCategory }, index) =>
      window(byCategory, fields[index]!.size * layout.categoryCount),
    );
  const people = schema.user.slice(1);
  return {
    bias: 0,
    user: [none, ...main(people, layout.user)],
    ad: main(schema.ad, layout.ad),
    context: main(schema.context, layout.context),
    contextByCategory: crosses(schema.context, layout.context),
    userByCategory: [none, ...crosses(people, layout.user)],
    contextByAdvertiser: Object.fromEntries(
      layout.advertiserCrosses.map(({ name, size, start }) => [name, window(start, size * layout.advertiserCount)]),
    ),
    interestMatch: 0,
    siteMatch: 0,
  };
}

/**
 * Trains the light ranker on rows in the order of time, and makes the cross features of every row *before* learning from it:
 * the ranker's logit in them is then an honest guess, as in serving, and the head does not learn to trust a number that knew the answer.
 */
export class LightRankerTrainer {
  readonly #set: ImpressionSet;
  readonly #layout: SlotLayout;
  readonly #click: Ftrl;
  readonly #conversion: Ftrl;
  readonly #clickHead: LiveHead;
  readonly #conversionHead: LiveHead;
  readonly #ads: AdColumns;
  readonly #filler: AdColumnFiller;
  readonly #cross: CrossFeatures;
  readonly #userRows: Uint32Array;
  readonly #adRows: Uint32Array;
  readonly #userWidth: number;
  readonly #adWidth: number;
  readonly #contextWidth: number;
  readonly #slots: Uint32Array;

  constructor(set: ImpressionSet, train: RowRange) {
    const { schema } = set;
    this.#set = set;
    this.#layout = new SlotLayout(schema);
    const { clicks, conversions, weight } = outcomes(set, train);
    this.#click = new Ftrl(this.#layout.slotCount, clickFtrl, this.#layout.rateShares);
    this.#conversion = new Ftrl(this.#layout.slotCount, conversionFtrl, this.#layout.rateShares);
    this.#click.startAt(this.#layout.bias, logOdds(clicks, weight));
    this.#conversion.startAt(this.#layout.bias, logOdds(conversions, clicks));
    this.#clickHead = liveHead(this.#layout, schema, this.#click.weights);
    this.#conversionHead = liveHead(this.#layout, schema, this.#conversion.weights);
    const weights = { click: this.#clickHead, conversion: this.#conversionHead };
    this.#ads = allocateAdColumns(set.ads.ids.length);
    this.#filler = new AdColumnFiller(schema, weights);
    this.#cross = new CrossFeatures(schema, new LightRanker(schema, weights, this.#ads));
    this.#userRows = entityRows(schema.user, set.users, 1);
    this.#adRows = entityRows(schema.ad, set.ads);
    this.#userWidth = placeCount(schema.user.slice(1));
    this.#adWidth = placeCount(schema.ad);
    this.#contextWidth = placeCount(schema.context);
    this.#slots = new Uint32Array(this.#layout.slotsPerRowMax);
    this.#followBias();
  }

  /** Writes the cross features of a row with the weights of now. */
  crossInto(target: Float32Array, at: number, row: number): void {
    const set = this.#set;
    const ad = set.adIndex[row]!;
    this.#filler.fill(this.#ads, ad, this.#adRows, ad * this.#adWidth);
    this.#cross.oneInto(
      target,
      at,
      ad,
      set.contextIds,
      row * this.#contextWidth,
      this.#userRows,
      set.userIndex[row]! * this.#userWidth,
      set.views[row]!,
    );
  }

  /** Features first, then the lesson: a click for every row, a conversion for every click. */
  learn(target: Float32Array, at: number, row: number): void {
    this.crossInto(target, at, row);
    const set = this.#set;
    const count = this.#slotsOf(
      row,
      target[at + crossPlace.siteMatch]! > 0,
      target[at + crossPlace.interestMatch]! > 0,
    );
    const weight = set.weight[row]!;
    this.#click.update(this.#slots, count, weight * (sigmoid(target[at + crossPlace.clickLogit]!) - set.click[row]!));
    if (set.click[row] === 1) {
      const logit = target[at + crossPlace.conversionLogit]!;
      this.#conversion.update(this.#slots, count, weight * (sigmoid(logit) - set.conversion[row]!));
    }
    this.#followBias();
  }

  /** Ends learning: an id that no row had counts as an average one of its field, for each category and advertiser too. */
  finish(): void {
    const layout = this.#layout;
    const { user, ad, context } = this.#set.schema;
    const sides = [
      [user.slice(1), layout.user],
      [ad, layout.ad],
      [context, layout.context],
    ] as const;
    for (const ftrl of [this.#click, this.#conversion]) {
      for (const [fields, places] of sides) {
        for (const [index, { size, width }] of fields.entries()) {
          const { main, byCategory } = places[placeCount(fields.slice(0, index))]!;
          // In a field of several places 0 is an empty one, not an id.
          const first = width > 1 ? 1 : 0;
          ftrl.fillUnseen(main + first, size - first, 1);
          if (byCategory < 0) continue;
          for (let category = 0; category < layout.categoryCount; category++)
            ftrl.fillUnseen(byCategory + first * layout.categoryCount + category, size - first, layout.categoryCount);
        }
      }
      for (const { start, size } of layout.advertiserCrosses) {
        for (let advertiser = 0; advertiser < layout.advertiserCount; advertiser++)
          ftrl.fillUnseen(start + advertiser, size, layout.advertiserCount);
      }
    }
  }

  /** A copy of the weights as a bundle holds them. */
  weights(): LightRankerWeights {
    const copy = (head: RankerHead): RankerHead => ({
      ...head,
      user: head.user.map((each) => each.slice()),
      ad: head.ad.map((each) => each.slice()),
      context: head.context.map((each) => each.slice()),
      contextByCategory: head.contextByCategory.map((each) => each.slice()),
      userByCategory: head.userByCategory.map((each) => each.slice()),
      contextByAdvertiser: Object.fromEntries(
        Object.entries(head.contextByAdvertiser).map(([name, each]) => [name, each.slice()]),
      ),
    });
    return { click: copy(this.#clickHead), conversion: copy(this.#conversionHead) };
  }

  #followBias(): void {
    const { bias, interestMatch, siteMatch } = this.#layout;
    for (const [head, { weights }] of [
      [this.#clickHead, this.#click],
      [this.#conversionHead, this.#conversion],
    ] as const) {
      head.bias = weights[bias]!;
      head.interestMatch = weights[interestMatch]!;
      head.siteMatch = weights[siteMatch]!;
    }
  }

  #slotsOf(row: number, matchesSite: boolean, matchesInterest: boolean): number {
    const set = this.#set;
    const layout = this.#layout;
    const slots = this.#slots;
    const adAt = set.adIndex[row]! * this.#adWidth;
    const category = layout.categoryPlace < 0 ? 0 : this.#adRows[adAt + layout.categoryPlace]!;
    const advertiser = layout.advertiserPlace < 0 ? 0 : this.#adRows[adAt + layout.advertiserPlace]!;
    let count = 0;
    slots[count++] = layout.bias;
    if (matchesSite) slots[count++] = layout.siteMatch;
    if (matchesInterest) slots[count++] = layout.interestMatch;
    count = this.#takePlaces(layout.ad, this.#adRows, adAt, category, count);
    count = this.#takePlaces(layout.user, this.#userRows, set.userIndex[row]! * this.#userWidth, category, count);
    const contextAt = row * this.#contextWidth;
    count = this.#takePlaces(layout.context, set.contextIds, contextAt, category, count);
    for (let index = 0; index < layout.advertiserCrosses.length; index++) {
      const { place, start } = layout.advertiserCrosses[index]!;
      slots[count++] = start + set.contextIds[contextAt + place]! * layout.advertiserCount + advertiser;
    }
    return count;
  }

  #takePlaces(places: readonly SlotPlace[], ids: Uint32Array, at: number, category: number, start: number): number {
    const slots = this.#slots;
    const { categoryCount } = this.#layout;
    let count = start;
    for (let index = 0; index < places.length; index++) {
      const { place, skipsZero, main, byCategory } = places[index]!;
      const id = ids[at + place]!;
      if (id === 0 && skipsZero) continue;
      slots[count++] = main + id;
      if (byCategory >= 0 && categoryCount > 0) slots[count++] = byCategory + id * categoryCount + category;
    }
    return count;
  }
}

/** Places of what training reads back from a row of cross features: see inference/feature-schema.ts. */
export const crossPlace = {
  clickLogit: 0,
  siteMatch: 5,
  interestMatch: 6,
  conversionLogit: 11,
  width: crossWidth,
} as const;

export function outcomes(
  set: ImpressionSet,
  { from, to }: RowRange,
): { clicks: number; conversions: number; weight: number } {
  let clicks = 0;
  let conversions = 0;
  let weight = 0;
  for (let row = from; row < to; row++) {
    weight += set.weight[row]!;
    clicks += set.weight[row]! * set.click[row]!;
    conversions += set.weight[row]! * set.conversion[row]!;
  }
  return { clicks, conversions, weight };
}

/** Of `hits` among `trials`, with half a hit and half a miss added: finite when there were none. */
export function logOdds(hits: number, trials: number): number {
  return Math.log((hits + 0.5) / (trials - hits + 0.5));
}

import { AliasTable, hash32, hashNormal, hashUniform, pick, sumOf, zipfWeights } from './draws.ts';
import type { DemoParameters } from './parameters.ts';
import {
  audienceSegments,
  categories,
  countries,
  devices,
  languages,
  osNames,
  segments,
  segmentsPerUserMax,
  sizeClasses,
} from './words.ts';
import type { ImpressionContext } from './context.ts';

/** Kinds of facts: the second argument of the hashes, so that no two facts share their chance. */
const kind = {
  category: 1,
  size: 2,
  span: 3,
  ecpm: 4,
  price: 5,
  target: 6,
  pacing: 7,
  site: 8,
  age: 9,
  gender: 10,
  segment: 11,
  owner: 12,
};
const none = 0;

/**
 * The structure that everybody may know: who advertises what to whom, who the people are, which sites there are.
 * Columns by number, so a million ads is tens of megabytes; what anyone clicks on is not in here (see world.ts).
 */
export class MarketLayout {
  readonly parameters: DemoParameters;
  readonly advertiserCount: number;
  readonly lineItemCount: number;
  readonly advertiserCategory: Uint8Array;
  readonly lineItemAdvertiser: Uint32Array;
  /** What the advertiser hopes to pay per impression, nanos of USD: bid = this ÷ rough click rate for CPC. */
  readonly lineItemEcpmNanos: Float64Array;
  /** 0 CPM, 1 CPC, 2 CPA. */
  readonly lineItemPriceType: Uint8Array;
  readonly lineItemPaused: Uint8Array;
  readonly adLineItem: Uint32Array;
  readonly adSize: Uint8Array;
  readonly userAge: Uint8Array;
  readonly userGender: Uint8Array;
  /** `segmentsPerUserMax` places per user, position in `segments` + 1, 0 = unused. */
  readonly userSegments: Uint8Array;
  readonly siteCategory: Uint8Array;
  readonly siteIsApp: Uint8Array;
  readonly siteCount = 500;

  // Targeting, 0 = no condition. Masks have one bit per position in the lists of words.ts.
  readonly countryMask: Uint8Array;
  readonly deviceMask: Uint8Array;
  readonly osMask: Uint8Array;
  readonly languageMask: Uint8Array;
  readonly hourMask: Uint32Array;
  readonly dayMask: Uint8Array;
  /** Two segments of which one is enough: position + 1. */
  readonly segmentsAny: Uint8Array;
  readonly segmentNone: Uint8Array;
  /** First of ten neighbouring sites: position + 1. */
  readonly sitesAllow: Uint16Array;
  readonly sitesDeny: Uint16Array;

  constructor(parameters: DemoParameters) {
    this.parameters = parameters;
    const { ads, users, seed } = parameters;
    this.advertiserCount = Math.max(10, Math.round(ads / 25));
    this.advertiserCategory = Uint8Array.from({ length: this.advertiserCount }, (_, advertiser) =>
      Math.floor(hashUniform(seed, kind.category, advertiser) * categories.length),
    );

    this.adLineItem = new Uint32Array(ads);
    this.adSize = new Uint8Array(ads);
    const adShares = sizeClasses.map(({ adShare }) => adShare);
    const adShareSum = sumOf(adShares);
    let lineItem = 0;
    for (let ad = 0, left = 0; ad < ads; ad += 1, left -= 1) {
      // 2 to 6 creatives per line item, 4 on average.
      if (left === 0) {
        if (ad > 0) lineItem += 1;
        left = 2 + (hash32(seed, kind.span, lineItem) % 5);
      }
      this.adLineItem[ad] = lineItem;
      this.adSize[ad] = pick(adShares, adShareSum, hashUniform(seed, kind.size, ad));
    }
    const count = lineItem + 1;
    this.lineItemCount = count;
    this.lineItemAdvertiser = Uint32Array.from(
      { length: count },
      (_, item) => hash32(seed, kind.owner, item) % this.advertiserCount,
    );
    // 0.25 to 6 USD CPM, median 1: far above the floors of ordinary traffic (0.10).
    this.lineItemEcpmNanos = Float64Array.from({ length: count }, (_, item) =>
      Math.min(6e6, Math.max(2.5e5, 1e6 * Math.exp(0.6 * hashNormal(seed, kind.ecpm, item)))),
    );
    this.lineItemPriceType = Uint8Array.from({ length: count }, (_, item) =>
      pick([40, 45, 15], 100, hashUniform(seed, kind.price, item)),
    );
    this.lineItemPaused = Uint8Array.from({ length: count }, (_, item) =>
      hashUniform(seed, kind.pacing, item) < 0.02 ? 1 : 0,
    );

    this.countryMask = new Uint8Array(count);
    this.deviceMask = new Uint8Array(count);
    this.osMask = new Uint8Array(count);
    this.languageMask = new Uint8Array(count);
    this.hourMask = new Uint32Array(count);
    this.dayMask = new Uint8Array(count);
    this.segmentsAny = new Uint8Array(2 * count);
    this.segmentNone = new Uint8Array(count);
    this.sitesAllow = new Uint16Array(count);
    this.sitesDeny = new Uint16Array(count);
    for (let item = 0; item < count; item += 1) this.#aim(item);

    this.userAge = new Uint8Array(users);
    this.userGender = new Uint8Array(users);
    this.userSegments = new Uint8Array(users * segmentsPerUserMax);
    this.#populate();

    this.siteCategory = Uint8Array.from({ length: this.siteCount }, (_, site) =>
      Math.floor(hashUniform(seed, kind.site, site) * categories.length),
    );
    this.siteIsApp = Uint8Array.from({ length: this.siteCount }, (_, site) => (site % 4 === 3 ? 1 : 0));
  }

  /** Conditions are independent and rare enough that an unknown user on an unknown site still meets about 60 % of the ads. */
  #aim(item: number): void {
    const { seed } = this.parameters;
    const chance = (which: number): number => hashUniform(seed, kind.target, item * 32 + which);
    const bits = (list: readonly string[], words: readonly string[]): number =>
      words.reduce((mask, word) => mask | (1 << list.indexOf(word)), 0);
    if (chance(0) < 0.2) {
      const sets = [
        ['USA'],
        ['USA', 'CAN'],
        ['GBR'],
        ['DEU'],
        ['USA', 'GBR', 'DEU'],
        ['FRA', 'DEU'],
        ['GBR', 'AUS'],
        ['BRA'],
      ];
      this.countryMask[item] = bits(countries, sets[pick([28, 18, 11, 10, 20, 6, 4, 3], 100, chance(1))]!);
    }
    if (chance(2) < 0.12) {
      const sets = [['phone'], ['desktop'], ['phone', 'tablet'], ['desktop', 'tablet']];
      this.deviceMask[item] = bits(devices, sets[pick([25, 25, 30, 20], 100, chance(3))]!);
    } else if (chance(2) < 0.16) {
      this.osMask[item] = bits(
        osNames,
        [['ios'], ['android'], ['ios', 'macos'], ['windows']][Math.floor(chance(4) * 4)]!,
      );
    }
    if (chance(5) < 0.1) {
      this.segmentsAny[2 * item] = 1 + Math.floor(chance(6) * segments.length);
      this.segmentsAny[2 * item + 1] = 1 + Math.floor(chance(7) * segments.length);
    }
    if (chance(8) < 0.03)
      this.segmentNone[item] = 1 + categories.length + Math.floor(chance(9) * audienceSegments.length);
    if (chance(10) < 0.04) {
      const first = Math.floor(chance(11) * 12);
      for (let hour = first; hour < first + 12; hour += 1) this.hourMask[item]! |= 1 << hour;
    }
    if (chance(12) < 0.02) this.dayMask[item] = chance(13) < 0.5 ? 0b0111110 : 0b1000001;
    if (chance(14) < 0.04) this.sitesAllow[item] = 1 + Math.floor(chance(15) * (this.siteCount - 10));
    else if (chance(14) < 0.09) this.sitesDeny[item] = 1 + Math.floor(chance(15) * (this.siteCount - 10));
    if (chance(16) < 0.03)
      this.languageMask[item] = chance(17) < 0.8 ? bits(languages, ['en', 'es']) : bits(languages, ['de', 'fr']);
  }

  #populate(): void {
    const { users, seed } = this.parameters;
    // Some interests are common, some rare, so an interest says something.
    const popularity = new AliasTable(
      Float64Array.from(segments, (_, index) => 1 / (4 + (index < categories.length ? index : index - 20))),
    );
    for (let user = 0; user < users; user += 1) {
      this.userAge[user] = pick([3, 14, 24, 21, 17, 13, 8], 100, hashUniform(seed, kind.age, user));
      this.userGender[user] = pick([48, 48, 4], 100, hashUniform(seed, kind.gender, user));
      const wanted = 2 + (hash32(seed, kind.segment, user * 16) % (segmentsPerUserMax - 1));
      const start = user * segmentsPerUserMax;
      let held = 0;
      for (let place = 0; place < wanted; place += 1) {
        const segment = 1 + popularity.draw(hashUniform(seed, kind.segment, user * 16 + place + 1));
        if (this.userSegments.subarray(start, start + held).includes(segment)) continue;
        this.userSegments[start + held] = segment;
        held += 1;
      }
    }
  }

  /** Whether the line item's own conditions let it compete here. User −1 is unknown: no segments; site −1 is unknown. */
  isEligible(item: number, context: ImpressionContext, user: number): boolean {
    if (this.lineItemPaused[item] === 1) return false;
    if (this.countryMask[item] !== none && (this.countryMask[item]! & (1 << context.country)) === 0) return false;
    if (this.deviceMask[item] !== none && (this.deviceMask[item]! & (1 << context.device)) === 0) return false;
    if (this.osMask[item] !== none && (this.osMask[item]! & (1 << context.os)) === 0) return false;
    if (this.languageMask[item] !== none && (this.languageMask[item]! & (1 << context.language)) === 0) return false;
    if (this.hourMask[item] !== none && (this.hourMask[item]! & (1 << context.hour)) === 0) return false;
    if (this.dayMask[item] !== none && (this.dayMask[item]! & (1 << context.day)) === 0) return false;
    const allow = this.sitesAllow[item]! - 1;
    if (allow >= 0 && (context.site < allow || context.site >= allow + 10)) return false;
    const deny = this.sitesDeny[item]! - 1;
    if (deny >= 0 && context.site >= deny && context.site < deny + 10) return false;
    const any = this.segmentsAny[2 * item]!;
    if (any !== none && !this.#holds(user, any) && !this.#holds(user, this.segmentsAny[2 * item + 1]!)) return false;
    return this.segmentNone[item] === none || !this.#holds(user, this.segmentNone[item]!);
  }

  #holds(user: number, segment: number): boolean {
    if (user < 0) return false;
    const start = user * segmentsPerUserMax;
    for (let place = start; place < start + segmentsPerUserMax; place += 1)
      if (this.userSegments[place] === segment) return true;
    return false;
  }

  /** Whether the user's interests name this category. */
  hasInterest(user: number, category: number): boolean {
    return this.#holds(user, category + 1);
  }

  adCategory(ad: number): number {
    return this.advertiserCategory[this.lineItemAdvertiser[this.adLineItem[ad]!]!]!;
  }

  // Ids carry leading zeros up to the largest of their kind that a world may have, so that they sort.
  userId(user: number): string {
    return `u${String(user).padStart(6, '0')}`;
  }
  advertiserId(advertiser: number): string {
    return `adv${String(advertiser).padStart(5, '0')}`;
  }
  campaignId(item: number): string {
    return `cmp${String(item >> 1).padStart(6, '0')}`;
  }
  lineItemId(item: number): string {
    return `li${String(item).padStart(6, '0')}`;
  }
  creativeId(ad: number): string {
    return `cr${String(ad).padStart(6, '0')}`;
  }
  adId(ad: number): string {
    return `${this.lineItemId(this.adLineItem[ad]!)}.${this.creativeId(ad)}`;
  }
  /** Domain of a site, bundle of an app. */
  siteId(site: number): string {
    const name = String(site).padStart(3, '0');
    return this.siteIsApp[site] === 1 ? `com.example.app${name}` : `site${name}.example`;
  }

  /** Draws ads of one size by Zipf over all ads of that size. */
  adSampler(size: number): { ads: Uint32Array; table: AliasTable } {
    const ads = Uint32Array.from(this.adSize.keys()).filter((ad) => this.adSize[ad] === size);
    const { seed } = this.parameters;
    // Popularity has nothing to do with the order of ids: sort by a hash.
    const order = ads.toSorted((left, right) => hash32(seed, 97, left) - hash32(seed, 97, right));
    return { ads: order, table: new AliasTable(zipfWeights(order.length)) };
  }
}

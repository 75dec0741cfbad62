import { ClickCounts, type ClickCountsShared, countUnit } from './click-counts.ts';

/** Crosses threads by workerData. */
export type ClickRatesShared = {
  readonly totals: ClickCountsShared;
  readonly singles: ClickCountsShared;
  readonly pairs: ClickCountsShared;
};

export type ClickRateCapacities = {
  /** Ads, sites and ads with clicks once more for their conversions: 16 bytes each. */
  readonly singles: number;
  /** Pairs of ad and site, 16 bytes each; those with the fewest views make room. */
  readonly pairs: number;
};

/** An ad as counts are kept of it: keys are in the catalog's columns (ad-keys.ts). */
export type RatedAd = {
  readonly high: number;
  readonly low: number;
  readonly advertiser: number;
  /** Of the advertiser; 0 = not known. */
  readonly category: number;
  /** What the line item itself expects: clicks per view. */
  readonly prior: number;
};

/** Where and to whom an ad is shown. */
export type RatedVisit = {
  /** See `siteKeyOf`; 0 = not known, and then nothing is counted by site. */
  readonly site: number;
  /** Whether the ad's category is among the interests that the user's profile names; 0 = there is no profile. */
  readonly interest: 0 | 1 | 2;
};
/** Values of `interest`. */
export const interests = { unknown: 0, other: 1, named: 2 } as const;

/**
 * How many views the prior is worth, per level: found on the demo log (README, "Decisions"). Ads of one advertiser differ little, a
 * pair hardly from what ad and site say by themselves.
 */
export type PriorViews = {
  readonly advertiser: number;
  readonly ad: number;
  readonly site: number;
  readonly siteCategory: number;
  readonly pair: number;
};
/** How many clicks the level above is worth to a conversion rate. */
export const priorClicks = { advertiser: 100, ad: 100 } as const;
export const priorViewsDefault: PriorViews = { advertiser: 100, ad: 300, site: 200, siteCategory: 300, pair: 1000 };

/** Counts lose half of their weight in this time: a week of traffic is remembered, what was liked a month ago is not. */
export const clickRateHalfLifeMs = 7 * 86_400_000;

/** Sums over everything, four keys in one set of four: nothing else may push them out, or every rate would be off. */
const totalCount = 4;
/** Keys of what is no ad; an ad's own 64 bits fall on one of them once in 2^64. */
const kinds = {
  all: 0x61_6c_6c_21,
  priors: 0x70_72_69_6f,
  advertiser: 0x61_64_76_21,
  category: 0x63_61_74_65,
  site: 0x73_69_74_65,
  siteCategory: 0x73_63_61_74,
  interest: 0x69_6e_74_21,
  advertiserConversion: 0x63_6f_6e_21,
  adConversion: 0x63_6f_6e_76,
} as const;
/** Of a market that nobody has seen anything of; priors are believed in until there were as many clicks. */
const rateBefore = 0.01;
const viewsBefore = 100;
const clicksBefore = 50;
const rateMin = 1e-6;

/**
 * Click rates as counted, smoothed: in place of a model when there is none. Per level a beta prior whose mean is the level above and
 * whose weight is a number of views, r = (clicks + views₀ × r₀) ÷ (views + views₀), over counts that decay exponentially: data
 * hierarchy and temporal smoothing together (Wang, Li, Cui, Zhang, Mao, "Click-through rate estimation for rare events in online
 * advertising", 2011, sections on empirical Bayes and exponential smoothing).
 *
 *   advertiser: r₀ = the line item's own prior × what all priors together are off by      ad: r₀ = its advertiser's
 *   site, category, interest: r₀ = the rate of everything                                 site × category: r₀ = both lifts together
 *   pair of ad and site: r₀ = the odds of the ad × the lifts of the visit
 *
 * A lift is odds ÷ odds of everything, as a difference of logits. Conversions per click are smoothed in the same way, the advertiser's by
 * the line item's own prior and the ad's by its advertiser's. Shared by all threads; a view costs nine pairs of atomic additions.
 */
export class ClickRates {
  readonly #totals: ClickCounts;
  readonly #singles: ClickCounts;
  readonly #pairs: ClickCounts;
  readonly #priorViews: PriorViews;

  static allocate({ singles, pairs }: ClickRateCapacities): ClickRatesShared {
    return {
      totals: ClickCounts.allocate(totalCount),
      singles: ClickCounts.allocate(singles),
      pairs: ClickCounts.allocate(pairs),
    };
  }

  constructor(shared: ClickRatesShared, priorViews: PriorViews = priorViewsDefault) {
    this.#totals = new ClickCounts(shared.totals);
    this.#singles = new ClickCounts(shared.singles);
    this.#pairs = new ClickCounts(shared.pairs);
    this.#priorViews = priorViews;
  }

  recordView(ad: RatedAd, visit: RatedVisit): void {
    this.#totals.add(kinds.priors, 1, Math.round(ad.prior * countUnit), 0);
    this.#record(ad, visit, countUnit, 0);
  }
  recordClick(ad: RatedAd, visit: RatedVisit): void {
    this.#totals.add(kinds.priors, 1, 0, countUnit);
    this.#record(ad, visit, 0, countUnit);
    this.#recordConverting(ad, countUnit, 0);
  }
  /** Of a click that was recorded before. */
  recordConversion(ad: RatedAd): void {
    this.#recordConverting(ad, 0, countUnit);
  }

  #recordConverting({ high, low, advertiser }: RatedAd, clicks: number, conversions: number): void {
    this.#singles.add((high ^ kinds.adConversion) >>> 0, low, clicks, conversions);
    this.#singles.add(kinds.advertiserConversion, advertiser, clicks, conversions);
  }

  #record(ad: RatedAd, { site, interest }: RatedVisit, views: number, clicks: number): void {
    const singles = this.#singles;
    const { high, low, advertiser, category } = ad;
    this.#totals.add(kinds.all, 1, views, clicks);
    singles.add(high, low, views, clicks);
    singles.add(kinds.advertiser, advertiser, views, clicks);
    singles.add(kinds.category, category, views, clicks);
    if (interest !== interests.unknown) this.#totals.add(kinds.interest, interest, views, clicks);
    if (site === 0) return;
    singles.add(kinds.site, site, views, clicks);
    this.#pairs.add(kinds.siteCategory, pairLow(category, site), views, clicks);
    this.#pairs.add(pairHigh(high, site), pairLow(low, site), views, clicks);
  }

  /** Logit of the ad's rate over all visits. */
  adLogit({ high, low, advertiser, prior }: RatedAd): number {
    const { advertiser: advertiserViews, ad: adViews } = this.#priorViews;
    const own = Math.min(1, prior * this.#priorsFactor());
    const ofAdvertiser = this.#rate(this.#singles, kinds.advertiser, advertiser, own, advertiserViews);
    return logitOf(this.#rate(this.#singles, high, low, ofAdvertiser, adViews));
  }

  /** How much more or less ads of a category are clicked in this visit than anywhere, in logits; 0 where nothing is known. */
  visitLift({ site, interest }: RatedVisit, category: number): number {
    const all = this.#rate(this.#totals, kinds.all, 1, rateBefore, viewsBefore);
    const { site: siteViews, siteCategory: siteCategoryViews } = this.#priorViews;
    const base = logitOf(all);
    const liftOf = (counts: ClickCounts, kind: number, key: number): number =>
      logitOf(this.#rate(counts, kind, key, all, siteViews)) - base;
    const interestLift = interest === interests.unknown ? 0 : liftOf(this.#totals, kinds.interest, interest);
    if (site === 0) return interestLift;
    const categoryLift = liftOf(this.#singles, kinds.category, category);
    const both = rateOf(base + categoryLift + liftOf(this.#singles, kinds.site, site));
    const ofBoth = this.#rate(this.#pairs, kinds.siteCategory, pairLow(category, site), both, siteCategoryViews);
    // What holds for the category everywhere is in the ad's own rate.
    return interestLift + logitOf(ofBoth) - base - categoryLift;
  }

  /** Logit of the ad's rate in a visit, given what ad and visit say by themselves, with what is known of ad and site together. */
  pairLogit({ high, low }: RatedAd, site: number, logit: number): number {
    if (site === 0) return logit;
    const { pair } = this.#priorViews;
    return logitOf(this.#rate(this.#pairs, pairHigh(high, site), pairLow(low, site), rateOf(logit), pair));
  }

  /** Conversions per click; `prior`: what the line item itself expects. */
  conversionRate({ high, low, advertiser }: RatedAd, prior: number): number {
    const { advertiser: advertiserClicks, ad: adClicks } = priorClicks;
    const ofAdvertiser = this.#rate(this.#singles, kinds.advertiserConversion, advertiser, prior, advertiserClicks);
    // Conversions of clicks that made room since, or are of before a restart, may be more than the clicks.
    return Math.min(1, this.#rate(this.#singles, (high ^ kinds.adConversion) >>> 0, low, ofAdvertiser, adClicks));
  }

  /** Advertisers guess; what all their guesses are off by together is known soon. */
  #priorsFactor(): number {
    // Clicks that came, and in place of views those that the priors expected.
    const place = this.#totals.find(kinds.priors, 1);
    if (place < 0) return 1;
    return (this.#totals.clicksAt(place) + clicksBefore) / (this.#totals.viewsAt(place) + clicksBefore);
  }

  #rate(counts: ClickCounts, high: number, low: number, prior: number, priorViews: number): number {
    const place = counts.find(high, low);
    if (place < 0) return prior;
    return (counts.clicksAt(place) + priorViews * prior) / (counts.viewsAt(place) + priorViews);
  }

  /** In the order of their numbers in an export. */
  #tables(): readonly ClickCounts[] {
    return [this.#totals, this.#singles, this.#pairs];
  }

  /** Takes off what the counts have lost in this time: every hour or so, by one thread. */
  decay(elapsedMs: number): void {
    if (!(elapsedMs > 0)) return;
    const factor = 0.5 ** (elapsedMs / clickRateHalfLifeMs);
    for (const counts of this.#tables()) counts.decay(factor);
  }

  /** All counts, for a file. */
  export(): Buffer {
    const parts: number[] = [];
    for (const [table, counts] of this.#tables().entries()) {
      counts.forEach((high, low, views, clicks) => parts.push(table, high, low, views, clicks));
    }
    return Buffer.from(Uint32Array.from(parts).buffer);
  }

  /** Adds counts of another process, or of this one before it was started anew. False, and nothing is added: these are no counts. */
  merge(bytes: Buffer): boolean {
    if (bytes.length % (exportWords * 4) !== 0) return false;
    const words = new Uint32Array(Uint8Array.from(bytes).buffer);
    for (let at = 0; at < words.length; at += exportWords) {
      const isNobody = words[at + 1] === 0 && words[at + 2] === 0;
      if (words[at]! >= this.#tables().length || isNobody || words[at + 3]! > countLimit || words[at + 4]! > countLimit)
        return false;
    }
    for (let at = 0; at < words.length; at += exportWords) {
      const counts = this.#tables()[words[at]!]!;
      counts.add(words[at + 1]!, words[at + 2]!, words[at + 3]!, words[at + 4]!);
    }
    return true;
  }
}

/** Table, key in two words, views, clicks. */
const exportWords = 5;
/** Counts are halved when they reach this: no sum of two overflows. */
const countLimit = 2 ** 31;

function rateOf(logit: number): number {
  return 1 / (1 + Math.exp(-logit));
}

function logitOf(rate: number): number {
  const safe = Math.min(1 - rateMin, Math.max(rateMin, rate));
  return Math.log(safe / (1 - safe));
}

function pairHigh(adHigh: number, site: number): number {
  return (Math.imul(adHigh ^ site, 0x9e3779b1) ^ (site >>> 15)) >>> 0;
}
function pairLow(adLow: number, site: number): number {
  return (Math.imul(adLow + site, 0x85ebca77) ^ (adLow >>> 13)) >>> 0;
}

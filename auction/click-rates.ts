import { ClickCounts, type ClickCountsShared, countUnit } from './click-counts.ts';

/** Crosses threads by workerData. */
export type ClickRatesShared = { readonly singles: ClickCountsShared; readonly pairs: ClickCountsShared };

export type ClickRateCapacities = {
  /** Ads and sites that are counted by themselves: 24 bytes each. */
  readonly singles: number;
  /** Pairs of ad and site, 24 bytes each; those with the fewest views make room. */
  readonly pairs: number;
};

/**
 * How many views a prior is worth, per level: found on the demo log (README, "Decisions"). An ad of a line item differs little from
 * what is known of the line item, a pair little from what ad and site say.
 */
export type PriorViews = { readonly ad: number; readonly site: number; readonly pair: number };
export const priorViewsDefault: PriorViews = { ad: 300, site: 300, pair: 1000 };

/** Counts lose half of their weight in this time: a week of traffic is remembered, what was liked a month ago is not. */
export const clickRateHalfLifeMs = 7 * 86_400_000;

/** Keys of what is no ad; an ad's own 64 bits fall on one of them once in 2^64. */
const siteHigh = 0x73_69_74_65;
const allHigh = 0x61_6c_6c_21;
/** Of a market that nobody has seen anything of. */
const rateBefore = 0.01;
const viewsBefore = 100;
const rateMin = 1e-6;

/**
 * Click rates as counted, smoothed: in place of a model when there is none. Per level a beta prior whose mean is the level above and
 * whose weight is a number of views, r = (clicks + views₀ × r₀) ÷ (views + views₀), over counts that decay exponentially: data
 * hierarchy and temporal smoothing together (Wang, Li, Cui, Zhang, Mao, "Click-through rate estimation for rare events in online
 * advertising", 2011, sections on empirical Bayes and exponential smoothing).
 *
 *   ad:   r₀ = the line item's own prior       site: r₀ = the rate of everything
 *   pair: r₀ = the ad's odds × the site's odds ÷ the odds of everything
 *
 * Shared by all threads; a view or click costs three atomic additions.
 */
export class ClickRates {
  readonly #singles: ClickCounts;
  readonly #pairs: ClickCounts;
  readonly #priorViews: PriorViews;

  static allocate({ singles, pairs }: ClickRateCapacities): ClickRatesShared {
    return { singles: ClickCounts.allocate(singles), pairs: ClickCounts.allocate(pairs) };
  }

  constructor(shared: ClickRatesShared, priorViews: PriorViews = priorViewsDefault) {
    this.#singles = new ClickCounts(shared.singles);
    this.#pairs = new ClickCounts(shared.pairs);
    this.#priorViews = priorViews;
  }

  /** Keys: see ad-keys.ts. Site 0 is not known, and then neither site nor pair is counted. */
  recordView(adHigh: number, adLow: number, site: number): void {
    this.#record(adHigh, adLow, site, countUnit, 0);
  }
  recordClick(adHigh: number, adLow: number, site: number): void {
    this.#record(adHigh, adLow, site, 0, countUnit);
  }

  #record(adHigh: number, adLow: number, site: number, views: number, clicks: number): void {
    this.#singles.add(allHigh, 0, views, clicks, true);
    this.#singles.add(adHigh, adLow, views, clicks, true);
    if (site === 0) return;
    this.#singles.add(siteHigh, site, views, clicks, true);
    this.#pairs.add(pairHigh(adHigh, site), pairLow(adLow, site), views, clicks, true);
  }

  /** Logit of the ad's rate over all sites; `prior` = its line item's own expectation, a probability. */
  adLogit(adHigh: number, adLow: number, prior: number): number {
    const { ad } = this.#priorViews;
    const place = this.#singles.find(adHigh, adLow);
    if (place < 0) return logitOf(prior);
    return logitOf(smoothed(this.#singles.clicksAt(place), this.#singles.viewsAt(place), prior, ad));
  }

  /** How much more or less is clicked on a site than anywhere, in logits; 0 for one that is not known. */
  siteLift(site: number): number {
    const place = site === 0 ? -1 : this.#singles.find(siteHigh, site);
    if (place < 0) return 0;
    const all = this.#rateOfAll();
    const rate = smoothed(this.#singles.clicksAt(place), this.#singles.viewsAt(place), all, this.#priorViews.site);
    return logitOf(rate) - logitOf(all);
  }

  /** Logit of a pair's rate, given what ad and site say by themselves. */
  pairLogit(adHigh: number, adLow: number, site: number, logit: number): number {
    const place = site === 0 ? -1 : this.#pairs.find(pairHigh(adHigh, site), pairLow(adLow, site));
    if (place < 0) return logit;
    const prior = 1 / (1 + Math.exp(-logit));
    return logitOf(smoothed(this.#pairs.clicksAt(place), this.#pairs.viewsAt(place), prior, this.#priorViews.pair));
  }

  #rateOfAll(): number {
    const place = this.#singles.find(allHigh, 0);
    if (place < 0) return rateBefore;
    return smoothed(this.#singles.clicksAt(place), this.#singles.viewsAt(place), rateBefore, viewsBefore);
  }

  /** Takes off what the counts have lost in this time: every hour or so, by one thread. */
  decay(elapsedMs: number): void {
    if (!(elapsedMs > 0)) return;
    const factor = 0.5 ** (elapsedMs / clickRateHalfLifeMs);
    this.#singles.decay(factor);
    this.#pairs.decay(factor);
  }

  /** All counts, or only what this process has counted since the last export of that kind: for a file, for the rest of a fleet. */
  export(what: 'all' | 'fresh'): Buffer {
    const parts: number[] = [];
    for (const [table, counts] of [this.#singles, this.#pairs].entries()) {
      const note = (high: number, low: number, views: number, clicks: number): void => {
        parts.push(table, high, low, views, clicks);
      };
      if (what === 'all') counts.forEach(note);
      else counts.takeFresh(note);
    }
    return Buffer.from(Uint32Array.from(parts).buffer);
  }

  /** Adds counts of another process, or of this one before it was started anew. False, and nothing is added: these are no counts. */
  merge(bytes: Buffer): boolean {
    if (bytes.length % (exportWords * 4) !== 0) return false;
    const words = new Uint32Array(Uint8Array.from(bytes).buffer);
    for (let at = 0; at < words.length; at += exportWords) {
      const isNobody = words[at + 1] === 0 && words[at + 2] === 0;
      if (words[at]! > 1 || isNobody || words[at + 3]! > countLimit || words[at + 4]! > countLimit) return false;
    }
    for (let at = 0; at < words.length; at += exportWords) {
      const counts = words[at] === 0 ? this.#singles : this.#pairs;
      counts.add(words[at + 1]!, words[at + 2]!, words[at + 3]!, words[at + 4]!, false);
    }
    return true;
  }
}

/** Table, key in two words, views, clicks. */
const exportWords = 5;
/** Counts are halved when they reach this: no sum of two overflows. */
const countLimit = 2 ** 31;

function smoothed(clicks: number, views: number, prior: number, priorViews: number): number {
  return (clicks + priorViews * prior) / (views + priorViews);
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

import { wordKeyOf } from '#auction/ad-keys.ts';
import { type ClickRates, interests, type RatedAd, type RatedVisit } from '#auction/click-rates.ts';
import type { Flight } from './flight.ts';
import type { RatesPort } from './pipeline-ports.ts';
import { placeName } from './retrieval.ts';

/** The columns of the catalog that rates are asked with: see auction/catalog.ts. */
export type RateColumns = {
  readonly adLineItem: Uint32Array;
  readonly adAdvertiser: Uint32Array;
  readonly liPriorClickQ30: Uint32Array;
  readonly liPriorConversionQ30: Uint32Array;
  readonly columns: {
    readonly adKeyHigh: Uint32Array;
    readonly adKeyLow: Uint32Array;
    readonly advertiserKey: Uint32Array;
    readonly advertiserCategoryKey: Uint32Array;
  };
};

/** An ad's own rate is looked up again after this: 2,000 look-ups cost 0.2 ms, and a rate moves slowly. */
const keptSeconds = 10;
const q30One = 2 ** 30;

/** Smoothed click rates as the candidates are ranked by them. One per serving thread. */
export class CountedRates implements RatesPort {
  readonly #rates: ClickRates;
  readonly #catalog: RateColumns;
  readonly #now: () => number;
  /** By ad row: the ad's logit, when it was looked up, and for which ad. */
  readonly #logits: Float32Array;
  readonly #seconds: Uint32Array;
  readonly #keys: Uint32Array;
  /** By category, for the request in hand: what visit and interests add. */
  readonly #lifts = new Map<number, number>();
  #site = 0;
  #interests: readonly number[] = [];
  #nowSeconds = 0;

  constructor(rates: ClickRates, catalog: RateColumns, now: () => number) {
    this.#rates = rates;
    this.#catalog = catalog;
    this.#now = now;
    const capacity = catalog.adLineItem.length;
    this.#logits = new Float32Array(capacity);
    this.#seconds = new Uint32Array(capacity);
    this.#keys = new Uint32Array(capacity);
  }

  begin(flight: Flight): void {
    this.#nowSeconds = Math.floor(this.#now() / 1000);
    this.#site = siteOf(flight);
    this.#interests = flight.storedSegments.map(wordKeyOf);
    this.#lifts.clear();
  }

  score(rows: Uint32Array, count: number, logits: Float32Array): void {
    for (let index = 0; index < count; index++) logits[index] = this.#logitOf(rows[index]!);
  }

  scorePairs(rows: Uint32Array, first: number, count: number, logits: Float32Array): void {
    for (let at = first; at < first + count; at++) {
      const row = rows[at]!;
      logits[at] = this.#rates.pairLogit(ratedAd(this.#catalog, row), this.#site, this.#logitOf(row));
    }
  }

  conversionQ30(row: number): number {
    const { adLineItem, liPriorConversionQ30 } = this.#catalog;
    const prior = liPriorConversionQ30[adLineItem[row]!]! / q30One;
    return Math.max(1, Math.round(this.#rates.conversionRate(ratedAd(this.#catalog, row), prior) * q30One));
  }

  #logitOf(row: number): number {
    const { adAdvertiser, columns } = this.#catalog;
    return this.#adLogit(row) + this.#liftOf(columns.advertiserCategoryKey[adAdvertiser[row]!]!);
  }

  #liftOf(category: number): number {
    let lift = this.#lifts.get(category);
    if (lift === undefined) {
      const visit = { site: this.#site, interest: interestIn(this.#interests, category) };
      lift = this.#rates.visitLift(visit, category);
      this.#lifts.set(category, lift);
    }
    return lift;
  }

  #adLogit(row: number): number {
    const key = this.#catalog.columns.adKeyLow[row]!;
    const isKept = this.#keys[row] === key && Math.abs(this.#nowSeconds - this.#seconds[row]!) < keptSeconds;
    if (isKept) return this.#logits[row]!;
    this.#keys[row] = key;
    this.#seconds[row] = this.#nowSeconds;
    return (this.#logits[row] = this.#rates.adLogit(ratedAd(this.#catalog, row)));
  }
}

/** An ad on sale as counts are kept of it. */
export function ratedAd(catalog: RateColumns, row: number): RatedAd {
  const { adLineItem, adAdvertiser, liPriorClickQ30, columns } = catalog;
  const advertiser = adAdvertiser[row]!;
  return {
    high: columns.adKeyHigh[row]!,
    low: columns.adKeyLow[row]!,
    advertiser: columns.advertiserKey[advertiser]!,
    category: columns.advertiserCategoryKey[advertiser]!,
    prior: liPriorClickQ30[adLineItem[row]!]! / q30One,
  };
}

/** Where and to whom the ad of a row is shown: what its notices are counted by. */
export function ratedVisit(catalog: RateColumns, flight: Flight, row: number): RatedVisit {
  const category = catalog.columns.advertiserCategoryKey[catalog.adAdvertiser[row]!]!;
  return { site: siteOf(flight), interest: interestIn(flight.storedSegments.map(wordKeyOf), category) };
}

function siteOf({ request }: Flight): number {
  return request === undefined ? 0 : wordKeyOf(placeName(request.place));
}

function interestIn(keys: readonly number[], category: number): RatedVisit['interest'] {
  if (keys.length === 0) return interests.unknown;
  return keys.includes(category) ? interests.named : interests.other;
}

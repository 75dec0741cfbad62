import { siteKeyOf } from '#auction/ad-keys.ts';
import type { ClickRates } from '#auction/click-rates.ts';
import type { RatesPort } from './pipeline-ports.ts';

/** The columns of the catalog that rates are asked with: see auction/catalog.ts. */
export type RateColumns = {
  readonly adLineItem: Uint32Array;
  readonly liPriorClickQ30: Uint32Array;
  readonly columns: { readonly adKeyHigh: Uint32Array; readonly adKeyLow: Uint32Array };
};

/** An ad's own rate is looked up again after this: 2,000 look-ups cost 0.1 ms, and a rate moves slowly. */
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
  #place = '';
  #site = 0;
  #lift = 0;
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

  begin(place: string): void {
    this.#nowSeconds = Math.floor(this.#now() / 1000);
    if (place !== this.#place) {
      this.#place = place;
      this.#site = siteKeyOf(place);
    }
    this.#lift = this.#rates.siteLift(this.#site);
  }

  score(rows: Uint32Array, count: number, logits: Float32Array): void {
    for (let index = 0; index < count; index++) logits[index] = this.#adLogit(rows[index]!) + this.#lift;
  }

  scorePairs(rows: Uint32Array, first: number, count: number, logits: Float32Array): void {
    const { adKeyHigh, adKeyLow } = this.#catalog.columns;
    for (let at = first; at < first + count; at++) {
      const row = rows[at]!;
      const logit = this.#adLogit(row) + this.#lift;
      logits[at] = this.#rates.pairLogit(adKeyHigh[row]!, adKeyLow[row]!, this.#site, logit);
    }
  }

  #adLogit(row: number): number {
    const { adLineItem, liPriorClickQ30, columns } = this.#catalog;
    const key = columns.adKeyLow[row]!;
    const isKept = this.#keys[row] === key && Math.abs(this.#nowSeconds - this.#seconds[row]!) < keptSeconds;
    if (isKept) return this.#logits[row]!;
    const prior = liPriorClickQ30[adLineItem[row]!]! / q30One;
    this.#keys[row] = key;
    this.#seconds[row] = this.#nowSeconds;
    return (this.#logits[row] = this.#rates.adLogit(columns.adKeyHigh[row]!, key, prior));
  }
}

import { newAdKey } from '#auction/ad-keys.ts';
import type { ClickRates, RatedAd } from '#auction/click-rates.ts';
import type { NoticeClaims } from './notice-claims.ts';
import type { ShownCounts } from './notice-settlement.ts';

/** The columns of the catalog that counts are kept by: see auction/catalog.ts. */
export type CountColumns = {
  readonly liAdvertiser: Uint32Array;
  readonly liPriorClickQ30: Uint32Array;
  readonly columns: { readonly advertiserKey: Uint32Array; readonly advertiserCategoryKey: Uint32Array };
};

const q30One = 2 ** 30;

/** Views, clicks and conversions of notices, each once, as click rates count them. By the ad's id, not its row: it may have been withdrawn since. */
export class CountedNotices implements ShownCounts {
  readonly #rates: Pick<ClickRates, 'recordView' | 'recordClick' | 'recordConversion'>;
  readonly #catalog: CountColumns;
  readonly #adKey = newAdKey();

  constructor(rates: Pick<ClickRates, 'recordView' | 'recordClick' | 'recordConversion'>, catalog: CountColumns) {
    this.#rates = rates;
    this.#catalog = catalog;
  }

  viewed(claims: NoticeClaims, lineItem: number): void {
    this.#rates.recordView(this.#adOf(claims, lineItem), { site: claims.siteKey, interest: claims.interest });
  }

  clicked(claims: NoticeClaims, lineItem: number): void {
    this.#rates.recordClick(this.#adOf(claims, lineItem), { site: claims.siteKey, interest: claims.interest });
  }

  converted(claims: NoticeClaims, lineItem: number): void {
    this.#rates.recordConversion(this.#adOf(claims, lineItem));
  }

  #adOf({ adId }: NoticeClaims, lineItem: number): RatedAd {
    const { liAdvertiser, liPriorClickQ30, columns } = this.#catalog;
    const advertiser = liAdvertiser[lineItem]!;
    this.#adKey.of(adId);
    return {
      high: this.#adKey.high,
      low: this.#adKey.low,
      advertiser: columns.advertiserKey[advertiser]!,
      category: columns.advertiserCategoryKey[advertiser]!,
      prior: liPriorClickQ30[lineItem]! / q30One,
    };
  }
}

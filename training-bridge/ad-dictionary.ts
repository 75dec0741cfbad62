import type { DictionaryRow } from './event-records.ts';

/** What ad rows mean at one point of the log. Rows are told anew when they change, so the latest word counts. */
export class AdDictionary {
  readonly #rows: (DictionaryRow | undefined)[] = [];
  readonly #advertiserOfRow: number[] = [];
  readonly #advertisers = new Map<string, number>();

  take(rows: readonly DictionaryRow[]): void {
    for (const row of rows) {
      this.#rows[row.adRow] = row;
      let advertiser = this.#advertisers.get(row.advertiserId);
      if (advertiser === undefined) {
        advertiser = this.#advertisers.size;
        this.#advertisers.set(row.advertiserId, advertiser);
      }
      this.#advertiserOfRow[row.adRow] = advertiser;
    }
  }

  rowOf(adRow: number): DictionaryRow | undefined {
    return this.#rows[adRow];
  }

  /** A number per advertiser. A row that the log does not explain counts as an advertiser of its own. */
  advertiserOf(adRow: number): number {
    return this.#advertiserOfRow[adRow] ?? unexplained + adRow;
  }
}

/** Above every number of a known advertiser. */
const unexplained = 2 ** 31;

import type { AdCard, Catalog } from '#auction/catalog.ts';

/** Winners are few among many: 4,096 cards of about 1 KB hold nearly all that one thread shows. */
const cardCountMax = 4096;

/** Decoded cards of the ads that win, so that their texts are not decoded for every bid; dropped with each change of the catalog. */
export class CardCache {
  readonly #catalog: Pick<Catalog, 'sequence' | 'card'>;
  readonly #cards = new Map<number, AdCard>();
  #sequence = -1;

  constructor(catalog: Pick<Catalog, 'sequence' | 'card'>) {
    this.#catalog = catalog;
  }

  of(row: number): AdCard {
    const sequence = this.#catalog.sequence;
    // Odd: a change is being written. Until it is done, what was known just before it still holds.
    if (sequence % 2 === 1) return (sequence - 1 === this.#sequence && this.#cards.get(row)) || this.#catalog.card(row);
    if (sequence !== this.#sequence || this.#cards.size >= cardCountMax) {
      this.#cards.clear();
      this.#sequence = sequence;
    }
    const known = this.#cards.get(row);
    if (known !== undefined) return known;
    const card = this.#catalog.card(row);
    // Read behind a change that has come meanwhile, it is newer than the others here.
    if (this.#catalog.sequence === sequence) this.#cards.set(row, card);
    return card;
  }
}

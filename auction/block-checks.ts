import type { Catalog } from './catalog.ts';
import type { CatalogColumns } from './catalog-shared.ts';
import { categoryAncestors, ownTaxonomy } from './category-tree.ts';
import { domainAncestors } from './domain-blocks.ts';
import { SetMatcher } from './set-matcher.ts';
import type { TargetingQuery } from './targeting-query.ts';

/** What a publisher rules out for a whole request, asked per ad: most requests rule out something, and hit few ads. */
export class BlockChecks {
  readonly #columns: CatalogColumns;
  readonly #blockedCategories: SetMatcher;
  readonly #allowedCategories: SetMatcher;
  readonly #domains: SetMatcher;
  readonly #seats: SetMatcher;
  readonly #languages: SetMatcher;
  #blocksCategories = false;
  #allowsCategories = false;
  #blocksDomains = false;
  #seatRule: 'none' | 'allowed' | 'blocked' = 'none';
  #allowsLanguages = false;
  /** Whether `allows` could say no to any ad. */
  hasAny = false;
  /** An allow list that no ad of ours can be shown to be on. */
  refusesAll = false;

  constructor(catalog: Catalog) {
    this.#columns = catalog.columns;
    const { sets } = catalog;
    this.#blockedCategories = new SetMatcher(sets.categories, categoryAncestors);
    this.#allowedCategories = new SetMatcher(sets.categories, categoryAncestors);
    this.#domains = new SetMatcher(sets.domains, domainAncestors);
    this.#seats = new SetMatcher(sets.seats);
    this.#languages = new SetMatcher(sets.languages);
    const matchers = [
      this.#blockedCategories,
      this.#allowedCategories,
      this.#domains,
      this.#seats,
      this.#languages,
    ] as const;
    for (const matcher of matchers) matcher.begin();
  }

  begin(query: TargetingQuery): void {
    // The lists are meaningless to us in another taxonomy. What is allowed there is nothing that we know of; what is blocked
    // there the exchange itself must keep out, by the categories of ours that each bid states.
    const isOurs = query.categoryTaxonomy === ownTaxonomy;
    this.refusesAll = !isOurs && query.allowedCategories.length > 0;
    this.#blocksCategories = isOurs && query.blockedCategories.length > 0;
    if (this.#blocksCategories) markFresh(this.#blockedCategories, query.blockedCategories);
    this.#allowsCategories = isOurs && query.allowedCategories.length > 0;
    if (this.#allowsCategories) markFresh(this.#allowedCategories, query.allowedCategories);
    this.#blocksDomains = query.blockedDomains.length > 0 || query.blockedApps.length > 0;
    if (this.#blocksDomains) this.#markDomains(query);
    this.#markSeats(query);
    this.#allowsLanguages = query.allowedLanguages.length > 0;
    if (this.#allowsLanguages) markFresh(this.#languages, query.allowedLanguages);
    this.hasAny =
      this.#blocksCategories ||
      this.#allowsCategories ||
      this.#blocksDomains ||
      this.#seatRule !== 'none' ||
      this.#allowsLanguages;
  }

  #markDomains(query: TargetingQuery): void {
    const domains = this.#domains;
    markFresh(domains, query.blockedDomains);
    for (const domain of query.blockedDomains) if (domain.startsWith('www.')) domains.mark(domain.slice(4));
    domains.markAll(query.blockedApps);
  }

  #markSeats({ allowedSeats, blockedSeats }: TargetingQuery): void {
    this.#seatRule = allowedSeats.length > 0 ? 'allowed' : blockedSeats.length > 0 ? 'blocked' : 'none';
    if (this.#seatRule === 'none') return;
    if (this.#seatRule === 'blocked') return markFresh(this.#seats, blockedSeats);
    markFresh(this.#seats, allowedSeats);
    for (const seat of blockedSeats) this.#seats.unmark(seat);
  }

  allows(row: number): boolean {
    if (!this.hasAny) return true;
    const columns = this.#columns;
    const creative = columns.adCreative[row]!;
    if (this.#blocksCategories) {
      const { setStamps, stamp } = this.#blockedCategories;
      if (setStamps[columns.creativeCategorySet[creative]!] === stamp) return false;
    }
    if (this.#blocksDomains) {
      const { setStamps, stamp } = this.#domains;
      if (setStamps[columns.creativeDomainSet[creative]!] === stamp) return false;
      if (setStamps[columns.advertiserDomainSet[columns.adAdvertiser[row]!]!] === stamp) return false;
    }
    if (this.#allowsCategories && !this.#allowedCategories.isCovered(columns.creativeCategorySet[creative]!))
      return false;
    if (this.#seatRule !== 'none') {
      const { setStamps, stamp } = this.#seats;
      const isListed = setStamps[columns.advertiserSeatSet[columns.adAdvertiser[row]!]!] === stamp;
      if (isListed !== (this.#seatRule === 'allowed')) return false;
    }
    if (this.#allowsLanguages) {
      const { setStamps, stamp } = this.#languages;
      const set = columns.creativeLanguageSet[creative]!;
      if (set !== 0 && setStamps[set] !== stamp) return false;
    }
    return true;
  }
}

function markFresh(matcher: SetMatcher, words: readonly string[]): void {
  matcher.begin();
  matcher.markAll(words);
}

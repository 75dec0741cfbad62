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
  /** Whether `filter` could drop any ad. */
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
    this.#blocksCategories = isOurs && markFresh(this.#blockedCategories, query.blockedCategories);
    this.#allowsCategories = isOurs && query.allowedCategories.length > 0;
    if (this.#allowsCategories) markFresh(this.#allowedCategories, query.allowedCategories);
    this.#blocksDomains = this.#markDomains(query);
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

  /** Whether any domain or app of ours is blocked. */
  #markDomains({ blockedDomains, blockedApps }: TargetingQuery): boolean {
    const domains = this.#domains;
    if (blockedDomains.length === 0 && blockedApps.length === 0) return false;
    domains.begin();
    domains.markAll(blockedDomains);
    for (const domain of blockedDomains) if (domain.startsWith('www.')) domains.mark(domain.slice(4));
    domains.markAll(blockedApps);
    return domains.hasMarked;
  }

  #markSeats({ allowedSeats, blockedSeats }: TargetingQuery): void {
    this.#seatRule = 'none';
    if (allowedSeats.length > 0) {
      this.#seatRule = 'allowed';
      markFresh(this.#seats, allowedSeats);
      for (const seat of blockedSeats) this.#seats.unmark(seat);
    } else if (markFresh(this.#seats, blockedSeats)) this.#seatRule = 'blocked';
  }

  /** Keeps the rows from `start` to `end` that nothing rules out, in place; returns the new end. */
  filter(rows: Uint32Array, start: number, end: number): number {
    let kept = end;
    if (this.#blocksCategories) kept = this.#filterCategories(rows, start, kept);
    if (this.#blocksDomains) kept = this.#filterDomains(rows, start, kept);
    if (this.#allowsCategories) kept = this.#filterAllowedCategories(rows, start, kept);
    if (this.#seatRule !== 'none') kept = this.#filterSeats(rows, start, kept);
    if (this.#allowsLanguages) kept = this.#filterLanguages(rows, start, kept);
    return kept;
  }

  #filterCategories(rows: Uint32Array, start: number, end: number): number {
    const { adCreative, creativeCategorySet } = this.#columns;
    const { setStamps, stamp } = this.#blockedCategories;
    let kept = start;
    for (let index = start; index < end; index++) {
      const row = rows[index]!;
      if (setStamps[creativeCategorySet[adCreative[row]!]!] !== stamp) rows[kept++] = row;
    }
    return kept;
  }

  #filterDomains(rows: Uint32Array, start: number, end: number): number {
    const { adCreative, adAdvertiser, creativeDomainSet, advertiserDomainSet } = this.#columns;
    const { setStamps, stamp } = this.#domains;
    let kept = start;
    for (let index = start; index < end; index++) {
      const row = rows[index]!;
      if (setStamps[creativeDomainSet[adCreative[row]!]!] === stamp) continue;
      if (setStamps[advertiserDomainSet[adAdvertiser[row]!]!] !== stamp) rows[kept++] = row;
    }
    return kept;
  }

  #filterAllowedCategories(rows: Uint32Array, start: number, end: number): number {
    const { adCreative, creativeCategorySet } = this.#columns;
    let kept = start;
    for (let index = start; index < end; index++) {
      const row = rows[index]!;
      if (this.#allowedCategories.isCovered(creativeCategorySet[adCreative[row]!]!)) rows[kept++] = row;
    }
    return kept;
  }

  #filterSeats(rows: Uint32Array, start: number, end: number): number {
    const { adAdvertiser, advertiserSeatSet } = this.#columns;
    const { setStamps, stamp } = this.#seats;
    const isListedWanted = this.#seatRule === 'allowed';
    let kept = start;
    for (let index = start; index < end; index++) {
      const row = rows[index]!;
      const isListed = setStamps[advertiserSeatSet[adAdvertiser[row]!]!] === stamp;
      if (isListed === isListedWanted) rows[kept++] = row;
    }
    return kept;
  }

  #filterLanguages(rows: Uint32Array, start: number, end: number): number {
    const { adCreative, creativeLanguageSet } = this.#columns;
    const { setStamps, stamp } = this.#languages;
    let kept = start;
    for (let index = start; index < end; index++) {
      const row = rows[index]!;
      const set = creativeLanguageSet[adCreative[row]!]!;
      if (set === 0 || setStamps[set] === stamp) rows[kept++] = row;
    }
    return kept;
  }
}

/** Whether any of our ads has one of the words. */
function markFresh(matcher: SetMatcher, words: readonly string[]): boolean {
  if (words.length === 0) return false;
  matcher.begin();
  matcher.markAll(words);
  return matcher.hasMarked;
}

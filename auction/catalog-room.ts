import type { CatalogChange } from './catalog-change.ts';
import type { ProblemList } from './catalog-problems.ts';
import type { CatalogCapacities, SetName } from './catalog-shared.ts';
import { sizeKeyOf, type TargetingSpec } from './catalog-spec.ts';
import { blockNames, type EntryWriter, ruleWords } from './entry-writer.ts';
import { bitmapKeys, type RowBits } from './row-bits.ts';
import { TextHeapWriter } from './text-heap.ts';

/** Entries of a change that would take new numbers. */
export type NewNumbers = { ad: number; lineItem: number; creative: number; advertiser: number };

/** Adds up what a change may take at most, and says where there is not so much left: before anything is written. */
export class RoomCheck {
  readonly #keys = new Set<string>();
  /** By kind, each distinct list once: a thousand creatives may share a dozen. */
  readonly #sets = new Map<SetName, Map<string, readonly string[]>>();
  #textBytes = 0;

  addTargeting(targeting: TargetingSpec | undefined): void {
    for (const key of bitmapKeys(targeting, '')) this.#keys.add(key);
    const rules = ruleWords(targeting);
    this.#addSet('segments', rules.segmentsAny);
    this.#addSet('segments', rules.segmentsNone);
    this.#addSet('places', rules.placesAllow);
    this.#addSet('places', rules.placesDeny);
    if (targeting !== undefined) this.#addTexts([JSON.stringify(targeting)]);
  }

  addChange({ advertisers, lineItems, creatives }: CatalogChange): void {
    for (const { id, name, domain, category } of advertisers) {
      this.#addTexts([id, name, domain, category]);
      this.#addSet('domains', [domain]);
      this.#addSet('seats', [id]);
    }
    for (const { id, campaignId, targeting } of lineItems) {
      this.#addTexts([id, campaignId]);
      this.addTargeting(targeting);
    }
    for (const creative of creatives) {
      const { id, title, domain, imageUrl, videoUrl, landingUrl, format, width, height } = creative;
      this.#addTexts([id, title, domain, imageUrl, videoUrl, landingUrl]);
      for (const key of bitmapKeys(undefined, sizeKeyOf(format, width, height))) this.#keys.add(key);
      this.#addSet('categories', creative.categories);
      this.#addSet('domains', blockNames(creative));
      this.#addSet('attributes', creative.attributes.map(String));
      this.#addSet('mimes', creative.mimes);
      this.#addSet('protocols', creative.protocols.map(String));
      this.#addSet('languages', [creative.language]);
    }
  }

  #addTexts(texts: readonly string[]): void {
    for (const text of texts) this.#textBytes += TextHeapWriter.bytesFor(text);
  }

  #addSet(name: SetName, words: readonly string[]): void {
    if (words.length === 0) return;
    let lists = this.#sets.get(name);
    if (lists === undefined) this.#sets.set(name, (lists = new Map()));
    lists.set(JSON.stringify(words), words);
  }

  report(entries: EntryWriter, bits: RowBits, problems: ProblemList): void {
    const full = (what: string): void =>
      problems.add('CATALOG_FULL', '', `no room for ${what}: restart with this change in the file`);
    for (const key of this.#keys) this.#addTexts([key]);
    for (const [name, lists] of this.#sets) {
      const missing = [...lists.values()].filter((words) => !entries.sets[name].has(words));
      for (const words of missing) this.#addTexts(words);
      const itemCount = missing.reduce((sum, { length }) => sum + length, 0);
      if (!entries.sets[name].hasRoomFor(missing.length, itemCount)) full(`so many new ${name}`);
    }
    if (this.#textBytes > entries.texts.freeBytes) full(`${this.#textBytes} bytes of text`);
    if (!bits.hasRoomFor(this.#keys)) full('so many new sizes and targeted values');
  }
}

/** Says which kinds of numbers have run out. */
export function reportNumbers(needed: NewNumbers, free: CatalogCapacities, problems: ProblemList): void {
  const nouns = { ad: 'ads', lineItem: 'line items', creative: 'creatives', advertiser: 'advertisers' } as const;
  for (const kind of ['ad', 'lineItem', 'creative', 'advertiser'] as const) {
    if (needed[kind] > free[kind])
      problems.add('CATALOG_FULL', '', `no room for ${needed[kind]} more ${nouns[kind]}, only for ${free[kind]}`);
  }
}

import { wordKeyOf } from './ad-keys.ts';
import { topCategory } from './category-tree.ts';
import {
  type CatalogCapacities,
  type CatalogColumns,
  columnViews,
  allocateColumns,
  type CatalogShared,
  setNames,
  type SetName,
} from './catalog-shared.ts';
import {
  adFormats,
  type AdvertiserSpec,
  type CreativeSpec,
  type LineItemSpec,
  type LineItemTerms,
  type TargetingSpec,
  toQ30,
} from './catalog-spec.ts';
import { advertisedApp } from './domain-blocks.ts';
import { TextHeapWriter } from './text-heap.ts';
import { toTemplate } from './text-template.ts';
import { WordSetsWriter } from './word-sets.ts';

/** What a line item asks of segments and places, as lists of the words of those sets. */
export function ruleWords(targeting: TargetingSpec | undefined): {
  segmentsAny: readonly string[];
  segmentsNone: readonly string[];
  placesAllow: readonly string[];
  placesDeny: readonly string[];
} {
  const places = (sites: readonly string[] = [], apps: readonly string[] = []): string[] => [
    ...sites.map((site) => `site:${site}`),
    ...apps.map((app) => `app:${app}`),
  ];
  return {
    segmentsAny: targeting?.segments_any ?? [],
    segmentsNone: targeting?.segments_none ?? [],
    placesAllow: places(targeting?.sites_allow, targeting?.apps_allow),
    placesDeny: places(targeting?.sites_deny, targeting?.apps_deny),
  };
}

/** The names under which a publisher may block a creative: its domain, and the app that it sells. */
export function blockNames(creative: CreativeSpec): readonly string[] {
  const app = advertisedApp(creative.landingUrl);
  return app === '' ? [creative.domain] : [creative.domain, app];
}

/** Writes entries into the columns under numbers that others give out. Texts and sets grow until `share`. */
export class EntryWriter {
  readonly columns: CatalogColumns;
  readonly texts = new TextHeapWriter();
  readonly sets: Readonly<Record<SetName, WordSetsWriter>>;
  readonly #buffers: ReturnType<typeof allocateColumns>;
  readonly #capacities: CatalogCapacities;

  constructor(capacities: CatalogCapacities) {
    this.#capacities = capacities;
    this.#buffers = allocateColumns(capacities);
    this.columns = columnViews(this.#buffers.columns);
    this.sets = Object.fromEntries(setNames.map((name) => [name, new WordSetsWriter(this.texts)])) as Record<
      SetName,
      WordSetsWriter
    >;
  }

  putAdvertiser(advertiser: number, { id, name, domain, category }: AdvertiserSpec): void {
    const { columns, texts, sets } = this;
    if (columns.advertiserIdText[advertiser] === 0) columns.advertiserIdText[advertiser] = texts.append(id);
    columns.advertiserNameText[advertiser] = this.#kept(columns.advertiserNameText[advertiser]!, name);
    columns.advertiserNameChars[advertiser] = charsOf(name);
    columns.advertiserDomainText[advertiser] = texts.intern(domain);
    columns.advertiserDomainSet[advertiser] = sets.domains.add([domain]);
    columns.advertiserCategoryText[advertiser] = texts.intern(category);
    columns.advertiserSeatSet[advertiser] = sets.seats.add([id]);
    columns.advertiserKey[advertiser] = wordKeyOf(id);
    columns.advertiserCategoryKey[advertiser] = wordKeyOf(topCategory(category));
  }

  putCreative(number: number, creative: CreativeSpec): void {
    const { columns, texts, sets } = this;
    const { id, domain } = creative;
    const template = (url: string): number => texts.intern(toTemplate(url, id, domain));
    if (columns.creativeIdText[number] === 0) columns.creativeIdText[number] = texts.append(id);
    columns.creativeDomainText[number] = texts.intern(domain);
    columns.creativeImageText[number] = template(creative.imageUrl);
    columns.creativeVideoText[number] = template(creative.videoUrl);
    columns.creativeLandingText[number] = template(creative.landingUrl);
    columns.creativeTitleText[number] = this.#kept(columns.creativeTitleText[number]!, creative.title);
    columns.creativeTitleChars[number] = charsOf(creative.title);
    columns.creativeCategorySet[number] = sets.categories.add(creative.categories);
    columns.creativeDomainSet[number] = sets.domains.add(blockNames(creative));
    columns.creativeAttributeSet[number] = sets.attributes.add(creative.attributes);
    columns.creativeMimeSet[number] = sets.mimes.add(creative.mimes);
    columns.creativeProtocolSet[number] = sets.protocols.add(creative.protocols);
    columns.creativeLanguageSet[number] = sets.languages.add(creative.language === '' ? [] : [creative.language]);
    columns.creativeDurationMs[number] = creative.durationMs;
    columns.creativeWidth[number] = creative.width;
    columns.creativeHeight[number] = creative.height;
    columns.creativeFormat[number] = adFormats.indexOf(creative.format);
    columns.creativeIsSecure[number] = creative.isSecure ? 1 : 0;
  }

  /** The heap never gives room back, so a text that a change leaves as it was is not written again. */
  #kept(reference: number, text: string): number {
    return reference !== 0 && this.texts.read(reference) === text ? reference : this.texts.append(text);
  }

  putLineItem(lineItem: number, spec: LineItemSpec, advertiser: number): void {
    const { columns, texts } = this;
    if (columns.liIdText[lineItem] === 0) columns.liIdText[lineItem] = texts.append(spec.id);
    columns.liCampaignText[lineItem] = texts.intern(spec.campaignId);
    columns.liAdvertiser[lineItem] = advertiser;
    columns.liIsRemoved[lineItem] = 0;
    this.putTerms(lineItem, { ...spec, targeting: spec.targeting });
  }

  /** Only what is named; `targeting: undefined` as an own property takes it away. */
  putTerms(lineItem: number, terms: Partial<LineItemTerms>): void {
    const { columns } = this;
    if (terms.isActive !== undefined) columns.liIsActive[lineItem] = terms.isActive ? 1 : 0;
    if (terms.priceType !== undefined) columns.liPriceType[lineItem] = terms.priceType;
    if (terms.bidNanos !== undefined) columns.liBidNanos[lineItem] = terms.bidNanos;
    if (terms.budgetNanos !== undefined) columns.liBudgetNanos[lineItem] = terms.budgetNanos;
    if (terms.pacesEvenly !== undefined) columns.liPacesEvenly[lineItem] = terms.pacesEvenly ? 1 : 0;
    if (terms.quality !== undefined) columns.liQualityQ30[lineItem] = toQ30(terms.quality);
    if (terms.priorClick !== undefined) columns.liPriorClickQ30[lineItem] = toQ30(terms.priorClick);
    if (terms.priorConversion !== undefined) columns.liPriorConversionQ30[lineItem] = toQ30(terms.priorConversion);
    if (Object.hasOwn(terms, 'cap')) {
      columns.liCapCount[lineItem] = terms.cap?.count ?? 0;
      columns.liCapWindowMs[lineItem] = terms.cap?.windowMs ?? 0;
    }
    if (Object.hasOwn(terms, 'targeting')) this.#putRules(lineItem, terms.targeting);
  }

  #putRules(lineItem: number, targeting: TargetingSpec | undefined): void {
    const { columns, sets, texts } = this;
    const rules = ruleWords(targeting);
    columns.liTargetingText[lineItem] = targeting === undefined ? 0 : texts.intern(JSON.stringify(targeting));
    columns.liSegmentsAnySet[lineItem] = sets.segments.add(rules.segmentsAny);
    columns.liSegmentsNoneSet[lineItem] = sets.segments.add(rules.segmentsNone);
    columns.liPlacesAllowSet[lineItem] = sets.places.add(rules.placesAllow);
    columns.liPlacesDenySet[lineItem] = sets.places.add(rules.placesDeny);
  }

  /** From here on everything lives in shared memory, with room for `textBytes` more. */
  share(textBytes: number): CatalogShared {
    const sets = Object.fromEntries(setNames.map((name) => [name, this.sets[name].share()])) as CatalogShared['sets'];
    // Words of sets lie in the heap: it is shared last.
    const texts = this.texts.share(textBytes);
    return { capacities: this.#capacities, ...this.#buffers, texts, sets };
  }
}

/** Characters as people count them, more or less: code points. */
function charsOf(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

import { topCategory } from './category-tree.ts';
import {
  adStates,
  type CatalogColumns,
  type CatalogShared,
  columnViews,
  headerIndex,
  type SetName,
  setNames,
} from './catalog-shared.ts';
import { adFormats, adIdOf, type CreativeSpec, sizeWordOf } from './catalog-spec.ts';
import { TextHeap } from './text-heap.ts';
import { fromTemplate } from './text-template.ts';
import { WordSets } from './word-sets.ts';

/** Everything that is said about one ad: what its creative says, and whose it is. */
export type AdCard = Omit<CreativeSpec, 'id'> & {
  readonly adId: string;
  readonly creativeId: string;
  readonly lineItemId: string;
  readonly campaignId: string;
  readonly advertiserId: string;
  readonly advertiserName: string;
};

/** Then a card is read as it is: only a writer that died inside a change comes to that. */
const cardAttemptsMax = 8;
/** A change of 100 ads takes about a millisecond; its writer wakes whoever waits. */
const changeWaitMsMax = 5;

/**
 * The catalog as one thread sees it: columns over shared memory, filled by the CatalogWriter of the main thread, which may
 * change them at any time. Numbers are for the hot path; texts are decoded on demand.
 */
export class Catalog {
  readonly adCapacity: number;
  readonly lineItemCapacity: number;
  readonly advertiserCapacity: number;
  readonly columns: CatalogColumns;
  /** By name of their kind. */
  readonly sets: Readonly<Record<SetName, WordSets>>;
  readonly texts: TextHeap;
  readonly #header: Int32Array;

  readonly adLineItem: Uint32Array;
  readonly adAdvertiser: Uint32Array;
  readonly liAdvertiser: Uint32Array;
  /** 0 CPM, 1 CPC, 2 CPA. */
  readonly liPriceType: Uint8Array;
  readonly liBidNanos: Float64Array;
  /** Per UTC day. */
  readonly liBudgetNanos: Float64Array;
  readonly liQualityQ30: Uint32Array;
  readonly liPriorClickQ30: Uint32Array;
  readonly liPriorConversionQ30: Uint32Array;
  readonly liIsActive: Uint8Array;
  readonly liPacesEvenly: Uint8Array;
  /** 0 = no cap. */
  readonly liCapCount: Uint32Array;
  readonly liCapWindowMs: Float64Array;

  constructor(shared: CatalogShared) {
    this.adCapacity = shared.capacities.ad;
    this.lineItemCapacity = shared.capacities.lineItem;
    this.advertiserCapacity = shared.capacities.advertiser;
    this.#header = new Int32Array(shared.header);
    this.texts = new TextHeap(shared.texts);
    this.columns = columnViews(shared.columns);
    this.sets = Object.fromEntries(
      setNames.map((name) => [name, new WordSets(shared.sets[name], this.texts)]),
    ) as Record<SetName, WordSets>;
    this.adLineItem = this.columns.adLineItem;
    this.adAdvertiser = this.columns.adAdvertiser;
    this.liAdvertiser = this.columns.liAdvertiser;
    this.liPriceType = this.columns.liPriceType;
    this.liBidNanos = this.columns.liBidNanos;
    this.liBudgetNanos = this.columns.liBudgetNanos;
    this.liQualityQ30 = this.columns.liQualityQ30;
    this.liPriorClickQ30 = this.columns.liPriorClickQ30;
    this.liPriorConversionQ30 = this.columns.liPriorConversionQ30;
    this.liIsActive = this.columns.liIsActive;
    this.liPacesEvenly = this.columns.liPacesEvenly;
    this.liCapCount = this.columns.liCapCount;
    this.liCapWindowMs = this.columns.liCapWindowMs;
  }

  /** Raised by each change. */
  get version(): number {
    return Atomics.load(this.#header, headerIndex.version);
  }
  /** Odd while a change is being written; raised by two with each. */
  get sequence(): number {
    return Atomics.load(this.#header, headerIndex.sequence);
  }
  /** Rows given out so far: every ad's row is below it, some are withdrawn (`isLive`). */
  get adCount(): number {
    return Atomics.load(this.#header, headerIndex.adCount);
  }
  get lineItemCount(): number {
    return Atomics.load(this.#header, headerIndex.lineItemCount);
  }
  get advertiserCount(): number {
    return Atomics.load(this.#header, headerIndex.advertiserCount);
  }
  /** Rows below this are in the order of value at start; rows from here on came later. */
  get rankedCount(): number {
    return Atomics.load(this.#header, headerIndex.rankedCount);
  }

  /** Whether the row holds an ad that was published and not withdrawn; its line item may be paused. */
  isLive(row: number): boolean {
    return this.columns.adState[row] === adStates.live;
  }
  adId(row: number): string {
    return adIdOf(this.lineItemId(this.adLineItem[row]!), this.creativeId(row));
  }
  creativeId(row: number): string {
    return this.texts.read(this.columns.creativeIdText[this.columns.adCreative[row]!]!);
  }
  lineItemId(lineItem: number): string {
    return this.texts.read(this.columns.liIdText[lineItem]!);
  }
  campaignId(lineItem: number): string {
    return this.texts.read(this.columns.liCampaignText[lineItem]!);
  }
  advertiserId(advertiser: number): string {
    return this.texts.read(this.columns.advertiserIdText[advertiser]!);
  }

  /**
   * Row of an ad on sale by its id, given its line item; −1 when there is none. Walks the line item's ads (a few, usually), so that
   * no index of all ads has to be kept up while they come and go. A change meanwhile can hide an ad for one look.
   */
  rowOfAd(lineItem: number, adId: string): number {
    if (!(lineItem >= 0 && lineItem < this.lineItemCount)) return -1;
    const { liFirstAd, adNext } = this.columns;
    let row = liFirstAd[lineItem]!;
    for (let step = 0; row >= 0 && step < this.adCapacity; step++) {
      if (this.adLineItem[row] === lineItem && this.isLive(row) && this.adId(row) === adId) return row;
      row = adNext[row]!;
    }
    return -1;
  }

  /** The model's words for an ad: ad, line item, advertiser, category (a top category), size; the order of its ad fields. */
  adWords(row: number): readonly string[] {
    const { adCreative, creativeFormat, creativeWidth, creativeHeight, advertiserCategoryText } = this.columns;
    const creative = adCreative[row]!;
    const advertiser = this.adAdvertiser[row]!;
    const lineItemId = this.lineItemId(this.adLineItem[row]!);
    return [
      adIdOf(lineItemId, this.creativeId(row)),
      lineItemId,
      this.advertiserId(advertiser),
      topCategory(this.texts.read(advertiserCategoryText[advertiser]!)),
      sizeWordOf(adFormats[creativeFormat[creative]!]!, creativeWidth[creative]!, creativeHeight[creative]!),
    ];
  }

  /** All texts of one ad: for winners, not for candidates. */
  card(row: number): AdCard {
    for (let attempt = 1; ; attempt++) {
      const before = this.sequence;
      const isBeingChanged = (before & 1) === 1;
      // Whoever meets a change lets its writer run: it may have lost its core in the middle.
      if (isBeingChanged && attempt < cardAttemptsMax)
        Atomics.wait(this.#header, headerIndex.sequence, before, changeWaitMsMax);
      else {
        const card = this.#readCard(row);
        if (attempt >= cardAttemptsMax || this.sequence === before) return card;
      }
    }
  }

  #readCard(row: number): AdCard {
    const lineItem = this.adLineItem[row]!;
    const advertiser = this.adAdvertiser[row]!;
    const { columns, texts, sets } = this;
    const creative = columns.adCreative[row]!;
    const creativeId = this.creativeId(row);
    const lineItemId = this.lineItemId(lineItem);
    const domain = texts.read(columns.creativeDomainText[creative]!);
    const filled = (reference: number): string => fromTemplate(texts.read(reference), creativeId, domain);
    return {
      adId: adIdOf(lineItemId, creativeId),
      creativeId,
      lineItemId,
      campaignId: this.campaignId(lineItem),
      advertiserId: this.advertiserId(advertiser),
      advertiserName: texts.read(columns.advertiserNameText[advertiser]!),
      format: adFormats[columns.creativeFormat[creative]!]!,
      width: columns.creativeWidth[creative]!,
      height: columns.creativeHeight[creative]!,
      durationMs: columns.creativeDurationMs[creative]!,
      mimes: sets.mimes.wordsOf(columns.creativeMimeSet[creative]!),
      protocols: sets.protocols.wordsOf(columns.creativeProtocolSet[creative]!).map(Number),
      imageUrl: filled(columns.creativeImageText[creative]!),
      videoUrl: filled(columns.creativeVideoText[creative]!),
      title: texts.read(columns.creativeTitleText[creative]!),
      domain,
      landingUrl: filled(columns.creativeLandingText[creative]!),
      categories: sets.categories.wordsOf(columns.creativeCategorySet[creative]!),
      attributes: sets.attributes.wordsOf(columns.creativeAttributeSet[creative]!).map(Number),
      isSecure: columns.creativeIsSecure[creative] === 1,
      language: sets.languages.wordsOf(columns.creativeLanguageSet[creative]!)[0] ?? '',
    };
  }
}

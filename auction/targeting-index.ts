import { activeBitmap, BitmapPool, ruledBitmap, secureBitmap } from './bitmap-pool.ts';
import { BlockChecks } from './block-checks.ts';
import type { Catalog } from './catalog.ts';
import type { IndexShared } from './catalog-shared.ts';
import { SetMatcher } from './set-matcher.ts';
import { SlotChecks } from './slot-checks.ts';
import { type ImpQuery, newTargetingQuery, type TargetingQuery } from './targeting-query.ts';

/** Numbers as words: made once, so that a request makes none. */
const numberWords = Array.from({ length: 24 }, (_, value) => String(value));
/** One more than the fields that `begin` asks for. */
const requestBitmapCountMax = 8;
/** Ads that came after the start have no place in the order of value: they may take this share of what is returned, newest first. */
const freshShare = 0.25;

/**
 * Which ads may be shown: conditions on the commonest fields are bitmaps over ad rows, combined word by word and only as far
 * as needed; conditions that few ads have, and blocks of the publisher, are looked up per ad that passed those. One per thread.
 */
export class TargetingIndex {
  readonly #catalog: Catalog;
  readonly #bitmaps: BitmapPool;
  readonly #segments: SetMatcher;
  readonly #places: SetMatcher;
  readonly #blocks: BlockChecks;
  readonly #slots: SlotChecks;
  /** First words of the bitmaps that must all have a row's bit, and of those of which one must. */
  readonly #requestBases = new Int32Array(requestBitmapCountMax);
  #requestCount = 0;
  #sequence = 0;
  #resumeRow = 0;
  #query: TargetingQuery = newTargetingQuery();

  constructor(shared: IndexShared, catalog: Catalog) {
    this.#catalog = catalog;
    this.#bitmaps = new BitmapPool(shared.bitmaps, catalog.texts);
    this.#segments = new SetMatcher(catalog.sets.segments);
    this.#places = new SetMatcher(catalog.sets.places);
    this.#blocks = new BlockChecks(catalog);
    this.#slots = new SlotChecks(catalog, this.#bitmaps);
    // Learning all words takes tens of milliseconds for a million ads: now, not in the first request.
    this.begin(this.#query);
  }

  /** Prepares what holds for the whole request. `query` is not kept. */
  begin(query: TargetingQuery): void {
    // Before anything is read: what changes from here on is left out of this request (see `#dropChanged`).
    this.#sequence = this.#catalog.sequence;
    this.#bitmaps.learn();
    this.#requestCount = 0;
    this.#require('country', query.country);
    this.#require('device', query.device);
    this.#require('os', query.os);
    this.#require('language', query.language);
    this.#require('hour', numberWords[query.hour] ?? '');
    this.#require('day', numberWords[query.day] ?? '');
    this.#segments.begin();
    this.#segments.markAll(query.segments);
    this.#segments.markAll(query.storedSegments);
    this.#places.begin();
    this.#markPlace(query);
    this.#blocks.begin(query);
  }

  /**
   * Ad rows that may fill the impression, at most `limit`: a share of rows that came after the start, newest first, then the
   * best by value, in order. Stops when it has enough, so its cost is bounded by `limit` where many ads match.
   */
  select(imp: ImpQuery, limit: number, out: Uint32Array): number {
    if (imp.isPrivateAuction || this.#blocks.refusesAll || !this.#slots.begin(imp)) return 0;
    const { rankedCount, adCount } = this.#catalog;
    if (imp.isSecure) this.#requestBases[this.#requestCount++] = secureBitmap * this.#bitmaps.wordsPerBitmap;
    const wanted = Math.min(limit, out.length);
    let count = 0;
    this.#resumeRow = adCount;
    if (adCount > rankedCount) count = this.#scanFresh(rankedCount, out, 0, Math.ceil(wanted * freshShare));
    count = this.#scanRanked(rankedCount, out, count, wanted);
    if (adCount > rankedCount && count < wanted) count = this.#scanFresh(rankedCount, out, count, wanted);
    if (imp.isSecure) this.#requestCount--;
    return this.#catalog.sequence === this.#sequence && (this.#sequence & 1) === 0
      ? count
      : this.#dropChanged(out, count);
  }

  #require(field: string, value: string): void {
    const bitmap = this.#bitmaps.numberOf(field, value);
    if (bitmap >= 0) this.#requestBases[this.#requestCount++] = bitmap * this.#bitmaps.wordsPerBitmap;
  }

  /** A listed domain stands for what is below it too. */
  #markPlace({ placeKind, place }: TargetingQuery): void {
    if (place === '') return;
    if (placeKind === 'app') this.#places.mark(`app:${place}`);
    if (placeKind !== 'site') return;
    for (let rest = place; rest.includes('.'); rest = rest.slice(rest.indexOf('.') + 1))
      this.#places.mark(`site:${rest}`);
    if (!place.includes('.')) this.#places.mark(`site:${place}`);
  }

  /** The bits of 32 rows that meet every condition kept as a bitmap. */
  #wordAt(at: number): number {
    const { words, wordsPerBitmap } = this.#bitmaps;
    // Atomic: whoever sees an ad's active bit also sees all that was written about it before.
    let word = Atomics.load(words, activeBitmap * wordsPerBitmap + at);
    const bases = this.#requestBases;
    for (let index = 0; index < this.#requestCount && word !== 0; index++) word &= words[bases[index]! + at]!;
    if (word === 0) return 0;
    const { formatBases, formatCount } = this.#slots;
    let formats = 0;
    for (let index = 0; index < formatCount; index++) formats |= words[formatBases[index]! + at]!;
    return word & formats;
  }

  #scanRanked(rankedCount: number, out: Uint32Array, from: number, wanted: number): number {
    const { words, wordsPerBitmap } = this.#bitmaps;
    const ruledBase = ruledBitmap * wordsPerBitmap;
    const blocks = this.#blocks;
    const slots = this.#slots;
    const isPlain = !blocks.hasAny && !slots.hasAny;
    const wordCount = (rankedCount + 31) >>> 5;
    let count = from;
    for (let at = 0; at < wordCount && count < wanted; at++) {
      let word = this.#wordAt(at);
      if (at === wordCount - 1 && (rankedCount & 31) !== 0) word &= (1 << (rankedCount & 31)) - 1;
      if (word === 0) continue;
      const ruled = words[ruledBase + at]!;
      do {
        const bit = word & -word;
        word ^= bit;
        const row = (at << 5) + 31 - Math.clz32(bit);
        if ((ruled & bit) !== 0 && !this.#meetsRules(row)) continue;
        if (!isPlain && !(blocks.allows(row) && slots.allows(row))) continue;
        out[count++] = row;
      } while (word !== 0 && count < wanted);
    }
    return count;
  }

  /** Rows that came later, from `#resumeRow` downward: usually few, so one by one. */
  #scanFresh(rankedCount: number, out: Uint32Array, from: number, wanted: number): number {
    const ruledBase = ruledBitmap * this.#bitmaps.wordsPerBitmap;
    let count = from;
    let row = this.#resumeRow - 1;
    let word = 0;
    let wordIndex = -1;
    for (; row >= rankedCount && count < wanted; row--) {
      if (row >>> 5 !== wordIndex) {
        wordIndex = row >>> 5;
        word = this.#wordAt(wordIndex);
      }
      const bit = 1 << (row & 31);
      if ((word & bit) === 0) continue;
      if ((this.#bitmaps.words[ruledBase + wordIndex]! & bit) !== 0 && !this.#meetsRules(row)) continue;
      if (this.#blocks.allows(row) && this.#slots.allows(row)) out[count++] = row;
    }
    this.#resumeRow = row + 1;
    return count;
  }

  /** Segments and places: conditions of so few line items that only those with the `ruled` bit are asked. */
  #meetsRules(row: number): boolean {
    const { columns } = this.#catalog;
    const lineItem = columns.adLineItem[row]!;
    const { setStamps: segments, stamp: segmentStamp } = this.#segments;
    const any = columns.liSegmentsAnySet[lineItem]!;
    if (any !== 0 && segments[any] !== segmentStamp) return false;
    const none = columns.liSegmentsNoneSet[lineItem]!;
    if (none !== 0 && segments[none] === segmentStamp) return false;
    const { setStamps: places, stamp: placeStamp } = this.#places;
    const allow = columns.liPlacesAllowSet[lineItem]!;
    if (allow !== 0 && places[allow] !== placeStamp) return false;
    const deny = columns.liPlacesDenySet[lineItem]!;
    return deny === 0 || places[deny] !== placeStamp;
  }

  /** Of an ad that was changed since `begin`, parts old and new may have been read: this request does without it. */
  #dropChanged(out: Uint32Array, count: number): number {
    const { adSequence } = this.#catalog.columns;
    const changedFrom = this.#sequence | 1;
    let kept = 0;
    for (let index = 0; index < count; index++) {
      const row = out[index]!;
      if (Atomics.load(adSequence, row) < changedFrom) out[kept++] = row;
    }
    return kept;
  }
}

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
/** Rows that are filtered together: small enough to stay in the first cache, large enough that calls do not count. */
const batchRowCount = 256;
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
  /** A word may overshoot the batch by the rest of its rows. */
  readonly #batch = new Uint32Array(batchRowCount + 32);
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

  /** The bits of 32 rows that meet every condition kept as a bitmap, and their line items' rules. */
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
    word &= formats;
    let ruled = word & words[ruledBitmap * wordsPerBitmap + at]!;
    while (ruled !== 0) {
      const bit = ruled & -ruled;
      ruled ^= bit;
      if (!this.#meetsRules((at << 5) + 31 - Math.clz32(bit))) word ^= bit;
    }
    return word;
  }

  #unmet(ruled: number, at: number): number {
    let rest = ruled;
    let unmet = 0;
    while (rest !== 0) {
      const bit = rest & -rest;
      rest ^= bit;
      if (!this.#meetsRules((at << 5) + 31 - Math.clz32(bit))) unmet |= bit;
    }
    return unmet;
  }

  /** Segments and places: conditions of so few line items that only ads with the `ruled` bit are asked. */
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

  /** Rows in order of value, in batches: what a filter needs stays in registers for a batch. */
  #scanRanked(rankedCount: number, out: Uint32Array, from: number, wanted: number): number {
    const wordCount = (rankedCount + 31) >>> 5;
    const lastMask = (rankedCount & 31) === 0 ? -1 : (1 << (rankedCount & 31)) - 1;
    const { words, wordsPerBitmap } = this.#bitmaps;
    const { formatBases, formatCount } = this.#slots;
    const active = activeBitmap * wordsPerBitmap;
    const bases = this.#requestBases.fill(active, this.#requestCount);
    const base0 = bases[0]!,
      base1 = bases[1]!,
      base2 = bases[2]!,
      base3 = bases[3]!,
      base4 = bases[4]!,
      base5 = bases[5]!,
      base6 = bases[6]!;
    const formatBase = formatBases[0]!;
    const ruledBase = ruledBitmap * wordsPerBitmap;
    let count = from;
    for (let at = 0; at < wordCount && count < wanted;) {
      // A batch goes where it is wanted, unless it might run over the end.
      const isInPlace = count + batchRowCount + 32 <= out.length;
      const rows = isInPlace ? out : this.#batch;
      const start = isInPlace ? count : 0;
      const enough = start + Math.min(batchRowCount, wanted - count);
      let end = start;
      for (; at < wordCount && end < enough; at++) {
        let word = words[at + base0]! & words[at + base1]! & words[at + base2]! & words[at + base3]!;
        if (word === 0) continue;
        word &= words[at + base4]! & words[at + base5]! & words[at + base6]! & words[at + active]!;
        let formats = words[at + formatBase]!;
        for (let index = 1; index < formatCount; index++) formats |= words[at + formatBases[index]!]!;
        word &= formats;
        if (word === 0) continue;
        if (at === wordCount - 1) word &= lastMask;
        const ruled = words[ruledBase + at]! & word;
        if (ruled !== 0) word ^= this.#unmet(ruled, at);
        while (word !== 0) {
          const bit = word & -word;
          word ^= bit;
          rows[end++] = (at << 5) + 31 - Math.clz32(bit);
        }
      }
      count = this.#keep(rows, start, end, out, count, wanted);
    }
    return count;
  }

  /** Rows that came later, from `#resumeRow` downward. */
  #scanFresh(rankedCount: number, out: Uint32Array, from: number, wanted: number): number {
    const rows = this.#batch;
    let count = from;
    let row = this.#resumeRow - 1;
    while (row >= rankedCount && count < wanted) {
      const enough = Math.min(batchRowCount, wanted - count);
      let end = 0;
      let word = this.#wordAt(row >>> 5);
      for (; row >= rankedCount && end < enough; row--) {
        if ((row & 31) === 31) word = this.#wordAt(row >>> 5);
        if ((word & (1 << (row & 31))) !== 0) rows[end++] = row;
      }
      count = this.#keep(rows, 0, end, out, count, wanted);
    }
    this.#resumeRow = row + 1;
    return count;
  }

  /** Appends to `out` those of the batch that pass what is asked per ad; returns the new count. */
  #keep(rows: Uint32Array, start: number, end: number, out: Uint32Array, count: number, wanted: number): number {
    let kept = end;
    if (this.#blocks.hasAny) kept = this.#blocks.filter(rows, start, kept);
    if (this.#slots.hasAny) kept = this.#slots.filter(rows, start, kept);
    const taken = Math.min(kept - start, wanted - count);
    if (rows !== out) for (let index = 0; index < taken; index++) out[count + index] = rows[start + index]!;
    return count + taken;
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

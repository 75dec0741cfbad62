import { activeBitmap, BitmapPool, ruledBitmap, secureBitmap } from './bitmap-pool.ts';
import { BlockChecks } from './block-checks.ts';
import type { Catalog } from './catalog.ts';
import type { IndexShared } from './catalog-shared.ts';
import { SetMatcher } from './set-matcher.ts';
import { SlotChecks } from './slot-checks.ts';
import { type ImpQuery, newTargetingQuery, type TargetingQuery } from './targeting-query.ts';

/** Numbers as words: made once, so that a request makes none. */
const numberWords = Array.from({ length: 24 }, (_, value) => String(value));
/** One more than the fields that `begin` asks for: `select` adds the secure bitmap. */
const requestBitmapCountMax = 7;
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
  readonly #fence = new Int32Array(1);
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
    // Bitmaps and rules are read plainly, and a processor may put plain reads off: not beyond this.
    Atomics.or(this.#fence, 0, 0);
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

  /** Of 32 rows that came later, those that meet every condition kept as a bitmap, and their line items' rules. */
  #freshWordAt(at: number): number {
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
    return word ^ this.#unmetOf(word & words[ruledBitmap * wordsPerBitmap + at]!, at);
  }

  /** Those of the ruled rows of a word whose rules the request does not meet. */
  #unmetOf(ruled: number, at: number): number {
    let unmet = 0;
    for (let rest = ruled; rest !== 0; rest &= rest - 1) {
      const bit = rest & -rest;
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

  /**
   * Rows in order of value, in batches: what a filter needs stays in registers for a batch. The conditions are written out,
   * always seven, where a missing one repeats `active`: 2,000 rows take 10 µs, where a loop over them took 15.
   */
  #scanRanked(rankedCount: number, out: Uint32Array, from: number, wanted: number): number {
    const wordCount = (rankedCount + 31) >>> 5;
    const lastMask = (rankedCount & 31) === 0 ? -1 : (1 << (rankedCount & 31)) - 1;
    const { words, wordsPerBitmap } = this.#bitmaps;
    const active = activeBitmap * wordsPerBitmap;
    const ruled = ruledBitmap * wordsPerBitmap;
    const bases = this.#requestBases.fill(active, this.#requestCount);
    const base0 = bases[0]!;
    const base1 = bases[1]!;
    const base2 = bases[2]!;
    const base3 = bases[3]!;
    const base4 = bases[4]!;
    const base5 = bases[5]!;
    const base6 = bases[6]!;
    const { formatBases, formatCount } = this.#slots;
    const format = formatBases[0]!;
    let count = from;
    for (let at = 0; at < wordCount && count < wanted;) {
      // A batch goes where it is wanted, unless it might run over the end.
      const isInPlace = count + batchRowCount + 32 <= out.length;
      const rows = isInPlace ? out : this.#batch;
      const start = isInPlace ? count : 0;
      const enough = start + Math.min(batchRowCount, wanted - count);
      let end = start;
      for (; at < wordCount && end < enough; at++) {
        let word = words[base0 + at]! & words[base1 + at]! & words[base2 + at]! & words[base3 + at]!;
        if (word === 0) continue;
        word &= words[base4 + at]! & words[base5 + at]! & words[base6 + at]! & words[active + at]!;
        let formats = words[format + at]!;
        for (let index = 1; index < formatCount; index++) formats |= words[formatBases[index]! + at]!;
        word &= formats;
        if (at === wordCount - 1) word &= lastMask;
        word ^= this.#unmetOf(word & words[ruled + at]!, at);
        for (; word !== 0; word &= word - 1) rows[end++] = (at << 5) + 31 - Math.clz32(word & -word);
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
      let word = this.#freshWordAt(row >>> 5);
      for (; row >= rankedCount && end < enough; row--) {
        if ((row & 31) === 31) word = this.#freshWordAt(row >>> 5);
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

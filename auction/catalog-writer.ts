import { newAdKey } from './ad-keys.ts';
import { Catalog } from './catalog.ts';
import { type CatalogChange, type ChangeResult, readChange, readPatch } from './catalog-change.ts';
import { ProblemList } from './catalog-problems.ts';
import { checkReferences } from './catalog-references.ts';
import { RoomCheck, reportNumbers } from './catalog-room.ts';
import { adStates, type CatalogShared, headerIndex, type IndexShared } from './catalog-shared.ts';
import {
  adFormats,
  adIdOf,
  type CreativeSpec,
  type LineItemSpec,
  sizeKeyOf,
  type TargetingSpec,
} from './catalog-spec.ts';
import type { EntryWriter } from './entry-writer.ts';
import type { IdTable } from './id-table.ts';
import { type LineItemEntry, lineItemEntry, targetingOf } from './line-item-entry.ts';
import { bitmapKeys, type RowBits } from './row-bits.ts';
import { graceMsDefault, type RowPool } from './row-pool.ts';

/** What the builder hands over. */
export type WriterParts = {
  readonly entries: EntryWriter;
  readonly bits: RowBits;
  readonly rows: RowPool;
  readonly ids: { readonly advertisers: IdTable; readonly lineItems: IdTable; readonly creatives: IdTable };
};

/**
 * The one that changes the catalog, on the main thread, while serving threads read it. A change is checked whole and refused
 * whole. Line items, creatives and advertisers keep their numbers for good, so a line item that is removed and comes back
 * still knows what it has spent; rows of withdrawn ads are given out again after a grace.
 */
export class CatalogWriter {
  readonly shared: CatalogShared;
  readonly indexShared: IndexShared;
  readonly catalog: Catalog;
  readonly #parts: WriterParts;
  readonly #header: Int32Array;

  constructor(shared: CatalogShared, parts: WriterParts) {
    this.shared = shared;
    this.indexShared = { bitmaps: parts.bits.shared };
    this.catalog = new Catalog(shared);
    this.#parts = parts;
    this.#header = new Int32Array(shared.header);
  }

  /** Numbers by id; −1 when there never was one. A removed line item keeps its number: see `isRemoved`. */
  lineItemOf(id: string): number {
    return this.#parts.ids.lineItems.get(id);
  }
  advertiserOf(id: string): number {
    return this.#parts.ids.advertisers.get(id);
  }
  isRemoved(lineItem: number): boolean {
    return this.catalog.columns.liIsRemoved[lineItem] === 1;
  }
  /** Rows of its ads, published or not, but no withdrawn ones. */
  rowsOfLineItem(lineItem: number): number[] {
    return this.#parts.rows.rowsOf(lineItem);
  }
  /** The row of an ad on sale (its line item may be paused); −1 for any other text. */
  rowOfAd(adId: string): number {
    const dot = adId.indexOf('.');
    const lineItem = dot < 0 ? -1 : this.lineItemOf(adId.slice(0, dot));
    if (lineItem < 0) return -1;
    return (
      this.rowsOfLineItem(lineItem).find((row) => this.catalog.isLive(row) && this.catalog.adId(row) === adId) ?? -1
    );
  }

  /** A line item in the words of the file; undefined when there is none. */
  entryOfLineItem(id: string): LineItemEntry | undefined {
    const lineItem = this.lineItemOf(id);
    if (lineItem < 0 || this.isRemoved(lineItem)) return undefined;
    return lineItemEntry(this.catalog, lineItem, this.rowsOfLineItem(lineItem));
  }

  /** Takes a change as it came in (see `readChange`), or says everything that is wrong with it. */
  apply(value: unknown): ChangeResult {
    const problems = new ProblemList();
    const change = readChange(value, problems);
    this.#check(change, problems);
    if (problems.total > 0) return { kind: 'problems', problems: problems.problems, total: problems.total };
    const addedRows: number[] = [];
    this.#write((sequence) => {
      for (const advertiser of change.advertisers)
        this.#place('advertisers', advertiser.id, (number) => this.#parts.entries.putAdvertiser(number, advertiser));
      this.#putCreatives(change.creatives, sequence);
      for (const lineItem of change.lineItems) addedRows.push(...this.#putLineItem(lineItem, sequence));
      for (const id of change.removeLineItems) this.#remove(this.lineItemOf(id));
    });
    const touched = [...change.lineItems.map(({ id }) => id), ...change.removeLineItems];
    return {
      kind: 'applied',
      version: this.catalog.version,
      addedRows,
      changedLineItems: touched.map((id) => this.lineItemOf(id)),
      warnings: problems.warnings,
    };
  }

  /** Changes some terms of one line item, in the words of the file: `{"status":"paused"}`, `{"bid_nanos":900000}`. */
  patchLineItem(id: string, patch: unknown): ChangeResult {
    const problems = new ProblemList();
    const terms = readPatch(patch, problems);
    const lineItem = this.lineItemOf(id);
    if (lineItem < 0 || this.isRemoved(lineItem))
      problems.add('UNKNOWN_REFERENCE', 'line_item', `there is no line item "${id}"`);
    const isRetargeted = Object.hasOwn(terms, 'targeting');
    if (isRetargeted && problems.total === 0) {
      const room = new RoomCheck();
      room.addTargeting(terms.targeting);
      room.report(this.#parts.entries, this.#parts.bits, problems);
    }
    if (problems.total > 0) return { kind: 'problems', problems: problems.problems, total: problems.total };
    this.#write((sequence) => {
      if (isRetargeted) this.#touch(this.rowsOfLineItem(lineItem), sequence);
      this.#parts.entries.putTerms(lineItem, terms);
      if (isRetargeted) this.#writeBits(lineItem, terms.targeting);
      if (terms.isActive !== undefined) this.#setActive(lineItem);
    });
    return {
      kind: 'applied',
      version: this.catalog.version,
      addedRows: [],
      changedLineItems: [lineItem],
      warnings: [],
    };
  }

  /** Puts added ads on sale, once everything else knows them. */
  publish(rows: readonly number[]): void {
    if (rows.length === 0) return;
    const { columns } = this.catalog;
    this.#write((sequence) => {
      for (const row of rows) {
        // Withdrawn again before it was ever shown.
        if (columns.adState[row] !== adStates.added) continue;
        Atomics.store(columns.adSequence, row, sequence);
        columns.adState[row] = adStates.live;
        this.#parts.bits.setActive(row, columns.liIsActive[columns.adLineItem[row]!] === 1);
      }
    });
  }

  /** Call now and then: frees the rows of ads withdrawn `graceMs` ago. Returns how many. */
  reclaim(nowMs: number, graceMs = graceMsDefault): number {
    const freed = this.#parts.rows.reclaim(nowMs, graceMs);
    for (const row of freed) this.catalog.columns.adState[row] = adStates.free;
    return freed.length;
  }

  /** For the builder: the bits of a line item's ads, active ones shown at once. */
  writeBitsAtStart(lineItem: number, targeting: TargetingSpec | undefined): void {
    this.#writeBits(lineItem, targeting);
    this.#setActive(lineItem);
  }

  #check(change: CatalogChange, problems: ProblemList): void {
    const { ids } = this.#parts;
    const { columns, texts } = this.catalog;
    checkReferences(
      change,
      {
        hasAdvertiser: (id) => ids.advertisers.get(id) >= 0,
        hasCreative: (id) => ids.creatives.get(id) >= 0,
        advertiserOfLineItem: (id) => {
          const lineItem = ids.lineItems.get(id);
          return lineItem < 0 ? undefined : this.catalog.advertiserId(columns.liAdvertiser[lineItem]!);
        },
        categoryOfAdvertiser: (id) => {
          const advertiser = ids.advertisers.get(id);
          return advertiser < 0 ? undefined : texts.read(columns.advertiserCategoryText[advertiser]!);
        },
        sizeOfCreative: (id) => this.#sizeOf(ids.creatives.get(id)),
      },
      problems,
    );
    const upserted = new Set(change.lineItems.map(({ id }) => id));
    for (const [index, id] of change.removeLineItems.entries()) {
      const lineItem = this.lineItemOf(id);
      const path = `remove_line_items[${index}]`;
      if (upserted.has(id)) problems.add('CONFLICT', path, `"${id}" is in line_items too`);
      else if (lineItem < 0 || this.isRemoved(lineItem))
        problems.add('UNKNOWN_REFERENCE', path, `there is no line item "${id}"`);
    }
    if (problems.total === 0) this.#checkRoom(change, problems);
  }

  #sizeOf(creative: number): { format: number; width: number; height: number } | undefined {
    if (creative < 0) return undefined;
    const { creativeFormat, creativeWidth, creativeHeight } = this.catalog.columns;
    return { format: creativeFormat[creative]!, width: creativeWidth[creative]!, height: creativeHeight[creative]! };
  }

  #checkRoom(change: CatalogChange, problems: ProblemList): void {
    const { ids, entries, bits, rows } = this.#parts;
    const count = (table: IdTable, list: readonly { readonly id: string }[]): number =>
      list.reduce((sum, { id }) => sum + (table.get(id) < 0 ? 1 : 0), 0);
    let ad = 0;
    for (const { id, creativeIds } of change.lineItems) {
      const lineItem = this.lineItemOf(id);
      const shown = lineItem < 0 ? new Set<string>() : this.#shownBy(lineItem);
      for (const creativeId of creativeIds) if (!shown.has(creativeId)) ad++;
    }
    const { lineItem, creative, advertiser } = this.shared.capacities;
    const needed = {
      ad,
      lineItem: count(ids.lineItems, change.lineItems),
      creative: count(ids.creatives, change.creatives),
      advertiser: count(ids.advertisers, change.advertisers),
    };
    const free = {
      ad: rows.freeCount,
      lineItem: lineItem - this.catalog.lineItemCount,
      creative: creative - this.#header[headerIndex.creativeCount]!,
      advertiser: advertiser - this.catalog.advertiserCount,
    };
    reportNumbers(needed, free, problems);
    const room = new RoomCheck();
    room.addChange(change);
    room.report(entries, bits, problems);
  }

  #shownBy(lineItem: number): Set<string> {
    return new Set(this.rowsOfLineItem(lineItem).map((row) => this.catalog.creativeId(row)));
  }

  /** Brackets a change: readers leave out what they may have seen half of (TargetingIndex). */
  #write(work: (sequence: number) => void): void {
    const sequence = Atomics.add(this.#header, headerIndex.sequence, 1) + 1;
    try {
      work(sequence);
    } finally {
      Atomics.add(this.#header, headerIndex.version, 1);
      Atomics.store(this.#header, headerIndex.sequence, sequence + 1);
      Atomics.notify(this.#header, headerIndex.sequence);
    }
  }

  /** Before anything about these ads is written. */
  #touch(rows: readonly number[], sequence: number): void {
    for (const row of rows) Atomics.store(this.catalog.columns.adSequence, row, sequence);
  }

  /** Writes an entry under its number, the next one when its id is new. */
  #place(kind: keyof WriterParts['ids'], id: string, put: (number: number) => void): number {
    const table = this.#parts.ids[kind];
    const known = table.get(id);
    const countAt = countIndex[kind];
    const number = known >= 0 ? known : this.#header[countAt]!;
    put(number);
    if (known < 0) {
      table.add(id, number);
      Atomics.store(this.#header, countAt, number + 1);
    }
    return number;
  }

  #putCreatives(creatives: readonly CreativeSpec[], sequence: number): void {
    const { entries, bits, ids } = this.#parts;
    const { columns, adCount } = this.catalog;
    const known = new Set(creatives.map(({ id }) => ids.creatives.get(id)).filter((number) => number >= 0));
    const rows: number[] = [];
    // Which ads show a creative is kept nowhere: the scan takes a millisecond per million ads.
    if (known.size > 0)
      for (let row = 0; row < adCount; row++)
        if (columns.adState[row] !== adStates.free && known.has(columns.adCreative[row]!)) rows.push(row);
    this.#touch(rows, sequence);
    for (const creative of creatives) {
      bits.ensure(bitmapKeys(undefined, sizeKeyOf(creative.format, creative.width, creative.height)));
      this.#place('creatives', creative.id, (number) => entries.putCreative(number, creative));
    }
    for (const row of rows) this.#writeRow(row, targetingOf(this.catalog, columns.adLineItem[row]!));
  }

  /** Returns the rows of ads that are new. */
  #putLineItem(spec: LineItemSpec, sequence: number): number[] {
    const { entries, rows, ids } = this.#parts;
    const { columns } = this.catalog;
    const known = this.lineItemOf(spec.id);
    const held = known < 0 ? [] : this.rowsOfLineItem(known);
    this.#touch(held, sequence);
    const wanted = new Set(spec.creativeIds);
    for (const row of held) {
      if (!wanted.delete(this.catalog.creativeId(row))) this.#withdraw(row);
    }
    const advertiser = ids.advertisers.get(spec.advertiserId);
    const lineItem = this.#place('lineItems', spec.id, (number) => entries.putLineItem(number, spec, advertiser));
    const added: number[] = [];
    const adKey = newAdKey();
    for (const creativeId of wanted) {
      const row = rows.take(lineItem);
      Atomics.store(columns.adSequence, row, sequence);
      columns.adLineItem[row] = lineItem;
      columns.adAdvertiser[row] = advertiser;
      columns.adCreative[row] = ids.creatives.get(creativeId);
      adKey.of(adIdOf(spec.id, creativeId));
      columns.adKeyHigh[row] = adKey.high;
      columns.adKeyLow[row] = adKey.low;
      columns.adState[row] = adStates.added;
      added.push(row);
    }
    this.#writeBits(lineItem, spec.targeting);
    this.#setActive(lineItem);
    Atomics.store(this.#header, headerIndex.adCount, rows.usedCount);
    return added;
  }

  #remove(lineItem: number): void {
    const { columns } = this.catalog;
    columns.liIsActive[lineItem] = 0;
    columns.liIsRemoved[lineItem] = 1;
    for (const row of this.rowsOfLineItem(lineItem)) this.#withdraw(row);
  }

  #withdraw(row: number): void {
    const { columns } = this.catalog;
    this.#parts.bits.setActive(row, false);
    columns.adState[row] = adStates.withdrawn;
    this.#parts.rows.withdraw(row, columns.adLineItem[row]!);
  }

  #writeBits(lineItem: number, targeting: TargetingSpec | undefined): void {
    this.#parts.bits.ensure(bitmapKeys(targeting, ''));
    for (const row of this.rowsOfLineItem(lineItem)) this.#writeRow(row, targeting);
  }

  #writeRow(row: number, targeting: TargetingSpec | undefined): void {
    const { columns } = this.catalog;
    const creative = columns.adCreative[row]!;
    const lineItem = columns.adLineItem[row]!;
    const { format, width, height } = this.#sizeOf(creative)!;
    this.#parts.bits.write(row, {
      targeting,
      size: sizeKeyOf(adFormats[format]!, width, height),
      isSecure: columns.creativeIsSecure[creative] === 1,
      isRuled:
        columns.liSegmentsAnySet[lineItem] !== 0 ||
        columns.liSegmentsNoneSet[lineItem] !== 0 ||
        columns.liPlacesAllowSet[lineItem] !== 0 ||
        columns.liPlacesDenySet[lineItem] !== 0,
    });
  }

  #setActive(lineItem: number): void {
    const isActive = this.catalog.liIsActive[lineItem] === 1;
    for (const row of this.rowsOfLineItem(lineItem))
      if (this.catalog.isLive(row)) this.#parts.bits.setActive(row, isActive);
  }
}

const countIndex = {
  advertisers: headerIndex.advertiserCount,
  lineItems: headerIndex.lineItemCount,
  creatives: headerIndex.creativeCount,
} as const;

import type { BitmapPool } from './bitmap-pool.ts';
import type { Catalog } from './catalog.ts';
import type { CatalogColumns } from './catalog-shared.ts';
import { adFormats } from './catalog-spec.ts';
import { SetMatcher } from './set-matcher.ts';
import type { ImpQuery, NativeQuery, VideoQuery } from './targeting-query.ts';

const video = adFormats.indexOf('video');
const native = adFormats.indexOf('native');
/** The specification's data asset "sponsored by": the advertiser's name, the only one that the catalog can fill. */
const sponsoredData = 1;
/** Image assets: 1 icon, 3 main. The same picture serves for both. */
const imageTypes = [1, 3];
/** A banner imp that lists more sizes than this is answered for the first ones. */
const formatCountMax = 64;

/** What one impression can hold: which sizes and formats, and what is asked of a video or native ad. */
export class SlotChecks {
  readonly #columns: CatalogColumns;
  readonly #bitmaps: BitmapPool;
  readonly #attributes: SetMatcher;
  readonly #mimes: SetMatcher;
  readonly #protocols: SetMatcher;
  /** First words of the bitmaps of which a row must be in one. */
  readonly formatBases = new Int32Array(formatCountMax);
  formatCount = 0;
  /** Whether `filter` could drop any ad. */
  hasAny = false;
  #hasAttributes = false;
  #video: VideoQuery | undefined;
  /** 0 = not asked for or any length. */
  #titleCharsMax = 0;
  #nameCharsMax = 0;
  #hasNativeLimits = false;

  constructor(catalog: Catalog, bitmaps: BitmapPool) {
    this.#columns = catalog.columns;
    this.#bitmaps = bitmaps;
    this.#attributes = new SetMatcher(catalog.sets.attributes);
    this.#mimes = new SetMatcher(catalog.sets.mimes);
    this.#protocols = new SetMatcher(catalog.sets.protocols);
    for (const matcher of [this.#attributes, this.#mimes, this.#protocols] as const) matcher.begin();
  }

  /** false: no ad of ours fits. */
  begin(imp: ImpQuery): boolean {
    this.formatCount = 0;
    for (const { width, height } of imp.banner?.sizes ?? []) this.#accept(`${width}x${height}`);
    this.#video = imp.video;
    if (imp.video !== undefined) this.#beginVideo(imp.video);
    this.#hasNativeLimits = false;
    if (imp.native !== undefined && this.#canFill(imp.native)) this.#accept('native');
    if (this.formatCount === 0) return false;
    this.#hasAttributes = imp.blockedAttributes.length > 0;
    if (this.#hasAttributes) {
      this.#attributes.begin();
      this.#attributes.markAll(imp.blockedAttributes);
      this.#hasAttributes = this.#attributes.hasMarked;
    }
    this.hasAny = this.#hasAttributes || this.#video !== undefined || this.#hasNativeLimits;
    return true;
  }

  #accept(size: string): void {
    const bitmap = this.#bitmaps.numberOf('size', size);
    if (bitmap >= 0 && this.formatCount < formatCountMax)
      this.formatBases[this.formatCount++] = bitmap * this.#bitmaps.wordsPerBitmap;
  }

  #beginVideo({ mimes, protocols }: VideoQuery): void {
    this.#mimes.begin();
    for (let index = 0; index < mimes.length; index++) this.#mimes.mark(mimes[index]!.toLowerCase());
    this.#protocols.begin();
    this.#protocols.markAll(protocols);
    this.#accept('video');
  }

  /** Whether a native ad has everything that is required; sets the limits on its texts. */
  #canFill({ assets }: NativeQuery): boolean {
    this.#titleCharsMax = 0;
    this.#nameCharsMax = 0;
    let canShowSomething = false;
    for (const { kind, type, isRequired, charsMax } of assets) {
      const isOurs =
        kind === 'title' ||
        (kind === 'image' && imageTypes.includes(type)) ||
        (kind === 'data' && type === sponsoredData);
      if (isRequired && !isOurs) return false;
      canShowSomething ||= isOurs;
      if (!isRequired || charsMax <= 0) continue;
      this.#hasNativeLimits = true;
      if (kind === 'title') this.#titleCharsMax = tighter(this.#titleCharsMax, charsMax);
      else if (kind === 'data') this.#nameCharsMax = tighter(this.#nameCharsMax, charsMax);
    }
    return canShowSomething;
  }

  /** Keeps the rows from `start` to `end` that fit, in place; returns the new end. */
  filter(rows: Uint32Array, start: number, end: number): number {
    let kept = this.#hasAttributes ? this.#filterAttributes(rows, start, end) : end;
    if (this.#video !== undefined || this.#hasNativeLimits) kept = this.#filterFormats(rows, start, kept);
    return kept;
  }

  #filterAttributes(rows: Uint32Array, start: number, end: number): number {
    const { adCreative, creativeAttributeSet } = this.#columns;
    const { setStamps, stamp } = this.#attributes;
    let kept = start;
    for (let index = start; index < end; index++) {
      const row = rows[index]!;
      if (setStamps[creativeAttributeSet[adCreative[row]!]!] !== stamp) rows[kept++] = row;
    }
    return kept;
  }

  #filterFormats(rows: Uint32Array, start: number, end: number): number {
    const { adCreative, creativeFormat } = this.#columns;
    let kept = start;
    for (let index = start; index < end; index++) {
      const row = rows[index]!;
      const creative = adCreative[row]!;
      const format = creativeFormat[creative]!;
      if (format === video && !this.#fitsVideo(this.#video!, creative)) continue;
      if (format === native && !this.#fitsNative(row, creative)) continue;
      rows[kept++] = row;
    }
    return kept;
  }

  #fitsNative(row: number, creative: number): boolean {
    const { creativeTitleChars, advertiserNameChars, adAdvertiser } = this.#columns;
    if (this.#titleCharsMax > 0 && creativeTitleChars[creative]! > this.#titleCharsMax) return false;
    return this.#nameCharsMax === 0 || advertiserNameChars[adAdvertiser[row]!]! <= this.#nameCharsMax;
  }

  #fitsVideo(slot: VideoQuery, creative: number): boolean {
    const columns = this.#columns;
    const durationMs = columns.creativeDurationMs[creative]!;
    if (slot.durationsMs.length > 0) {
      if (!slot.durationsMs.includes(durationMs)) return false;
    } else if (durationMs < slot.durationMsMin || durationMs > slot.durationMsMax) return false;
    // A player may be larger than the film, not smaller.
    if (slot.width > 0 && columns.creativeWidth[creative]! > slot.width) return false;
    if (slot.height > 0 && columns.creativeHeight[creative]! > slot.height) return false;
    if (this.#mimes.setStamps[columns.creativeMimeSet[creative]!] !== this.#mimes.stamp) return false;
    return (
      slot.protocols.length === 0 ||
      this.#protocols.setStamps[columns.creativeProtocolSet[creative]!] === this.#protocols.stamp
    );
  }
}

function tighter(known: number, limit: number): number {
  return known === 0 ? limit : Math.min(known, limit);
}

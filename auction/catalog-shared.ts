import type { BitmapPoolShared } from './bitmap-pool.ts';
import type { TextHeapShared } from './text-heap.ts';
import type { WordSetsShared } from './word-sets.ts';

/** Columns: what they are of, and the type of their numbers. `…Text` is a reference into the text heap, `…Set` a set number. */
const columns = {
  adLineItem: ['ad', 'u32'],
  adAdvertiser: ['ad', 'u32'],
  adCreative: ['ad', 'u32'],
  /** 64 bits of the ad's id (ad-keys.ts): the same in every process, another as soon as the row has another ad. */
  adKeyHigh: ['ad', 'u32'],
  adKeyLow: ['ad', 'u32'],
  /** Number of the change that last touched this row's targeting or creative: see `CatalogHeader.sequence`. */
  adSequence: ['ad', 'i32'],
  /** The line item's next ad row, −1 at the end: a chain that begins at `liFirstAd`. */
  adNext: ['ad', 'i32'],
  /** `adStates`. */
  adState: ['ad', 'u8'],

  liIdText: ['lineItem', 'u32'],
  liCampaignText: ['lineItem', 'u32'],
  liTargetingText: ['lineItem', 'u32'],
  liAdvertiser: ['lineItem', 'u32'],
  liBidNanos: ['lineItem', 'f64'],
  liFirstAd: ['lineItem', 'i32'],
  liBudgetNanos: ['lineItem', 'f64'],
  liCapWindowMs: ['lineItem', 'f64'],
  liCapCount: ['lineItem', 'u32'],
  liQualityQ30: ['lineItem', 'u32'],
  liPriorClickQ30: ['lineItem', 'u32'],
  liPriorConversionQ30: ['lineItem', 'u32'],
  liSegmentsAnySet: ['lineItem', 'u32'],
  liSegmentsNoneSet: ['lineItem', 'u32'],
  liPlacesAllowSet: ['lineItem', 'u32'],
  liPlacesDenySet: ['lineItem', 'u32'],
  liPriceType: ['lineItem', 'u8'],
  liIsActive: ['lineItem', 'u8'],
  liIsRemoved: ['lineItem', 'u8'],
  liPacesEvenly: ['lineItem', 'u8'],

  creativeIdText: ['creative', 'u32'],
  creativeImageText: ['creative', 'u32'],
  creativeVideoText: ['creative', 'u32'],
  creativeTitleText: ['creative', 'u32'],
  creativeDomainText: ['creative', 'u32'],
  creativeLandingText: ['creative', 'u32'],
  creativeCategorySet: ['creative', 'u32'],
  creativeDomainSet: ['creative', 'u32'],
  creativeAttributeSet: ['creative', 'u32'],
  creativeMimeSet: ['creative', 'u32'],
  creativeProtocolSet: ['creative', 'u32'],
  creativeLanguageSet: ['creative', 'u32'],
  creativeDurationMs: ['creative', 'u32'],
  creativeWidth: ['creative', 'u16'],
  creativeHeight: ['creative', 'u16'],
  creativeTitleChars: ['creative', 'u16'],
  creativeFormat: ['creative', 'u8'],
  creativeIsSecure: ['creative', 'u8'],

  advertiserIdText: ['advertiser', 'u32'],
  advertiserNameText: ['advertiser', 'u32'],
  advertiserDomainText: ['advertiser', 'u32'],
  advertiserCategoryText: ['advertiser', 'u32'],
  advertiserDomainSet: ['advertiser', 'u32'],
  advertiserSeatSet: ['advertiser', 'u32'],
  /** 32 bits of its id and of its top category (ad-keys.ts): the same in every process. */
  advertiserKey: ['advertiser', 'u32'],
  advertiserCategoryKey: ['advertiser', 'u32'],
  advertiserNameChars: ['advertiser', 'u16'],
} as const;
const types = { u8: Uint8Array, u16: Uint16Array, u32: Uint32Array, i32: Int32Array, f64: Float64Array } as const;

export type ColumnName = keyof typeof columns;
type ViewOf<Type extends keyof typeof types> = InstanceType<(typeof types)[Type]>;
export type CatalogColumns = { readonly [Name in ColumnName]: ViewOf<(typeof columns)[Name][1]> };

/** How many of each there may ever be, until the next start. */
export type CatalogCapacities = {
  readonly ad: number;
  readonly lineItem: number;
  readonly creative: number;
  readonly advertiser: number;
};

/** Kinds of word sets. `seats` holds each advertiser's id by itself; `places` "site:DOMAIN" and "app:BUNDLE". */
export const setNames = [
  'segments',
  'places',
  'categories',
  'domains',
  'attributes',
  'mimes',
  'protocols',
  'languages',
  'seats',
] as const;
export type SetName = (typeof setNames)[number];

/** The whole catalog in shared memory; can be posted to a thread. */
export type CatalogShared = {
  readonly capacities: CatalogCapacities;
  readonly header: SharedArrayBuffer;
  readonly columns: Readonly<Record<ColumnName, SharedArrayBuffer>>;
  readonly texts: TextHeapShared;
  readonly sets: Readonly<Record<SetName, WordSetsShared>>;
};
/** The targeting index in shared memory; can be posted to a thread. */
export type IndexShared = { readonly bitmaps: BitmapPoolShared };

/** A row of an ad: never given out; written but not yet shown; on sale; withdrawn, its number not yet free again. */
export const adStates = { free: 0, added: 1, live: 2, withdrawn: 3 } as const;

/** Numbers that change while the catalog is in use. */
export const headerIndex = {
  version: 0,
  /** Odd while a change is being written. */
  sequence: 1,
  adCount: 2,
  lineItemCount: 3,
  creativeCount: 4,
  advertiserCount: 5,
  /** Rows below this were there at start, in order of value; those from here on came later. */
  rankedCount: 6,
} as const;
const headerLength = 16;

export function allocateColumns(capacities: CatalogCapacities): {
  header: SharedArrayBuffer;
  columns: Record<ColumnName, SharedArrayBuffer>;
} {
  const made = Object.entries(columns).map(([name, [of, type]]) => [
    name,
    new SharedArrayBuffer(capacities[of] * types[type].BYTES_PER_ELEMENT),
  ]);
  return {
    header: new SharedArrayBuffer(4 * headerLength),
    columns: Object.fromEntries(made) as Record<ColumnName, SharedArrayBuffer>,
  };
}

export function columnViews(shared: Readonly<Record<ColumnName, SharedArrayBuffer>>): CatalogColumns {
  const made = Object.entries(columns).map(([name, [, type]]) => {
    const View: new (buffer: SharedArrayBuffer) => ViewOf<typeof type> = types[type];
    return [name, new View(shared[name as ColumnName])];
  });
  return Object.fromEntries(made) as CatalogColumns;
}

/** Bytes by part, for whoever asks what an ad costs. `bitmaps` is the targeting index. */
export function catalogMemory(shared: CatalogShared, index: IndexShared): Record<string, number> {
  const parts: Record<string, number> = { ad: 0, lineItem: 0, creative: 0, advertiser: 0 };
  for (const [name, [of]] of Object.entries(columns)) parts[of]! += shared.columns[name as ColumnName].byteLength;
  // What is reserved beyond the texts there are is never touched, so it takes no memory.
  parts['texts'] = new Uint32Array(shared.texts.used)[0]!;
  parts['sets'] = setNames
    .flatMap((name) => Object.values(shared.sets[name]))
    .reduce((sum, buffer) => sum + buffer.byteLength, 0);
  parts['bitmaps'] = index.bitmaps.words.byteLength + index.bitmaps.keyText.byteLength;
  return parts;
}

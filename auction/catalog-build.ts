import { newAdKey } from './ad-keys.ts';
import { adStates, headerIndex, type CatalogCapacities } from './catalog-shared.ts';
import { adIdOf, type CatalogSpec, type CreativeSpec, priorValueNanos, sizeKeyOf } from './catalog-spec.ts';
import { CatalogWriter } from './catalog-writer.ts';
import { EntryWriter } from './entry-writer.ts';
import { IdTable } from './id-table.ts';
import { bitmapKeys, RowBits } from './row-bits.ts';
import { RowPool } from './row-pool.ts';

/** Room for what may be added until the next start: a share of what is there, and a number of each. */
export type Headroom = { readonly share: number; readonly rows: number; readonly textBytes: number };
/**
 * A quarter more; 1,024 ads even where there are none. 16 MiB hold the texts of 60,000 new ads or of half a million changed titles,
 * 1,000 a second for ten minutes; what is not used is never touched, so it is not resident.
 */
export const headroomDefault: Headroom = { share: 0.25, rows: 1024, textBytes: 16 << 20 };

/** Lays a checked catalog out in shared memory: rows in order of what their line items are worth, best first. */
export function buildCatalog(spec: CatalogSpec, headroom: Headroom = headroomDefault): CatalogWriter {
  const ranked = spec.lineItems
    .map((lineItem) => ({ lineItem, value: priorValueNanos(lineItem) }))
    .sort((left, right) => right.value - left.value)
    .map(({ lineItem }) => lineItem);
  const adCount = ranked.reduce((sum, { creativeIds }) => sum + creativeIds.length, 0);
  const roomFor = (count: number): number => Math.ceil((count * (1 + headroom.share) + headroom.rows) / 32) * 32;
  const capacities: CatalogCapacities = {
    ad: roomFor(adCount),
    lineItem: roomFor(ranked.length),
    creative: roomFor(spec.creatives.length),
    advertiser: roomFor(spec.advertisers.length),
  };
  const entries = new EntryWriter(capacities);
  const { columns, texts } = entries;
  const ids = {
    advertisers: new IdTable(capacities.advertiser, (number) => texts.read(columns.advertiserIdText[number]!)),
    lineItems: new IdTable(capacities.lineItem, (number) => texts.read(columns.liIdText[number]!)),
    creatives: new IdTable(capacities.creative, (number) => texts.read(columns.creativeIdText[number]!)),
  };
  for (const [number, advertiser] of spec.advertisers.entries()) {
    entries.putAdvertiser(number, advertiser);
    ids.advertisers.add(advertiser.id, number);
  }

  // Creatives in the order of the rows that show them, so that scanning rows walks their columns too.
  const unplaced = new Map<string, CreativeSpec>(spec.creatives.map((creative) => [creative.id, creative]));
  let creativeCount = 0;
  const place = (creative: CreativeSpec): number => {
    unplaced.delete(creative.id);
    entries.putCreative(creativeCount, creative);
    ids.creatives.add(creative.id, creativeCount);
    return creativeCount++;
  };
  const rows = new RowPool(columns);
  const adKey = newAdKey();
  const keys = new Set<string>();
  for (const [number, lineItem] of ranked.entries()) {
    const advertiser = ids.advertisers.get(lineItem.advertiserId);
    entries.putLineItem(number, lineItem, advertiser);
    ids.lineItems.add(lineItem.id, number);
    if (lineItem.targeting !== undefined) for (const key of bitmapKeys(lineItem.targeting, '')) keys.add(key);
    for (const creativeId of lineItem.creativeIds) {
      const unseen = unplaced.get(creativeId);
      const row = rows.take(number);
      columns.adLineItem[row] = number;
      columns.adAdvertiser[row] = advertiser;
      columns.adCreative[row] = unseen === undefined ? ids.creatives.get(creativeId) : place(unseen);
      adKey.of(adIdOf(lineItem.id, creativeId));
      columns.adKeyHigh[row] = adKey.high;
      columns.adKeyLow[row] = adKey.low;
      columns.adState[row] = adStates.live;
    }
  }
  for (const creative of unplaced.values()) place(creative);

  for (const { format, width, height } of spec.creatives) keys.add(`size=${sizeKeyOf(format, width, height)}`);
  const bits = new RowBits(keys, capacities.ad, texts);
  const shared = entries.share(Math.ceil(headroom.textBytes + headroom.share * texts.usedBytes));
  const header = new Int32Array(shared.header);
  header[headerIndex.version] = 1;
  header[headerIndex.adCount] = adCount;
  header[headerIndex.rankedCount] = adCount;
  header[headerIndex.lineItemCount] = ranked.length;
  header[headerIndex.creativeCount] = creativeCount;
  header[headerIndex.advertiserCount] = spec.advertisers.length;
  const writer = new CatalogWriter(shared, { entries, bits, rows, ids });
  for (const [number, { targeting }] of ranked.entries()) writer.writeBitsAtStart(number, targeting);
  return writer;
}

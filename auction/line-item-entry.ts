import type { Catalog } from './catalog.ts';
import { priceTypeNames, type TargetingSpec } from './catalog-spec.ts';

/** A line item in the words of the catalog file. */
export type LineItemEntry = Readonly<Record<string, unknown>>;

/** The targeting that a line item was given; undefined when it has none. */
export function targetingOf(catalog: Catalog, lineItem: number): TargetingSpec | undefined {
  const reference = catalog.columns.liTargetingText[lineItem]!;
  return reference === 0 ? undefined : (JSON.parse(catalog.texts.read(reference)) as TargetingSpec);
}

/** What the catalog holds of a line item, as the file would say it. */
export function lineItemEntry(catalog: Catalog, lineItem: number, rows: readonly number[]): LineItemEntry {
  const { columns } = catalog;
  const quality = decimalOf(columns.liQualityQ30[lineItem]!);
  const capCount = columns.liCapCount[lineItem]!;
  const targeting = targetingOf(catalog, lineItem);
  return {
    id: catalog.lineItemId(lineItem),
    campaign_id: catalog.campaignId(lineItem),
    advertiser_id: catalog.advertiserId(columns.liAdvertiser[lineItem]!),
    status: columns.liIsActive[lineItem] === 1 ? 'active' : 'paused',
    price_type: priceTypeNames[columns.liPriceType[lineItem]!],
    bid_nanos: columns.liBidNanos[lineItem],
    budget_nanos: columns.liBudgetNanos[lineItem],
    pacing: columns.liPacesEvenly[lineItem] === 1 ? 'even' : 'asap',
    ...(capCount > 0 ? { frequency_cap: { count: capCount, window_ms: columns.liCapWindowMs[lineItem] } } : {}),
    ...(quality < 1 ? { quality } : {}),
    prior_click: decimalOf(columns.liPriorClickQ30[lineItem]!),
    prior_conversion: decimalOf(columns.liPriorConversionQ30[lineItem]!),
    ...(targeting === undefined ? {} : { targeting }),
    creative_ids: rows.map((row) => catalog.creativeId(row)),
  };
}

/** Half a step of the fixed point is less than half of 10^-9: nine decimals give back what was written with nine or fewer. */
function decimalOf(q30: number): number {
  return Number((q30 / 2 ** 30).toFixed(9));
}

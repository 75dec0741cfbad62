import type { ProblemList } from './catalog-problems.ts';
import {
  adFormats,
  type AdvertiserSpec,
  type CatalogSpec,
  type CreativeSpec,
  type LineItemSpec,
} from './catalog-spec.ts';

/** What a change is checked against; nothing when a whole catalog is. */
export type KnownCatalog = {
  hasAdvertiser(id: string): boolean;
  hasCreative(id: string): boolean;
  /** Undefined when there is none. */
  advertiserOfLineItem(lineItemId: string): string | undefined;
  categoryOfAdvertiser(advertiserId: string): string | undefined;
  sizeOfCreative(creativeId: string): { format: number; width: number; height: number } | undefined;
};

/**
 * Ids are unique and everything referred to is there. In a change, also: what a model has learnt about an ad by its number may
 * not turn into something else under the same id.
 */
export function checkReferences(spec: CatalogSpec, known: KnownCatalog | undefined, problems: ProblemList): void {
  const advertisers = uniqueIds('advertisers', spec.advertisers, problems);
  const creatives = uniqueIds('creatives', spec.creatives, problems);
  uniqueIds('line_items', spec.lineItems, problems);
  const used = new Set<string>();
  for (const [index, item] of spec.lineItems.entries()) {
    const path = `line_items[${index}]`;
    if (
      item.advertiserId !== '' &&
      !advertisers.has(item.advertiserId) &&
      known?.hasAdvertiser(item.advertiserId) !== true
    )
      problems.add('UNKNOWN_REFERENCE', `${path}.advertiser_id`, `there is no advertiser "${item.advertiserId}"`);
    for (const [place, creativeId] of item.creativeIds.entries()) {
      used.add(creativeId);
      if (creativeId !== '' && !creatives.has(creativeId) && known?.hasCreative(creativeId) !== true)
        problems.add('UNKNOWN_REFERENCE', `${path}.creative_ids[${place}]`, `there is no creative "${creativeId}"`);
    }
  }
  if (known !== undefined) {
    checkIdentities(spec, known, problems);
    return;
  }
  for (const [index, { id }] of spec.creatives.entries())
    if (!used.has(id)) problems.warn('unused creative', `creatives[${index}]`, 'no line item shows this creative');
}

function uniqueIds(list: string, entries: readonly { readonly id: string }[], problems: ProblemList): Set<string> {
  const ids = new Set<string>();
  for (const [index, { id }] of entries.entries()) {
    // An id that could not be read was reported already.
    if (id !== '' && ids.has(id)) problems.add('DUPLICATE_ID', `${list}[${index}].id`, `"${id}" is there twice`);
    ids.add(id);
  }
  return ids;
}

function checkIdentities(spec: CatalogSpec, known: KnownCatalog, problems: ProblemList): void {
  for (const [index, item] of spec.lineItems.entries()) checkLineItem(item, `line_items[${index}]`, known, problems);
  for (const [index, each] of spec.advertisers.entries())
    checkAdvertiser(each, `advertisers[${index}]`, known, problems);
  for (const [index, each] of spec.creatives.entries()) checkCreative(each, `creatives[${index}]`, known, problems);
}

function checkLineItem(item: LineItemSpec, path: string, known: KnownCatalog, problems: ProblemList): void {
  const owner = known.advertiserOfLineItem(item.id);
  if (owner !== undefined && owner !== item.advertiserId)
    problems.add('CONFLICT', `${path}.advertiser_id`, `"${item.id}" belongs to "${owner}": make a new line item`);
}

function checkAdvertiser(advertiser: AdvertiserSpec, path: string, known: KnownCatalog, problems: ProblemList): void {
  const category = known.categoryOfAdvertiser(advertiser.id);
  if (category !== undefined && category !== advertiser.category)
    problems.add('CONFLICT', `${path}.category`, `is "${category}" and cannot change: make a new advertiser`);
}

function checkCreative(creative: CreativeSpec, path: string, known: KnownCatalog, problems: ProblemList): void {
  const size = known.sizeOfCreative(creative.id);
  if (size === undefined) return;
  if (adFormats[size.format] !== creative.format)
    problems.add('CONFLICT', `${path}.format`, `is ${adFormats[size.format]} and cannot change: make a new creative`);
  else if (size.width !== creative.width || size.height !== creative.height)
    problems.add('CONFLICT', path, `is ${size.width}x${size.height} and cannot change: make a new creative`);
}

/** Entries of a catalog file with everything that is required, for tests to change what they are about. */
export type Entry = Record<string, unknown>;

export function advertiserEntry(id: string, changes: Entry = {}): Entry {
  return { id, name: `Brand ${id}`, domain: `${id}.example`, category: 'IAB2', ...changes };
}

export function lineItemEntry(id: string, creativeIds: readonly string[], changes: Entry = {}): Entry {
  return {
    id,
    campaign_id: `cmp-${id}`,
    advertiser_id: 'adv1',
    status: 'active',
    price_type: 'CPM',
    bid_nanos: 1_000_000,
    budget_nanos: 50_000_000_000,
    pacing: 'even',
    prior_click: 0.02,
    prior_conversion: 0.1,
    creative_ids: creativeIds,
    ...changes,
  };
}

export function bannerEntry(id: string, changes: Entry = {}): Entry {
  return {
    id,
    format: 'banner',
    width: 300,
    height: 250,
    image_url: `https://cdn.adv1.example/${id}.jpg`,
    domain: 'adv1.example',
    categories: ['IAB2-3'],
    secure: true,
    landing_url: `https://www.adv1.example/offers/${id}`,
    ...changes,
  };
}

export function videoEntry(id: string, changes: Entry = {}): Entry {
  const { image_url: _, ...shared } = bannerEntry(id);
  return {
    ...shared,
    format: 'video',
    width: 640,
    height: 360,
    duration_ms: 15_000,
    mimes: ['video/mp4'],
    protocols: [2, 3, 6],
    video_url: `https://cdn.adv1.example/${id}.mp4`,
    ...changes,
  };
}

export function nativeEntry(id: string, changes: Entry = {}): Entry {
  return { ...bannerEntry(id), format: 'native', width: 1200, height: 627, title: `Offer ${id}`, ...changes };
}

export type CatalogEntries = { advertisers?: Entry[]; line_items: Entry[]; creatives: Entry[] };

export function catalogText({ advertisers = [advertiserEntry('adv1')], ...lists }: CatalogEntries): string {
  return JSON.stringify({ version: 1, currency: 'USD', advertisers, ...lists });
}

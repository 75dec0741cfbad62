type LineItem = {
  readonly id: string;
  readonly priceType: 'CPM' | 'CPC' | 'CPA';
  readonly bidNanos: number;
  readonly creative: Readonly<Record<string, unknown>>;
  readonly advertiser?: string;
  readonly more?: Readonly<Record<string, unknown>>;
};

/** A catalog in the words of its file. An advertiser per line item unless named; its domain is `ADVERTISER.example`. */
export function catalogOf(lineItems: readonly LineItem[]): object {
  const advertisers = [...new Set(lineItems.map(({ id, advertiser }) => advertiser ?? `adv-${id}`))];
  return {
    version: 1,
    currency: 'USD',
    advertisers: advertisers.map((id) => ({ id, name: `The ${id}`, domain: `${id}.example`, category: 'IAB2' })),
    line_items: lineItems.map(({ id, priceType, bidNanos, advertiser, more }) => ({
      id,
      campaign_id: `c-${id}`,
      advertiser_id: advertiser ?? `adv-${id}`,
      status: 'active',
      price_type: priceType,
      bid_nanos: bidNanos,
      budget_nanos: 100_000_000_000,
      pacing: 'asap',
      prior_click: 0.01,
      prior_conversion: 0.1,
      creative_ids: [`cr-${id}`],
      ...more,
    })),
    creatives: lineItems.map(({ id, creative, advertiser }) => ({
      id: `cr-${id}`,
      format: 'banner',
      width: 300,
      height: 250,
      image_url: `https://cdn.example/${id}.jpg?a=1&b=%222%22`,
      domain: `${advertiser ?? `adv-${id}`}.example`,
      categories: ['IAB2-3'],
      secure: true,
      landing_url: `https://shop.example/${id}?x=1&y=2#z`,
      ...creative,
    })),
  };
}

/** A creative that is a video of 15 s. */
export const videoCreative: Readonly<Record<string, unknown>> = {
  format: 'video',
  width: 640,
  height: 360,
  image_url: undefined,
  video_url: 'https://cdn.example/film.mp4?a=1&b=2',
  duration_ms: 15_000,
  mimes: ['video/mp4'],
  protocols: [2, 3, 7],
};

/** One or two line items of every kind; the CPM banner is the dearest of its size. */
export function smallCatalog(): object {
  return catalogOf([
    { id: 'cpm', priceType: 'CPM', bidNanos: 2_000_000, creative: {} },
    { id: 'cpc', priceType: 'CPC', bidNanos: 50_000_000, creative: {} },
    { id: 'small', priceType: 'CPC', bidNanos: 50_000_000, creative: { width: 320, height: 50 } },
    { id: 'film', priceType: 'CPM', bidNanos: 5_000_000, creative: videoCreative },
    {
      id: 'feed',
      priceType: 'CPC',
      bidNanos: 60_000_000,
      creative: { format: 'native', width: 1200, height: 627, title: 'A "fine" <offer> & more' },
    },
  ]);
}

export const banner = { w: 300, h: 250 };

/** A plain request for one 300x250 banner from an unknown user. */
export function bidBody(change: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return {
    id: 'r1',
    imp: [{ id: '1', banner }],
    site: { domain: 'news.example', cat: ['IAB12'] },
    device: { geo: { country: 'USA' }, devicetype: 4, os: 'iOS' },
    tmax: 2000,
    ...change,
  };
}

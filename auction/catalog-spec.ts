/** What a catalog file says, checked, with the defaults filled in. Plain data. */
export type CatalogSpec = {
  readonly advertisers: readonly AdvertiserSpec[];
  readonly lineItems: readonly LineItemSpec[];
  readonly creatives: readonly CreativeSpec[];
};

export type AdvertiserSpec = {
  readonly id: string;
  readonly name: string;
  readonly domain: string;
  readonly category: string;
};

/** At most `count` views by one user in any window. */
export type FrequencyCapSpec = { readonly count: number; readonly windowMs: number };

/** Money per event of the price type. */
export type LineItemTerms = {
  readonly isActive: boolean;
  readonly priceType: PriceType;
  readonly bidNanos: number;
  readonly budgetNanos: number;
  readonly pacesEvenly: boolean;
  readonly cap: FrequencyCapSpec | undefined;
  readonly quality: number;
  readonly priorClick: number;
  readonly priorConversion: number;
  /** Undefined = everywhere, everybody. */
  readonly targeting: TargetingSpec | undefined;
};
export type LineItemSpec = LineItemTerms & {
  readonly id: string;
  readonly campaignId: string;
  readonly advertiserId: string;
  readonly creativeIds: readonly string[];
};

/** What an advertiser pays for: numbers as everywhere in the auction. */
export const priceTypeNames = ['CPM', 'CPC', 'CPA'] as const;
export type PriceType = 0 | 1 | 2;

/** In the words of the file. A field that is absent sets no condition; none is ever empty. */
export type TargetingSpec = {
  readonly countries?: readonly string[];
  readonly devices?: readonly string[];
  readonly os?: readonly string[];
  readonly languages?: readonly string[];
  readonly hours?: readonly number[];
  readonly days?: readonly number[];
  readonly segments_any?: readonly string[];
  readonly segments_none?: readonly string[];
  readonly sites_allow?: readonly string[];
  readonly sites_deny?: readonly string[];
  readonly apps_allow?: readonly string[];
  readonly apps_deny?: readonly string[];
};

export const adFormats = ['banner', 'video', 'native'] as const;
export type AdFormat = (typeof adFormats)[number];

export type CreativeSpec = {
  readonly id: string;
  readonly format: AdFormat;
  readonly width: number;
  readonly height: number;
  /** Of a video; 0 otherwise. */
  readonly durationMs: number;
  readonly mimes: readonly string[];
  readonly protocols: readonly number[];
  /** '' where the format has none. */
  readonly imageUrl: string;
  readonly videoUrl: string;
  readonly title: string;
  readonly domain: string;
  readonly landingUrl: string;
  readonly categories: readonly string[];
  readonly attributes: readonly number[];
  readonly isSecure: boolean;
  /** ISO 639-1; '' = says nothing in any language. */
  readonly language: string;
};

const one30 = 2 ** 30;
/** Fixed point of the auction: probabilities and qualities in units of 2^-30, never 0. */
export function toQ30(value: number): number {
  return Math.max(1, Math.round(value * one30));
}

/** Expected revenue per impression by the advertiser's own guesses, in nanos: what the static order of ads goes by. */
export function priorValueNanos(terms: LineItemTerms): number {
  const perEvent = [1, terms.priorClick, terms.priorClick * terms.priorConversion][terms.priceType]!;
  return terms.bidNanos * perEvent * terms.quality;
}

/** An ad is a line item showing one of its creatives. Line item ids hold no dot, so the first dot parts the two. */
export function adIdOf(lineItemId: string, creativeId: string): string {
  return `${lineItemId}.${creativeId}`;
}

/** The line item part of an ad's id; the whole text when it has no dot. */
export function lineItemIdOf(adId: string): string {
  const dot = adId.indexOf('.');
  return dot < 0 ? adId : adId.slice(0, dot);
}

/** "300x250", "video", "native": what the index knows sizes by. */
export function sizeKeyOf(format: AdFormat, width: number, height: number): string {
  return format === 'banner' ? `${width}x${height}` : format;
}

/** "banner:300x250", "video", "native": the model's words. */
export function sizeWordOf(format: AdFormat, width: number, height: number): string {
  return format === 'banner' ? `banner:${width}x${height}` : format;
}

/**
 * What holds for a whole request, in the words of the catalog; '' unknown and [] none throughout. The caller may reuse one
 * object: the index keeps nothing of it after `begin`.
 */
export type TargetingQuery = {
  /** UTC: 0..23, and 0..6 from Sunday. */
  hour: number;
  day: number;
  /** ISO 3166 alpha-3, upper case. */
  country: string;
  device: string;
  os: string;
  /** ISO 639-1, lower case: what the user reads. */
  language: string;
  placeKind: 'site' | 'app' | 'dooh' | 'none';
  /** A site's domain (lower case), an app's bundle. */
  place: string;
  segments: readonly string[];
  /** More segments of the same user, from another source. */
  storedSegments: readonly string[];
  blockedDomains: readonly string[];
  blockedCategories: readonly string[];
  allowedCategories: readonly string[];
  /** OpenRTB `cattax` of both category lists. */
  categoryTaxonomy: number;
  blockedApps: readonly string[];
  allowedSeats: readonly string[];
  blockedSeats: readonly string[];
  allowedLanguages: readonly string[];
};

export type BannerQuery = { readonly sizes: readonly { readonly width: number; readonly height: number }[] };
export type VideoQuery = {
  readonly mimes: readonly string[];
  /** Empty = any. */
  readonly protocols: readonly number[];
  readonly durationMsMin: number;
  readonly durationMsMax: number;
  /** Exactly these when not empty. */
  readonly durationsMs: readonly number[];
  /** 0 = not stated. */
  readonly width: number;
  readonly height: number;
};
export type NativeAssetQuery = {
  readonly isRequired: boolean;
  readonly kind: 'title' | 'image' | 'data' | 'video';
  /** The specification's image or data type. */
  readonly type: number;
  /** 0 = not stated. */
  readonly charsMax: number;
};
export type NativeQuery = { readonly assets: readonly NativeAssetQuery[] };

/** One impression: an ad of any of the formats asked for may fill it. */
export type ImpQuery = {
  readonly banner: BannerQuery | undefined;
  readonly video: VideoQuery | undefined;
  readonly native: NativeQuery | undefined;
  readonly isSecure: boolean;
  readonly blockedAttributes: readonly number[];
  readonly isPrivateAuction: boolean;
};

/** A query about nobody, nowhere, at midnight on a Sunday. */
export function newTargetingQuery(): TargetingQuery {
  return {
    hour: 0,
    day: 0,
    country: '',
    device: '',
    os: '',
    language: '',
    placeKind: 'none',
    place: '',
    segments: [],
    storedSegments: [],
    blockedDomains: [],
    blockedCategories: [],
    allowedCategories: [],
    categoryTaxonomy: 1,
    blockedApps: [],
    allowedSeats: [],
    blockedSeats: [],
    allowedLanguages: [],
  };
}

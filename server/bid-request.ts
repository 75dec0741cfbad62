/** A bid request in our own words: what the pipeline reads, whatever version and dialect it came in. Plain data. */
export type BidRequest = {
  readonly kind: 'request';
  readonly id: string;
  /** Test traffic: full path, no spend, no pacing, caps or training rows. */
  readonly isTest: boolean;
  /** 1 first price, 2 second price, ≥ 500 the exchange's own; the caller's default when absent. */
  readonly auctionType: number;
  /** Undefined when absent (or not positive): the caller's default then holds. */
  readonly tmaxMs: number | undefined;
  /** Accepted bid currencies, upper case; empty = USD only, by the specification. */
  readonly currencies: readonly string[];
  readonly imps: readonly BidImp[];
  readonly place: BidPlace;
  readonly device: BidDevice;
  readonly user: BidUser;
  readonly blocked: BidBlocks;
  /** The request's `ext` object, untouched; undefined when absent. */
  readonly ext: unknown;
  /** How often leniency was needed; each is a counter in /metrics. */
  readonly leniency: Leniency;
};

export type AdSize = { readonly width: number; readonly height: number };

export type BannerSlot = { readonly sizes: readonly AdSize[] };
export type VideoSlot = {
  readonly mimes: readonly string[];
  /** Empty = any. */
  readonly protocols: readonly number[];
  readonly durationMsMin: number;
  /** Infinity when not stated. */
  readonly durationMsMax: number;
  /** `rqddurs`, in ms: exactly these when not empty. */
  readonly durationsMs: readonly number[];
  /** 0 when not stated. */
  readonly width: number;
  readonly height: number;
};
/** What a native slot asks for. `type` is the specification's image or data type; `charsMax` 0 = not stated. */
export type NativeAsset = {
  readonly id: number;
  readonly isRequired: boolean;
  readonly kind: 'title' | 'image' | 'data' | 'video';
  readonly type: number;
  readonly charsMax: number;
};
export type NativeSlot = { readonly version: string; readonly assets: readonly NativeAsset[] };

export type BidImp = {
  readonly id: string;
  readonly index: number;
  readonly banner: BannerSlot | undefined;
  readonly video: VideoSlot | undefined;
  readonly native: NativeSlot | undefined;
  /** Nanos per impression of `floorCurrency`, rounded up; 0 = none. Gross. A safe integer. */
  readonly floorNanos: number;
  /** The same for a video ad: at least `floorNanos`, and the highest of `video.mincpmpersec` and `video.durfloors`. */
  readonly videoFloorNanos: number;
  readonly floorCurrency: string;
  /** true: markup may hold https only. Not stated: the caller's default, which is false. */
  readonly isSecure: boolean;
  readonly isInterstitial: boolean;
  /** Creative attributes blocked by any of the slots. */
  readonly blockedAttributes: readonly number[];
  /** Only bids on its deals are wanted; we hold none, so such an imp gets no bid. */
  readonly isPrivateAuction: boolean;
  readonly tagId: string;
  /** Seconds the exchange may take between answer and impression; 0 when not stated. */
  readonly expSeconds: number;
};

export type BidPlace = {
  readonly kind: 'site' | 'app' | 'dooh' | 'none';
  /** '' when absent, for all of these. `domain` is lower case. */
  readonly id: string;
  readonly domain: string;
  readonly bundle: string;
  readonly name: string;
  readonly publisherId: string;
  readonly categories: readonly string[];
  /** The search that led here. */
  readonly search: string;
};

export type BidDevice = {
  /** The words of the catalog: phone, tablet, desktop, tv, other; '' unknown. */
  readonly type: 'phone' | 'tablet' | 'desktop' | 'tv' | 'other' | '';
  /** ios, android, windows, macos, linux, other; '' unknown. */
  readonly os: 'ios' | 'android' | 'windows' | 'macos' | 'linux' | 'other' | '';
  /** ISO 3166 alpha-3, upper case; '' unknown. */
  readonly country: string;
  /** ISO 639-1, lower case; '' unknown. */
  readonly language: string;
};

export type BidUser = {
  /** `user.buyeruid`, else `user.id`; '' when neither, or when privacy does not allow a key. */
  readonly key: string;
  /** false: no user-keyed features, no caps by user, no user id written. */
  readonly isKeyAllowed: boolean;
  /** Why not, for counters and explain; '' when allowed. */
  readonly refusal: PrivacyRefusal | '';
  /** Empty when no key is allowed. */
  readonly segments: readonly string[];
};
export type PrivacyRefusal = 'GDPR_NO_CONSENT' | 'EEA_NO_SIGNAL' | 'COPPA' | 'LMT' | 'US_PRIVACY' | 'GPP_OPT_OUT';

export type BidBlocks = {
  /** Lower case, without trailing dots. A listed domain blocks itself and what is below it. */
  readonly advertiserDomains: readonly string[];
  readonly categories: readonly string[];
  /** Allowed categories; empty = no such list. */
  readonly allowedCategories: readonly string[];
  /** Taxonomy of both lists (OpenRTB `cattax`, default 1). */
  readonly categoryTaxonomy: number;
  readonly appBundles: readonly string[];
  /** Empty = no such list. */
  readonly allowedSeats: readonly string[];
  readonly blockedSeats: readonly string[];
  /** Allowed languages of creatives (ISO 639-1); empty = no such list. */
  readonly allowedLanguages: readonly string[];
};

export type Leniency = {
  /** Numbers or flags that came as strings or booleans. */
  coercions: number;
  /** Same signal in the 2.6 and the 2.5 place with different values: the 2.6 place won. */
  conflicts: number;
  /** Values ignored because their form means nothing here (numeric categories, unknown enum values, malformed optional parts). */
  ignored: number;
};

/** Why a body is not a request: answered 400. `path` is a JSON path such as `imp[0].banner.w`. */
export type RequestFault = {
  readonly kind: 'fault';
  readonly code: RequestFaultCode;
  readonly path: string;
  readonly message: string;
};

export const requestFaults = {
  BODY_EMPTY: 'The body is empty.',
  BODY_NOT_JSON: 'The body is not JSON.',
  BODY_NOT_OBJECT: 'The body is not a JSON object.',
  BODY_ENCODING: 'The body cannot be decompressed.',
  BODY_TOO_LARGE: 'The body is larger than the limit once decompressed.',
  TOO_DEEP: 'The body nests deeper than the limit.',
  FIELD_MISSING: 'A required field is absent.',
  FIELD_TYPE: 'A field has the wrong type.',
  FIELD_RANGE: 'A field is outside its range or longer than its limit.',
  DUPLICATE_ID: 'Two items of one list have the same id.',
  CONFLICT: 'Two fields exclude each other.',
  UNKNOWN_AD: 'An ad id is not in the catalog.',
  VERSION_UNKNOWN: 'The request says that it is of another major version than OpenRTB 2.',
  CALLER_UNKNOWN: 'The key is not known, or there is none and the caller is not on the loopback.',
} as const;
export type RequestFaultCode = keyof typeof requestFaults;

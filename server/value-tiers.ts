import { wordKeyOf } from '#auction/ad-keys.ts';

/** What a request is worth to us: premium ones keep the dear rungs longest. */
export const valueTiers = ['premium', 'standard', 'basic'] as const;
export type ValueTier = (typeof valueTiers)[number];

export type TierLimits = {
  /** Nanos per impression (a million is one unit of the currency a thousand) from which a place is premium, and standard. */
  readonly premiumNanos: number;
  readonly standardNanos: number;
};

/** Places that values are kept of; two that fall on one entry push each other out. 16 bytes each. */
const placeCount = 16_384;
/** Share of a new auction in what a place is worth: about the last fifty count. */
const newShare = 1 / 32;
/** A place is judged when this many auctions have been seen there. */
const auctionsMin = 8;

/**
 * What impressions of a place bring, learnt from its auctions: an exponential mean of the expected value of what they sold, nothing
 * sold counting as nothing. For callers whose tier is `by-value`. One per serving thread.
 */
export class PlaceValues {
  readonly #limits: TierLimits;
  readonly #keys = new Uint32Array(placeCount);
  readonly #nanos = new Float64Array(placeCount);
  readonly #auctions = new Uint32Array(placeCount);

  constructor(limits: TierLimits) {
    this.#limits = limits;
  }

  /** Of a place that is not known yet: standard. */
  tierOf(place: string): ValueTier {
    const key = wordKeyOf(place);
    const at = key % placeCount;
    if (key === 0 || this.#keys[at] !== key || this.#auctions[at]! < auctionsMin) return 'standard';
    const nanos = this.#nanos[at]!;
    if (nanos >= this.#limits.premiumNanos) return 'premium';
    return nanos >= this.#limits.standardNanos ? 'standard' : 'basic';
  }

  /** Tells what one impression of a place was sold for, in expectation; 0 = not sold. */
  sold(place: string, nanos: number): void {
    const key = wordKeyOf(place);
    if (key === 0) return;
    const at = key % placeCount;
    if (this.#keys[at] !== key) {
      this.#keys[at] = key;
      this.#nanos[at] = nanos;
      this.#auctions[at] = 1;
      return;
    }
    // The first ones count alike, later ones by their share.
    const auctions = (this.#auctions[at] = Math.min(0xffff_ffff, this.#auctions[at]! + 1));
    this.#nanos[at] = this.#nanos[at]! + (nanos - this.#nanos[at]!) * Math.max(newShare, 1 / auctions);
  }
}

import type { TargetingIndex } from '#auction/targeting-index.ts';
import { newTargetingQuery, type TargetingQuery } from '#auction/targeting-query.ts';
import type { BidPlace, BidRequest } from './bid-request.ts';
import { dayOf, hourOf } from './context-words.ts';
import type { RetrievalPort } from './pipeline-ports.ts';

const none: readonly string[] = [];

/** Puts a bid request into the words of the targeting index. One per serving thread: it answers for one request at a time. */
export class Retrieval implements RetrievalPort {
  readonly #index: TargetingIndex;
  readonly #hasSecureNotices: () => boolean;
  readonly #query: TargetingQuery = newTargetingQuery();
  #imps: BidRequest['imps'] = [];

  /** `hasSecureNotices`: whether our notice addresses are https. */
  constructor(index: TargetingIndex, hasSecureNotices: () => boolean = () => true) {
    this.#index = index;
    this.#hasSecureNotices = hasSecureNotices;
  }

  /** `storedSegments`: those of the user's profile. */
  begin(request: BidRequest, nowMs: number, storedSegments: readonly string[] = none): void {
    const { place, device, user, blocked } = request;
    const query = this.#query;
    query.hour = hourOf(nowMs);
    query.day = dayOf(nowMs);
    query.country = device.country;
    query.device = device.type;
    query.os = device.os;
    query.language = device.language;
    query.placeKind = place.kind;
    query.place = placeName(place);
    query.segments = user.isKeyAllowed ? user.segments : none;
    query.storedSegments = user.isKeyAllowed && user.key !== '' ? storedSegments : none;
    query.blockedDomains = blocked.advertiserDomains;
    query.blockedCategories = blocked.categories;
    query.allowedCategories = blocked.allowedCategories;
    query.categoryTaxonomy = blocked.categoryTaxonomy;
    query.blockedApps = blocked.appBundles;
    query.allowedSeats = blocked.allowedSeats;
    query.blockedSeats = blocked.blockedSeats;
    query.allowedLanguages = blocked.allowedLanguages;
    this.#imps = request.imps;
    this.#index.begin(query);
  }

  select(impIndex: number, limit: number, out: Uint32Array): number {
    const imp = this.#imps[impIndex];
    if (imp === undefined) return 0;
    // VAST wants an address to report an impression to, and a secure one may only hold https: without one there is no video.
    const isBlind = imp.isSecure && imp.video !== undefined && !this.#hasSecureNotices();
    return this.#index.select(isBlind ? { ...imp, video: undefined } : imp, limit, out);
  }
}

/** The name that line items list a place by; the exchange's own id when it says no other. */
export function placeName(place: BidPlace): string {
  return place.kind === 'app' ? place.bundle || place.id : place.domain || place.id;
}

import type { BidRequest } from '#server/bid-request.ts';
import { nothingBlocked } from '#server/v1-request.ts';

export const plainImp: BidRequest['imps'][number] = {
  id: '1',
  index: 0,
  banner: {
    sizes: [
      { width: 970, height: 250 },
      { width: 300, height: 250 },
    ],
  },
  video: undefined,
  native: undefined,
  floorNanos: 0,
  videoFloorNanos: 0,
  floorCurrency: 'USD',
  isSecure: true,
  isInterstitial: false,
  blockedAttributes: [],
  isPrivateAuction: false,
  tagId: '',
  expSeconds: 0,
};

/** A banner on a site, for somebody with a key. */
export const plainRequest: BidRequest = {
  kind: 'request',
  id: 'r1',
  isTest: false,
  auctionType: 1,
  tmaxMs: 100,
  currencies: [],
  imps: [plainImp],
  place: {
    kind: 'site',
    id: '17',
    domain: 'news.example',
    bundle: '',
    name: '',
    publisherId: '',
    categories: [],
    search: '',
  },
  device: { type: 'phone', os: 'ios', country: 'USA', language: 'en' },
  user: { key: 'u1', isKeyAllowed: true, refusal: '', segments: [] },
  blocked: nothingBlocked,
  ext: undefined,
  leniency: { coercions: 0, conflicts: 0, ignored: 0 },
};

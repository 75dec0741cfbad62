import { UserHash } from './user-hash.ts';

/** Not secret: ids of ads are known to whoever sees a bid, and counts by ad must mean the same in every process and after every start. */
const seeds = { ad: [0x61_64_6b_65, 0x79_5f_76_31], site: [0x73_69_74_65, 0x6b_65_79_31] } as const;

/** Hashes an ad's id to the 64 bits that the catalog's columns keep and that counts are kept by. */
export function newAdKey(): UserHash {
  return new UserHash(...seeds.ad);
}

const siteHash = new UserHash(...seeds.site);

/** 32 bits of a site's domain, an app's bundle, or an exchange's own id of either; 0 = not said. */
export function siteKeyOf(place: string): number {
  if (place === '') return 0;
  siteHash.of(place);
  return siteHash.low === 0 ? 1 : siteHash.low;
}

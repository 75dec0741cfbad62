import { UserHash } from './user-hash.ts';

/** Not secret: ids of ads are known to whoever sees a bid, and counts by ad must mean the same in every process and after every start. */
const seeds = { ad: [0x61_64_6b_65, 0x79_5f_76_31], word: [0x77_6f_72_64, 0x6b_65_79_31] } as const;

/** Hashes an ad's id to the 64 bits that the catalog's columns keep and that counts are kept by. */
export function newAdKey(): UserHash {
  return new UserHash(...seeds.ad);
}

const wordHash = new UserHash(...seeds.word);

/** 32 bits of a word that views are counted by: a site's domain or an app's bundle, an advertiser's id, a top category; 0 = not said. */
export function wordKeyOf(word: string): number {
  if (word === '') return 0;
  wordHash.of(word);
  return wordHash.low === 0 ? 1 : wordHash.low;
}

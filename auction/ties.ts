function mix(hash: number): number {
  let mixed = hash;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return mixed ^ (mixed >>> 16);
}

/**
 * Who goes first among equals: the larger key. A keyed hash of auction, imp and ad, so that a rerun decides the same, the
 * order of arrival decides nothing, and over many auctions each of the equals wins its share.
 */
export function tieKey(seedHigh: number, seedLow: number, impIndex: number, adRow: number): number {
  // Each part is mixed before the next joins: added up unmixed, neighbours in two parts would cancel out.
  let hash = mix(seedLow ^ 0x9e3779b9);
  hash = mix(hash + seedHigh);
  hash = mix(hash + Math.imul(impIndex + 1, 0x27d4eb2f));
  return mix(hash + Math.imul(adRow + 1, 0x165667b1)) >>> 0;
}

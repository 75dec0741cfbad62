/**
 * The last steps of MurmurHash3 (Appleby, fmix32 after its first fold): every bit of the result depends on all bits of `hash`, as far as
 * the lower half of them has seen the upper. Where it has not, hand over `hash ^ (hash >>> 16)`. 32 bits, signed.
 */
export function finishedHash(hash: number): number {
  let mixture = Math.imul(hash, 0x85eb_ca6b);
  mixture = Math.imul(mixture ^ (mixture >>> 13), 0xc2b2_ae35);
  return mixture ^ (mixture >>> 16);
}

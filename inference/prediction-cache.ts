import { finishedHash } from '#embeddings/hash-finish.ts';

/** Memory of the cache, for all threads: 8 bytes an entry. */
const entryCountDefault = 2 ** 20;
const entryCountMax = 2 ** 26;
/** One cache line. */
const waysPerSet = 8;
const wordsPerEntry = 2;
/** Times are whole seconds, of which an entry keeps 16 bits. */
const secondsPerEpoch = 2 ** 16;
/** Requirement: no kept prediction is used that is older. */
export const predictionAgeMsMax = 3_600_000;
/** A value has 16 bits: −16 to 16 in steps of 1/2048. */
const stepsPerUnit = 2048;
const valueMax = 32_767;
/** A new prediction moves a kept one by this share: about the mean of the last 15. */
const newShare = 1 / 8;

/**
 * Numbers that the head gave for (user segment, ad), kept for when it gives none; shared by all threads, bounded, without locks.
 * An entry is two words, the data and the data XOR the key's check (Hyatt & Mann, "A lock-less transposition-table implementation
 * for parallel search", ICGA Journal 2002): whatever a reader finds that two writers mixed, or that belongs to another pair, fails the
 * check but once in 2^32. Sets of eight; who comes new replaces the oldest. Other models' entries never fit, nor do those of an ad
 * that had the row before: the keys say so.
 */
export class PredictionCache {
  readonly #words: Int32Array;
  readonly #setMask: number;
  readonly #ageSecondsMax: number;
  #nowSeconds = 0;
  #segmentSet = 0;
  #segmentCheck = 0;
  /** Differ only where an entry may be of the stretch of 65,536 s before this one. */
  #epochCheck = 0;
  #epochBefore = 0;

  /** `entryCount`: a power of two. */
  static allocate(entryCount: number = entryCountDefault): SharedArrayBuffer {
    if (!(entryCount >= waysPerSet && entryCount <= entryCountMax && (entryCount & (entryCount - 1)) === 0))
      throw new RangeError(`${entryCount} entries: a power of two from ${waysPerSet} to ${entryCountMax} is needed.`);
    return new SharedArrayBuffer(entryCount * wordsPerEntry * Int32Array.BYTES_PER_ELEMENT);
  }

  constructor(shared: SharedArrayBuffer, ageMsMax: number = predictionAgeMsMax) {
    if (!(ageMsMax >= 0 && ageMsMax <= predictionAgeMsMax))
      throw new RangeError(`A prediction may be kept for 0 to ${predictionAgeMsMax} ms, not ${ageMsMax}.`);
    this.#words = new Int32Array(shared);
    this.#setMask = this.#words.length / (waysPerSet * wordsPerEntry) - 1;
    this.#ageSecondsMax = Math.floor(ageMsMax / 1000);
  }

  /** Once per request, before the others. `modelKey`: 32 bits that no two models share. */
  begin(modelKey: number, segment: number, nowMs: number): void {
    const seconds = Math.floor(nowMs / 1000);
    const epoch = Math.floor(seconds / secondsPerEpoch);
    this.#nowSeconds = seconds;
    this.#segmentSet = mixed(Math.imul(segment + 1, 0x9e3779b1) ^ modelKey);
    this.#segmentCheck = mixed(Math.imul(segment + 1, 0xc2b2ae35) ^ ~modelKey);
    this.#epochCheck = mixed(epoch);
    const reachesBack = seconds - epoch * secondsPerEpoch <= this.#ageSecondsMax;
    this.#epochBefore = reachesBack ? mixed(epoch - 1) : this.#epochCheck;
  }

  /** NaN when there is none young enough. `adKey`: of the ad that has the row now. */
  read(row: number, adKey: number): number {
    const words = this.#words;
    const base = this.#setOf(row, adKey);
    const check = this.#checkOf(row, adKey);
    for (let at = base; at < base + waysPerSet * wordsPerEntry; at += wordsPerEntry) {
      const data = words[at + 1]!;
      if (!this.#fits(words[at]! ^ data ^ check)) continue;
      return this.#ageOf(data) <= this.#ageSecondsMax ? (data >> 16) / stepsPerUnit : Number.NaN;
    }
    return Number.NaN;
  }

  /** Adds a number to what is kept. What is no number is not kept. */
  keep(row: number, adKey: number, value: number): void {
    const words = this.#words;
    const base = this.#setOf(row, adKey);
    const check = this.#checkOf(row, adKey);
    let steps = value * stepsPerUnit;
    if (!(steps >= -valueMax)) {
      if (Number.isNaN(steps)) return;
      steps = -valueMax;
    }
    if (steps > valueMax) steps = valueMax;
    let place = base;
    let oldest = -1;
    for (let at = base; at < base + waysPerSet * wordsPerEntry; at += wordsPerEntry) {
      const data = words[at + 1]!;
      const age = this.#ageOf(data);
      if (this.#fits(words[at]! ^ data ^ check)) {
        if (age <= this.#ageSecondsMax) steps = (data >> 16) + (steps - (data >> 16)) * newShare;
        place = at;
        break;
      }
      // Never written: taken before anything else.
      const replacedBy = data === 0 ? secondsPerEpoch : age;
      if (replacedBy > oldest) {
        oldest = replacedBy;
        place = at;
      }
    }
    const data = (Math.round(steps) << 16) | (this.#nowSeconds & 0xffff);
    words[place] = data ^ check ^ this.#epochCheck;
    words[place + 1] = data;
  }

  #fits(rest: number): boolean {
    return rest === this.#epochCheck || rest === this.#epochBefore;
  }

  /** A time ahead of ours counts as very old. */
  #ageOf(data: number): number {
    return (this.#nowSeconds - data) & 0xffff;
  }

  /** First word of the set. */
  #setOf(row: number, adKey: number): number {
    const hash = mixed(this.#segmentSet ^ Math.imul(row + 1, 0x85ebca6b) ^ adKey);
    return (hash & this.#setMask) * waysPerSet * wordsPerEntry;
  }

  #checkOf(row: number, adKey: number): number {
    return mixed(this.#segmentCheck ^ Math.imul(row + 1, 0x27d4eb2f) ^ Math.imul(adKey, 0x165667b1));
  }
}

function mixed(value: number): number {
  return finishedHash(value ^ (value >>> 16));
}

import { EventLogError } from './errors.ts';
import { type AuctionDraft, auctionLimits, schemaIds } from './event-records.ts';
import { frameHeaderBytes, sealRecord, viewOf, writeText } from './record-frame.ts';

/**
 * The body of an auction record is a row of sections `[u16 section id][u16 0][u32 body bytes][body, padded to 4]`. A reader
 * skips sections that it does not know, and what a known one holds behind the fields that it knows.
 */
export const auctionSections = {
  numbers: 1,
  texts: 2,
  contextIds: 3,
  userIds: 4,
  userVector: 5,
  imps: 6,
  candidates: 7,
  features: 8,
  stages: 9,
  impContexts: 10,
  lookups: 11,
  userState: 12,
} as const;
export const sectionHeaderBytes = 8;

/** Bits of the candidates section: which columns are there. */
export const candidateColumns = { imp: 1, allConversions: 4, allLogits: 8, quality: 16 } as const;
const oneQ30 = 2 ** 30;
const two32 = 4_294_967_296;

/**
 * Turns drafts into bytes in a buffer of its own, in one go: columns are packed there as aligned words, and the ring then
 * takes one copy. One per thread.
 */
export class AuctionEncoder {
  readonly bytes = new Uint8Array(auctionLimits.recordBytesMax);
  readonly #view = viewOf(this.bytes);
  readonly #words = new Uint32Array(this.bytes.buffer);
  readonly #floats = new Float32Array(this.bytes.buffer);
  readonly #hasFeatures = new Uint8Array(auctionLimits.candidateCountMax);

  /** Bytes of the sealed record, which then lies at the beginning of `bytes`. Throws EVENT_LOG_TOO_LARGE beyond the named bounds. */
  encode(draft: AuctionDraft): number {
    if (
      draft.candidateCount > auctionLimits.candidateCountMax ||
      draft.impCount > auctionLimits.impCountMax ||
      draft.contextIdCount > auctionLimits.contextIdCountMax ||
      draft.userIdCount > auctionLimits.userIdCountMax ||
      draft.impContextCount > auctionLimits.impCountMax ||
      draft.stageCount > auctionLimits.stageCountMax ||
      draft.lookupCount > auctionLimits.lookupCountMax ||
      draft.userStateCount > auctionLimits.userStateCountMax
    ) {
      throw new EventLogError('EVENT_LOG_TOO_LARGE');
    }
    let at = this.#numbers(draft, frameHeaderBytes);
    at = this.#texts(draft, at);
    at = this.#copyWords(auctionSections.contextIds, draft.contextIds, draft.contextIdCount, at);
    at = this.#copyWords(auctionSections.userIds, draft.userIds, draft.userIdCount, at);
    at = this.#copyFloats(auctionSections.userVector, draft.userVector, draft.userVectorCount, at);
    at = this.#imps(draft, at);
    at = this.#candidates(draft, at);
    at = this.#features(draft, at);
    at = this.#copyWords(auctionSections.stages, draft.stageUs, draft.stageCount, at);
    at = this.#impContexts(draft, at);
    at = this.#lookups(draft, at);
    at = this.#copyFloats(auctionSections.userState, draft.userState, draft.userStateCount, at);
    return sealRecord(this.bytes, this.#view, 0, at, schemaIds.auction);
  }

  /** Writes the section's header once its end is known, and pads to a whole word. */
  #close(id: number, start: number, end: number): number {
    this.#view.setUint16(start, id, true);
    this.#view.setUint16(start + 2, 0, true);
    this.#view.setUint32(start + 4, end - start - sectionHeaderBytes, true);
    let padded = end;
    while ((padded & 3) !== 0) this.bytes[padded++] = 0;
    return padded;
  }

  #numbers(draft: AuctionDraft, start: number): number {
    const view = this.#view;
    let at = start + sectionHeaderBytes;
    view.setUint32(at, draft.auctionIdHigh, true);
    view.setUint32(at + 4, draft.auctionIdLow, true);
    view.setFloat64(at + 8, draft.timeMs, true);
    view.setFloat64(at + 16, draft.arrivalMs, true);
    view.setUint8(at + 24, draft.surface);
    view.setUint8(at + 25, (draft.test ? 1 : 0) | (draft.explore ? 2 : 0) | (draft.keepAllScores ? 4 : 0));
    view.setUint8(at + 26, draft.rung);
    view.setUint8(at + 27, draft.mechanism);
    view.setUint32(at + 28, draft.userRow, true);
    view.setFloat64(at + 32, draft.catalogVersion, true);
    view.setFloat64(at + 40, draft.incrementNanos, true);
    view.setFloat64(at + 48, draft.qualityExponent, true);
    view.setUint32(at + 56, draft.marginPpm, true);
    view.setUint32(at + 60, draft.tieSeedHigh, true);
    view.setUint32(at + 64, draft.tieSeedLow, true);
    view.setFloat64(at + 68, draft.rateNumerator, true);
    view.setFloat64(at + 76, draft.rateDenominator, true);
    view.setFloat32(at + 84, draft.tmaxMs, true);
    view.setUint32(at + 88, draft.eligibleCount, true);
    view.setUint32(at + 92, draft.throttledCount, true);
    view.setUint32(at + 96, draft.cappedCount, true);
    at += 100;
    return this.#close(auctionSections.numbers, start, at);
  }

  #texts(draft: AuctionDraft, start: number): number {
    let at = start + sectionHeaderBytes;
    at = this.#text(at, draft.requestId);
    at = this.#text(at, draft.callerId);
    at = this.#text(at, draft.userKey);
    at = this.#text(at, draft.modelId);
    at = this.#text(at, draft.calibratorId);
    at = this.#text(at, draft.tableVersions);
    at = this.#text(at, draft.currency);
    return this.#close(auctionSections.texts, start, at);
  }

  #text(at: number, text: string): number {
    return writeText(this.bytes, this.#view, at, text, auctionLimits.textBytesMax);
  }

  #copyWords(id: number, source: Uint32Array, count: number, start: number): number {
    if (count === 0) return start;
    const word = (start + sectionHeaderBytes) >> 2;
    for (let index = 0; index < count; index++) this.#words[word + index] = source[index]!;
    return this.#close(id, start, (word + count) << 2);
  }

  #copyFloats(id: number, source: Float32Array, wanted: number, start: number): number {
    const count = Math.min(wanted, source.length);
    if (count === 0) return start;
    const word = (start + sectionHeaderBytes) >> 2;
    for (let index = 0; index < count; index++) this.#floats[word + index] = source[index]!;
    return this.#close(id, start, (word + count) << 2);
  }

  /** Per value `[u8 table][u8 outcome][u8 source][u8 0][u32 age in ms]`. */
  #lookups(draft: AuctionDraft, start: number): number {
    const { lookupCount } = draft;
    if (lookupCount === 0) return start;
    let at = start + sectionHeaderBytes;
    for (let place = 0; place < lookupCount; place++, at += lookupBytes) {
      this.bytes[at] = draft.lookupTable[place]!;
      this.bytes[at + 1] = draft.lookupOutcome[place]!;
      this.bytes[at + 2] = draft.lookupSource[place]!;
      this.bytes[at + 3] = 0;
      this.#view.setUint32(at + 4, draft.lookupAgeMs[place]!, true);
    }
    return this.#close(auctionSections.lookups, start, at);
  }

  /** Only with several imps: `[u8 imps][u8 ids per imp][u8 imp of the user vector][u8 0]`, then the ids. */
  #impContexts(draft: AuctionDraft, start: number): number {
    const { impContextCount, contextIdCount, impContextIds } = draft;
    if (impContextCount === 0 && draft.userVectorImp === 0) return start;
    const at = start + sectionHeaderBytes;
    this.#view.setUint8(at, impContextCount);
    this.#view.setUint8(at + 1, contextIdCount);
    this.#view.setUint8(at + 2, draft.userVectorImp);
    this.#view.setUint8(at + 3, 0);
    let word = (at + 4) >> 2;
    for (let imp = 0; imp < impContextCount; imp++) {
      const from = imp * auctionLimits.contextIdCountMax;
      for (let index = 0; index < contextIdCount; index++) this.#words[word + index] = impContextIds[from + index]!;
      word += contextIdCount;
    }
    return this.#close(auctionSections.impContexts, start, word << 2);
  }

  /** `[u16 count][u16 bytes of the fixed part of each]`, then per imp the fixed part and its id. */
  #imps(draft: AuctionDraft, start: number): number {
    const view = this.#view;
    let at = start + sectionHeaderBytes;
    view.setUint16(at, draft.impCount, true);
    view.setUint16(at + 2, impFixedBytes, true);
    at += 4;
    for (let imp = 0; imp < draft.impCount; imp++) {
      view.setFloat64(at, draft.impFloorNanos[imp]!, true);
      view.setUint16(at + 8, draft.impWidth[imp]!, true);
      view.setUint16(at + 10, draft.impHeight[imp]!, true);
      view.setUint8(at + 12, draft.impFormat[imp]!);
      view.setUint8(at + 13, (draft.impSecure[imp]! & 1) | ((draft.impExplored[imp]! & 1) << 1));
      view.setInt16(at + 14, draft.impWinner[imp]!, true);
      view.setFloat64(at + 16, draft.impPriceNanos[imp]!, true);
      view.setUint32(at + 24, draft.impReservation[imp]!, true);
      view.setFloat64(at + 28, draft.impReservedNanos[imp]!, true);
      view.setUint32(at + 36, draft.impPropensityQ30[imp]!, true);
      at = this.#text(at + impFixedBytes, draft.impId[imp]!);
    }
    return this.#close(auctionSections.imps, start, at);
  }

  /**
   * `[u32 count][u32 column bits]`, then the columns. 14.5 bytes a candidate in the usual case: row, click and low half of
   * the bid as words; what is nearly always the same (conversion of non-CPA, high half of the bid) as a bitmap of the places
   * that differ and their words; price type and verdict in one byte, reason in another; the imp only when there are several.
   */
  #candidates(draft: AuctionDraft, start: number): number {
    const count = draft.candidateCount;
    if (count === 0) return start;
    const words = this.#words;
    const { candidateAdRow, candidateClickQ30, candidateBidNanos, candidateQualityQ30, candidateConversionQ30 } = draft;
    const { candidatePriceType, candidateVerdict, candidateReason, candidateImp } = draft;
    const hasFeatures = this.#hasFeatures;
    for (let row = 0; row < draft.featureRowCount; row++) hasFeatures[draft.featureCandidate[row]!] = 1;
    const keepAll = draft.keepAllScores;
    let bits = keepAll ? candidateColumns.allConversions | candidateColumns.allLogits : 0;
    if (draft.impCount > 1) bits |= candidateColumns.imp;

    let word = (start + sectionHeaderBytes) >> 2;
    const bitsWord = word + 1;
    words[word] = count;
    const rowsAt = word + 2;
    const clicksAt = rowsAt + count;
    const bidsAt = clicksAt + count;
    const bitmapWords = (count + 31) >> 5;
    const highBitmapAt = bidsAt + count;
    word = highBitmapAt + bitmapWords;
    words.fill(0, highBitmapAt, word);
    let qualityDiffers = false;
    for (let index = 0; index < count; index++) {
      words[rowsAt + index] = candidateAdRow[index]!;
      words[clicksAt + index] = candidateClickQ30[index]!;
      const bid = candidateBidNanos[index]!;
      const high = Math.floor(bid / two32);
      words[bidsAt + index] = bid - high * two32;
      if (high !== 0) {
        words[highBitmapAt + (index >> 5)]! |= 1 << (index & 31);
        words[word++] = high;
      }
      if (candidateQualityQ30[index] !== oneQ30) qualityDiffers = true;
    }

    if (keepAll) {
      for (let index = 0; index < count; index++) words[word + index] = candidateConversionQ30[index]!;
      word += count;
      for (let index = 0; index < count; index++) this.#floats[word + index] = draft.candidateClickLogit[index]!;
      word += count;
    } else {
      const bitmapAt = word;
      word += bitmapWords;
      words.fill(0, bitmapAt, word);
      for (let index = 0; index < count; index++) {
        if (candidatePriceType[index] === 2 || hasFeatures[index] === 1) {
          words[bitmapAt + (index >> 5)]! |= 1 << (index & 31);
          words[word++] = candidateConversionQ30[index]!;
        }
      }
    }
    if (qualityDiffers) {
      bits |= candidateColumns.quality;
      for (let index = 0; index < count; index++) words[word + index] = candidateQualityQ30[index]!;
      word += count;
    }
    words[bitsWord] = bits;

    const bytes = this.bytes;
    let at = word << 2;
    for (let index = 0; index < count; index++) {
      bytes[at + index] = (candidatePriceType[index]! & 3) | (candidateVerdict[index]! << 2);
    }
    at += count;
    for (let index = 0; index < count; index++) bytes[at + index] = candidateReason[index]!;
    at += count;
    if ((bits & candidateColumns.imp) !== 0) {
      for (let index = 0; index < count; index++) bytes[at + index] = candidateImp[index]!;
      at += count;
    }
    for (let row = 0; row < draft.featureRowCount; row++) hasFeatures[draft.featureCandidate[row]!] = 0;
    return this.#close(auctionSections.candidates, start, at);
  }

  /** `[u16 rows][u16 cross numbers per row]`, then per row candidate, logit and cross numbers. */
  #features(draft: AuctionDraft, start: number): number {
    const rowCount = draft.featureRowCount;
    if (rowCount === 0) return start;
    const { crossDimension } = auctionLimits;
    this.#view.setUint16(start + sectionHeaderBytes, rowCount, true);
    this.#view.setUint16(start + sectionHeaderBytes + 2, crossDimension, true);
    let word = (start + sectionHeaderBytes + 4) >> 2;
    for (let row = 0; row < rowCount; row++) {
      const candidate = draft.featureCandidate[row]!;
      this.#words[word] = candidate;
      this.#floats[word + 1] = draft.candidateClickLogit[candidate]!;
      word += 2;
      for (let index = 0; index < crossDimension; index++) {
        this.#floats[word + index] = draft.featureCross[row * crossDimension + index]!;
      }
      word += crossDimension;
    }
    return this.#close(auctionSections.features, start, word << 2);
  }
}

/** Of one looked-up value in its section. */
export const lookupBytes = 8;
const impFixedBytes = 40;
let encoder: AuctionEncoder | undefined;

/** Writes the sealed record to `target` at `offset`; returns its end. See `auctionLimits.recordBytesMax` for the room that always suffices. */
export function encodeAuction(draft: AuctionDraft, target: Uint8Array, offset: number): number {
  encoder ??= new AuctionEncoder();
  const length = encoder.encode(draft);
  target.set(encoder.bytes.subarray(0, length), offset);
  return offset + length;
}

import { auctionSections, candidateColumns, lookupBytes, sectionHeaderBytes } from './auction-encoder.ts';
import { EventLogError } from './errors.ts';
import { AuctionDraft, auctionLimits, schemaIds } from './event-records.ts';
import { FieldReader, frameHeaderBytes, frameTailBytes, schemaIdAt, viewOf, wholeRecordBytes } from './record-frame.ts';

const oneQ30 = 2 ** 30;
const two32 = 4_294_967_296;
const unsold = -1;

/**
 * Fills `into` (or a new draft) from the sealed record at `offset`. Throws EVENT_LOG_DAMAGED when the checksum or an inner
 * length does not hold, or when the record is no auction.
 */
export function decodeAuction(bytes: Uint8Array, offset = 0, into?: AuctionDraft): AuctionDraft {
  const view = viewOf(bytes);
  const length = wholeRecordBytes(bytes, view, offset, bytes.length);
  if (length === 0 || schemaIdAt(view, offset) !== schemaIds.auction) throw new EventLogError('EVENT_LOG_DAMAGED');
  const draft = into ?? new AuctionDraft();
  draft.reset();
  const end = offset + length - frameTailBytes;
  let at = offset + frameHeaderBytes;
  while (at + sectionHeaderBytes <= end) {
    const id = view.getUint16(at, true);
    const bodyBytes = view.getUint32(at + 4, true);
    const bodyAt = at + sectionHeaderBytes;
    if (bodyAt + bodyBytes > end)
      throw new EventLogError('EVENT_LOG_DAMAGED', { detail: `Section ${id} is too long.` });
    const fields = new FieldReader(bytes, view, bodyAt, bodyAt + bodyBytes);
    readSection(id, fields, draft);
    at = bodyAt + ((bodyBytes + 3) & ~3);
  }
  return draft;
}

function readSection(id: number, fields: FieldReader, draft: AuctionDraft): void {
  switch (id) {
    case auctionSections.numbers:
      readNumbers(fields, draft);
      break;
    case auctionSections.texts:
      draft.requestId = fields.text();
      draft.callerId = fields.text();
      draft.userKey = fields.text();
      draft.modelId = fields.text();
      draft.calibratorId = fields.text();
      draft.tableVersions = fields.text();
      draft.currency = fields.text('USD');
      break;
    case auctionSections.contextIds:
      draft.contextIdCount = readWords(fields, draft.contextIds);
      break;
    case auctionSections.userIds:
      draft.userIdCount = readWords(fields, draft.userIds);
      break;
    case auctionSections.userVector:
      draft.userVectorCount = readFloats(fields, draft.userVector);
      break;
    case auctionSections.lookups:
      readLookups(fields, draft);
      break;
    case auctionSections.userState:
      draft.userStateCount = readFloats(fields, draft.userState);
      break;
    case auctionSections.imps:
      readImps(fields, draft);
      break;
    case auctionSections.candidates:
      readCandidates(fields, draft);
      break;
    case auctionSections.features:
      readFeatures(fields, draft);
      break;
    case auctionSections.stages:
      draft.stageCount = readWords(fields, draft.stageUs);
      break;
    case auctionSections.impContexts:
      readImpContexts(fields, draft);
      break;
    default:
      // From a newer writer: its length has been honoured, its content is not ours to know.
      break;
  }
}

function readNumbers(fields: FieldReader, draft: AuctionDraft): void {
  draft.auctionIdHigh = fields.u32();
  draft.auctionIdLow = fields.u32();
  draft.timeMs = fields.f64();
  draft.arrivalMs = fields.f64();
  draft.surface = fields.u8();
  const bits = fields.u8();
  draft.test = (bits & 1) !== 0;
  draft.explore = (bits & 2) !== 0;
  draft.keepAllScores = (bits & 4) !== 0;
  draft.rung = fields.u8();
  draft.mechanism = fields.u8();
  draft.userRow = fields.u32(0xffff_ffff);
  draft.catalogVersion = fields.f64();
  draft.incrementNanos = fields.f64();
  draft.qualityExponent = fields.f64();
  draft.marginPpm = fields.u32();
  draft.tieSeedHigh = fields.u32();
  draft.tieSeedLow = fields.u32();
  draft.rateNumerator = fields.f64(1);
  draft.rateDenominator = fields.f64(1);
  draft.tmaxMs = fields.f32();
  draft.eligibleCount = fields.u32();
  draft.throttledCount = fields.u32();
  draft.cappedCount = fields.u32();
}

function readWords(fields: FieldReader, target: Uint32Array): number {
  const count = Math.min((fields.end - fields.at) >> 2, target.length);
  for (let index = 0; index < count; index++) target[index] = fields.u32();
  return count;
}

function readFloats(fields: FieldReader, target: Float32Array): number {
  const count = Math.min((fields.end - fields.at) >> 2, target.length);
  for (let index = 0; index < count; index++) target[index] = fields.f32();
  return count;
}

function readLookups(fields: FieldReader, draft: AuctionDraft): void {
  const count = Math.min(Math.floor((fields.end - fields.at) / lookupBytes), auctionLimits.lookupCountMax);
  for (let place = 0; place < count; place++) {
    draft.lookupTable[place] = fields.u8();
    draft.lookupOutcome[place] = fields.u8();
    draft.lookupSource[place] = fields.u8();
    fields.u8();
    draft.lookupAgeMs[place] = fields.u32();
  }
  draft.lookupCount = count;
}

function readImpContexts(fields: FieldReader, draft: AuctionDraft): void {
  const impCount = fields.u8();
  const idCount = fields.u8();
  draft.userVectorImp = fields.u8();
  fields.u8();
  const { contextIdCountMax, impCountMax } = auctionLimits;
  if (impCount > impCountMax || idCount > contextIdCountMax || impCount * idCount * 4 > fields.end - fields.at)
    throw new EventLogError('EVENT_LOG_DAMAGED', { detail: `Contexts of ${impCount} imps do not fit.` });
  for (let imp = 0; imp < impCount; imp++) {
    for (let index = 0; index < idCount; index++) draft.impContextIds[imp * contextIdCountMax + index] = fields.u32();
  }
  draft.impContextCount = impCount;
}

function readImps(fields: FieldReader, draft: AuctionDraft): void {
  const count = Math.min(fields.u16(), auctionLimits.impCountMax);
  const fixedBytes = fields.u16();
  for (let imp = 0; imp < count; imp++) {
    const fixed = new FieldReader(fields.bytes, fields.view, fields.at, Math.min(fields.at + fixedBytes, fields.end));
    draft.impFloorNanos[imp] = fixed.f64();
    draft.impWidth[imp] = fixed.u16();
    draft.impHeight[imp] = fixed.u16();
    draft.impFormat[imp] = fixed.u8();
    const bits = fixed.u8();
    draft.impSecure[imp] = bits & 1;
    draft.impExplored[imp] = (bits >> 1) & 1;
    const winner = fixed.u16(0xffff);
    draft.impWinner[imp] = winner === 0xffff ? unsold : winner;
    draft.impPriceNanos[imp] = fixed.f64();
    draft.impReservation[imp] = fixed.u32();
    draft.impReservedNanos[imp] = fixed.f64();
    draft.impPropensityQ30[imp] = fixed.u32(oneQ30);
    fields.at += fixedBytes;
    draft.impId[imp] = fields.text();
  }
  draft.impCount = count;
}

function readCandidates(fields: FieldReader, draft: AuctionDraft): void {
  const count = fields.u32();
  const bits = fields.u32();
  // 14 bytes a candidate at least: a count that the section cannot hold is damage, not a reason to allocate.
  if (count > draft.candidateCapacity || count * 14 > fields.end - fields.at) {
    throw new EventLogError('EVENT_LOG_DAMAGED', { detail: `${count} candidates do not fit.` });
  }
  for (let index = 0; index < count; index++) draft.candidateAdRow[index] = fields.u32();
  for (let index = 0; index < count; index++) draft.candidateClickQ30[index] = fields.u32();
  for (let index = 0; index < count; index++) draft.candidateBidNanos[index] = fields.u32();
  eachMarked(fields, count, (index, high) => {
    draft.candidateBidNanos[index]! += high * two32;
  });
  draft.candidateConversionQ30.fill(0, 0, count);
  draft.candidateClickLogit.fill(0, 0, count);
  if ((bits & candidateColumns.allConversions) !== 0) {
    for (let index = 0; index < count; index++) draft.candidateConversionQ30[index] = fields.u32();
  } else {
    eachMarked(fields, count, (index, conversion) => {
      draft.candidateConversionQ30[index] = conversion;
    });
  }
  if ((bits & candidateColumns.allLogits) !== 0) {
    for (let index = 0; index < count; index++) draft.candidateClickLogit[index] = fields.f32();
  }
  if ((bits & candidateColumns.quality) !== 0) {
    for (let index = 0; index < count; index++) draft.candidateQualityQ30[index] = fields.u32();
  } else {
    draft.candidateQualityQ30.fill(oneQ30, 0, count);
  }
  for (let index = 0; index < count; index++) {
    const packed = fields.u8();
    draft.candidatePriceType[index] = packed & 3;
    draft.candidateVerdict[index] = packed >> 2;
  }
  for (let index = 0; index < count; index++) draft.candidateReason[index] = fields.u8();
  if ((bits & candidateColumns.imp) !== 0) {
    for (let index = 0; index < count; index++) draft.candidateImp[index] = fields.u8();
  } else {
    draft.candidateImp.fill(0, 0, count);
  }
  draft.candidateCount = count;
}

function eachMarked(fields: FieldReader, count: number, take: (index: number, word: number) => void): void {
  const bitmapAt = fields.at;
  fields.at += ((count + 31) >> 5) << 2;
  for (let index = 0; index < count; index++) {
    const marks = fields.view.getUint32(bitmapAt + ((index >> 5) << 2), true);
    if (((marks >>> (index & 31)) & 1) === 1) take(index, fields.u32());
  }
}

function readFeatures(fields: FieldReader, draft: AuctionDraft): void {
  const rowCount = Math.min(fields.u16(), auctionLimits.featureRowCountMax);
  const dimension = fields.u16();
  for (let row = 0; row < rowCount; row++) {
    const candidate = fields.u32();
    const logit = fields.f32();
    draft.featureCandidate[row] = candidate;
    if (candidate < draft.candidateCount) draft.candidateClickLogit[candidate] = logit;
    for (let index = 0; index < dimension; index++) {
      const value = fields.f32();
      if (index < auctionLimits.crossDimension) draft.featureCross[row * auctionLimits.crossDimension + index] = value;
    }
  }
  draft.featureRowCount = rowCount;
}

import fc from 'fast-check';
import { AuctionDraft, auctionLimits } from '#training-bridge/event-records.ts';

const word = fc.oneof(fc.constantFrom(0, 1, 0xffff_ffff), fc.integer({ min: 0, max: 0xffff_ffff }));
const q30 = fc.oneof(fc.constantFrom(0, 1, 2 ** 30), fc.integer({ min: 0, max: 2 ** 30 }));
const nanos = fc.oneof(
  fc.constantFrom(0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 48 - 1),
  fc.integer({ min: 0, max: 2 ** 48 - 1 }),
);
const float = fc.float({ noDefaultInfinity: false, noNaN: false });
/** Short, long, empty, and with characters of every length in UTF-8. */
const text = fc.oneof(
  fc.constant(''),
  fc.string({ unit: 'binary', maxLength: 40 }).map((each) => each.toWellFormed()),
);

const candidate = fc.record({
  imp: fc.nat(),
  row: word,
  click: q30,
  conversion: q30,
  bid: nanos,
  priceType: fc.constantFrom(0, 1, 2),
  quality: fc.oneof(fc.constant(2 ** 30), q30),
  logit: float,
  reason: fc.integer({ min: 0, max: 255 }),
  verdict: fc.integer({ min: 0, max: 7 }),
});
const imp = fc.record({
  id: text,
  floor: nanos,
  width: fc.integer({ min: 0, max: 0xffff }),
  height: fc.integer({ min: 0, max: 0xffff }),
  format: fc.constantFrom(0, 1, 2),
  secure: fc.constantFrom(0, 1),
  explored: fc.constantFrom(0, 1),
  winner: fc.integer({ min: -1, max: 4095 }),
  price: nanos,
  reservation: word,
  reserved: nanos,
  propensity: q30,
});

const scalars = fc.record({
  auctionIdHigh: word,
  auctionIdLow: word,
  timeMs: fc.double({ noNaN: true }),
  arrivalMs: fc.double({ noNaN: true }),
  surface: fc.integer({ min: 0, max: 255 }),
  test: fc.boolean(),
  explore: fc.boolean(),
  rung: fc.integer({ min: 0, max: 255 }),
  mechanism: fc.integer({ min: 0, max: 255 }),
  requestId: text,
  callerId: text,
  userKey: text,
  userRow: word,
  modelId: text,
  calibratorId: text,
  tableVersions: text,
  catalogVersion: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  incrementNanos: nanos,
  marginPpm: word,
  qualityExponent: fc.double({ min: 0, max: 4, noNaN: true }),
  tieSeedHigh: word,
  tieSeedLow: word,
  currency: fc.constantFrom('USD', 'EUR', ''),
  rateNumerator: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  rateDenominator: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  tmaxMs: fc.integer({ min: 0, max: 10_000 }),
  keepAllScores: fc.boolean(),
  eligibleCount: word,
  throttledCount: word,
  cappedCount: word,
});

/** Drafts of every shape, with extreme values in every column. */
export const anyDraft: fc.Arbitrary<AuctionDraft> = fc
  .record({
    scalars,
    imps: fc.array(imp, { maxLength: auctionLimits.impCountMax }),
    candidates: fc.array(candidate, { maxLength: 70 }),
    contextIds: fc.array(word, { maxLength: auctionLimits.contextIdCountMax }),
    userIds: fc.array(word, { maxLength: auctionLimits.userIdCountMax }),
    userVector: fc.array(float, { maxLength: auctionLimits.userDimension }),
    stages: fc.array(word, { maxLength: auctionLimits.stageCountMax }),
    cross: fc.array(float, { minLength: 1, maxLength: 50 }),
    impContexts: fc.array(fc.array(word, { minLength: auctionLimits.contextIdCountMax, maxLength: 16 }), {
      maxLength: auctionLimits.impCountMax,
    }),
    userVectorImp: fc.nat({ max: auctionLimits.impCountMax - 1 }),
    lookups: fc.array(
      fc.tuple(fc.nat({ max: 255 }), fc.nat({ max: 255 }), fc.nat({ max: 255 }), fc.integer({ min: -1, max: 2 ** 33 })),
      { maxLength: auctionLimits.lookupCountMax },
    ),
    userState: fc.array(float, { maxLength: auctionLimits.userStateCountMax }),
    featureRows: fc.integer({ min: 0, max: auctionLimits.featureRowCountMax }),
  })
  .map((shape) => {
    const draft = new AuctionDraft(Math.max(shape.candidates.length, 1));
    draft.reset();
    Object.assign(draft, shape.scalars);
    for (const [index, each] of shape.imps.entries()) {
      draft.impId[index] = each.id;
      draft.impFloorNanos[index] = each.floor;
      draft.impWidth[index] = each.width;
      draft.impHeight[index] = each.height;
      draft.impFormat[index] = each.format;
      draft.impSecure[index] = each.secure;
      draft.impExplored[index] = each.explored;
      draft.impWinner[index] = each.winner;
      draft.impPriceNanos[index] = each.price;
      draft.impReservation[index] = each.reservation;
      draft.impReservedNanos[index] = each.reserved;
      draft.impPropensityQ30[index] = each.propensity;
    }
    draft.impCount = shape.imps.length;
    for (const [index, each] of shape.candidates.entries()) {
      draft.candidateImp[index] = shape.imps.length > 1 ? each.imp % shape.imps.length : 0;
      draft.candidateAdRow[index] = each.row;
      draft.candidateClickQ30[index] = each.click;
      draft.candidateConversionQ30[index] = each.conversion;
      draft.candidateBidNanos[index] = each.bid;
      draft.candidatePriceType[index] = each.priceType;
      draft.candidateQualityQ30[index] = each.quality;
      draft.candidateClickLogit[index] = each.logit;
      draft.candidateReason[index] = each.reason;
      draft.candidateVerdict[index] = each.verdict;
    }
    draft.candidateCount = shape.candidates.length;
    draft.contextIds.set(shape.contextIds);
    draft.contextIdCount = shape.contextIds.length;
    draft.userIds.set(shape.userIds);
    draft.userIdCount = shape.userIds.length;
    draft.userVector.set(shape.userVector);
    draft.userVectorCount = shape.userVector.length;
    draft.userVectorImp = shape.userVectorImp;
    for (const [index, ids] of shape.impContexts.entries()) draft.setImpContext(index, Uint32Array.from(ids));
    for (const lookup of shape.lookups) draft.noteLookup(...lookup);
    draft.userState.set(shape.userState);
    draft.userStateCount = shape.userState.length;
    draft.stageUs.set(shape.stages);
    draft.stageCount = shape.stages.length;
    const rows = Math.min(shape.featureRows, shape.candidates.length);
    for (let row = 0; row < rows; row++) {
      draft.featureCandidate[row] = row;
      for (let at = 0; at < auctionLimits.crossDimension; at++) {
        draft.featureCross[row * auctionLimits.crossDimension + at] = shape.cross[(row + at) % shape.cross.length]!;
      }
    }
    draft.featureRowCount = rows;
    return draft;
  });

/**
 * What a record keeps of a draft, as plain data: columns up to their counts; conversions of CPA candidates and logits of feature
 * rows only, unless all scores are kept.
 */
export function keptOf(draft: AuctionDraft): Record<string, unknown> {
  const { candidateCount: count, impCount, keepAllScores } = draft;
  const features = new Set(draft.featureCandidate.subarray(0, draft.featureRowCount));
  const upTo = (column: ArrayLike<number>, length: number): number[] => Array.from({ length }, (_, at) => column[at]!);
  const rest: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(draft)) {
    if (typeof value !== 'object' && name !== 'candidateCapacity') rest[name] = value;
  }
  return {
    ...rest,
    contextIds: upTo(draft.contextIds, draft.contextIdCount),
    impContexts: Array.from({ length: draft.impContextCount }, (_, index) => [...draft.contextIdsOf(index)]),
    userIds: upTo(draft.userIds, draft.userIdCount),
    userVector: upTo(draft.userVector, draft.userVectorCount),
    lookups: [draft.lookupTable, draft.lookupOutcome, draft.lookupSource, draft.lookupAgeMs].map((column) =>
      upTo(column, draft.lookupCount),
    ),
    userState: upTo(draft.userState, draft.userStateCount),
    stages: upTo(draft.stageUs, draft.stageCount),
    impId: draft.impId.slice(0, impCount),
    imps: [
      draft.impFloorNanos,
      draft.impWidth,
      draft.impHeight,
      draft.impFormat,
      draft.impSecure,
      draft.impExplored,
      draft.impWinner,
      draft.impPriceNanos,
      draft.impReservation,
      draft.impReservedNanos,
      draft.impPropensityQ30,
    ].map((column) => upTo(column, impCount)),
    candidates: [
      draft.candidateImp,
      draft.candidateAdRow,
      draft.candidateClickQ30,
      draft.candidateBidNanos,
      draft.candidatePriceType,
      draft.candidateQualityQ30,
      draft.candidateReason,
      draft.candidateVerdict,
    ].map((column) => upTo(column, count)),
    conversions: upTo(draft.candidateConversionQ30, count).map((value, index) =>
      keepAllScores || draft.candidatePriceType[index] === 2 || features.has(index) ? value : 0,
    ),
    logits: upTo(draft.candidateClickLogit, count).map((value, index) =>
      keepAllScores || features.has(index) ? value : 0,
    ),
    featureCandidate: upTo(draft.featureCandidate, draft.featureRowCount),
    featureCross: upTo(draft.featureCross, draft.featureRowCount * auctionLimits.crossDimension),
  };
}

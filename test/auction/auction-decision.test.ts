import fc from 'fast-check';
import { expect, expectTypeOf, test } from 'vitest';
import { type AuctionColumns, AuctionDecider } from '#auction/auction-decision.ts';
import { eventWeightQ60, expectedValueNanos, q30One } from '#auction/expected-value.ts';
import { reasonNumbers } from '#auction/loss-reasons.ts';
import { type MechanismName, mechanismNames } from '#auction/mechanisms.ts';
import { qualityWeightQ30 } from '#auction/quality.ts';
import { tieKey } from '#auction/ties.ts';
import type { AuctionDraft } from '#training-bridge/event-records.ts';
import { draftOf, itself, type TestAuction, type TestBid, winnerRow } from './auction-builder.ts';

const decider = new AuctionDecider();

function decided(auction: TestAuction, advertiserOf: (row: number) => number = itself): AuctionDraft {
  const draft = draftOf(auction);
  decider.decide(draft, advertiserOf);
  return draft;
}

/** Few distinct numbers, so that ties and floors that are met exactly are common. */
const smallBid = (imps: number): fc.Arbitrary<Omit<TestBid, 'adRow'>> =>
  fc.record({
    imp: fc.integer({ min: 0, max: imps - 1 }),
    bidNanos: fc.oneof(
      fc.integer({ min: 0, max: 6 }).map((each) => each * 1000),
      fc.integer({ min: 0, max: 2 ** 48 }),
    ),
    priceType: fc.integer({ min: 0, max: 2 }),
    clickQ30: fc.constantFrom(0, 1, q30One / 4, q30One / 2, 333_333_333, q30One, q30One + 1),
    conversionQ30: fc.constantFrom(0, q30One / 2, 77_777_777, q30One),
    qualityQ30: fc.constantFrom(0, q30One / 2, 900_000_000, q30One),
    verdict: fc.constantFrom(0, 0, 0, 0, 1, 2, 4, 7),
  });

function auctions(mechanisms: readonly MechanismName[] = mechanismNames, impsMax = 3): fc.Arbitrary<TestAuction> {
  return fc.integer({ min: 1, max: impsMax }).chain((imps) =>
    fc.record({
      mechanism: fc.constantFrom(...mechanisms),
      floors: fc.array(fc.constantFrom(0, 1, 500, 1000, 2000, 10 ** 9), { minLength: imps, maxLength: imps }),
      bids: fc
        .array(smallBid(imps), { maxLength: 12 })
        .map((bids) => bids.map((bid, index) => ({ ...bid, adRow: index }))),
      incrementNanos: fc.constantFrom(0, 1, 10, 700),
      qualityExponent: fc.constantFrom(0, 1, 0.5, 2),
      seed: fc.tuple(fc.nat(), fc.nat()),
    }),
  );
}

/** Two or three ads of each advertiser. */
const shared = (row: number): number => row % 5;

/** The definitions, in BigInt, without any shortcut. */
function facts(auction: TestAuction, index: number) {
  const bid = auction.bids[index]!;
  const [bidNanos, type] = [BigInt(bid.bidNanos), bid.priceType ?? 0];
  const [click, conversion] = [bid.clickQ30 ?? q30One, bid.conversionQ30 ?? q30One];
  const weight = eventWeightQ60(type, click, conversion);
  const exponent = auction.qualityExponent ?? 1;
  const quality = BigInt(qualityWeightQ30(bid.qualityQ30 ?? q30One, exponent));
  const floor = BigInt(auction.floors[bid.imp ?? 0]!);
  const isUsable =
    click > 0 && click <= q30One && (type !== 2 || conversion > 0) && (exponent === 0 || bid.qualityQ30 !== 0);
  const isEligible =
    (bid.verdict ?? 0) === 0 &&
    isUsable &&
    bidNanos > 0n &&
    bidNanos * weight >= floor << 60n &&
    bidNanos * weight >= 1n << 60n;
  return { bidNanos, weight, quality, floor, isEligible, score: bidNanos * weight * quality };
}

function rankedBefore(auction: TestAuction, left: number, right: number): boolean {
  const difference = facts(auction, left).score - facts(auction, right).score;
  if (difference !== 0n) return difference > 0n;
  const [high, low] = auction.seed!;
  const key = (index: number): number => tieKey(high, low, auction.bids[index]!.imp ?? 0, auction.bids[index]!.adRow);
  return key(left) > key(right);
}

test('the draft of the event log is what the decider takes', () => {
  expectTypeOf<AuctionDraft>().toExtend<AuctionColumns>();
  const columns: AuctionColumns = draftOf({ mechanism: 'bid', floors: [5], bids: [] });
  expect(columns.impFloorNanos[0]).toBe(5);
});

test('a single imp goes to the eligible candidate that ranks first by the exact definition, or to nobody', () => {
  fc.assert(
    fc.property(auctions(['bid', 'first', 'second', 'gsp'], 1), (auction) => {
      const draft = decided(auction);
      const eligible = auction.bids.map((_, index) => index).filter((index) => facts(auction, index).isEligible);
      const first = eligible.reduce((best, each) => (best < 0 || rankedBefore(auction, each, best) ? each : best), -1);
      expect(draft.impWinner[0]).toBe(first);
    }),
    { numRuns: 2000 },
  );
});

test('nobody below a floor, withheld or without probability ever wins, under any mechanism; an eligible one never leaves a lone imp unsold', () => {
  fc.assert(
    fc.property(auctions(), (auction) => {
      const draft = decided(auction, shared);
      for (let imp = 0; imp < draft.impCount; imp++) {
        const winner = draft.impWinner[imp]!;
        const isInOrder = winner < 0 ? draft.impPriceNanos[imp] === 0 : facts(auction, winner).isEligible;
        expect(isInOrder).toBe(true);
      }
      const isAnyoneEligible = auction.bids.some((_, index) => facts(auction, index).isEligible);
      expect([...draft.impWinner.subarray(0, draft.impCount)].some((winner) => winner >= 0)).toBe(isAnyoneEligible);
    }),
    { numRuns: 2000 },
  );
});

test('a price never exceeds the bid, and what it brings per impression never falls short of the floor', () => {
  fc.assert(
    fc.property(auctions(), (auction) => {
      const draft = decided(auction, shared);
      for (let imp = 0; imp < draft.impCount; imp++) {
        const winner = draft.impWinner[imp]!;
        if (winner < 0) continue;
        const { bidNanos, weight, floor } = facts(auction, winner);
        const price = BigInt(draft.impPriceNanos[imp]!);
        expect(price <= bidNanos).toBe(true);
        expect(price * weight >= floor << 60n).toBe(true);
        const isOwnBid = auction.mechanism === 'bid' || auction.mechanism === 'first';
        expect(!isOwnBid || price === bidNanos).toBe(true);
      }
    }),
    { numRuns: 2000 },
  );
});

test('an advertiser wins at most one imp of a page', () => {
  fc.assert(
    fc.property(auctions(), (auction) => {
      const draft = decided(auction, shared);
      const winners = [...draft.impWinner.subarray(0, draft.impCount)].filter((winner) => winner >= 0);
      const advertisers = winners.map((winner) => shared(draft.candidateAdRow[winner]!));
      expect(new Set(advertisers).size).toBe(advertisers.length);
    }),
    { numRuns: 1000 },
  );
});

test('the order in which candidates arrive decides nothing: not who wins, not what is paid, not any reason', () => {
  fc.assert(
    fc.property(
      auctions().chain((auction) =>
        fc.tuple(
          fc.constant(auction),
          fc.shuffledSubarray([...auction.bids], { minLength: auction.bids.length, maxLength: auction.bids.length }),
        ),
      ),
      ([auction, shuffled]) => {
        expect(outcome(decided({ ...auction, bids: shuffled }, shared))).toEqual(outcome(decided(auction, shared)));
      },
    ),
    { numRuns: 2000 },
  );
});

function outcome(draft: AuctionDraft): unknown {
  const reasons = Array.from({ length: draft.candidateCount }, (_, index) => [
    draft.candidateAdRow[index],
    draft.candidateReason[index],
  ]);
  return {
    imps: Array.from({ length: draft.impCount }, (_, imp) => [winnerRow(draft, imp), draft.impPriceNanos[imp]]),
    reasons: reasons.toSorted(([left], [right]) => left! - right!),
  };
}

test('ties fall evenly and differently from auction to auction', () => {
  const contenders = 5;
  const rounds = 5000;
  const wins = new Float64Array(contenders);
  const bids = Array.from({ length: contenders }, (_, adRow) => ({ adRow, bidNanos: 1000 }));
  for (let round = 0; round < rounds; round++) {
    wins[winnerRow(decided({ mechanism: 'bid', floors: [0], bids, seed: [7, round] }))]!++;
  }
  const expected = rounds / contenders;
  const chiSquare = wins.reduce((sum, each) => sum + (each - expected) ** 2 / expected, 0);
  // 4 degrees of freedom: above 23.5 one time in 10,000. The seed is fixed, so this holds always or never.
  expect(chiSquare).toBeLessThan(23.5);
});

/** What a reason claims, by the definitions. */
function isTrue(reason: number, auction: TestAuction, draft: AuctionDraft, index: number): boolean {
  const bid = auction.bids[index]!;
  const winner = draft.impWinner[bid.imp!]!;
  const { isEligible, score } = facts(auction, index);
  const level = winner < 0 ? undefined : score - facts(auction, winner).score;
  switch (reason) {
    case reasonNumbers.won:
      return winner === index;
    case reasonNumbers.budget:
      return (bid.verdict! & 1) !== 0;
    case reasonNumbers.cap:
      return (bid.verdict! & 2) !== 0;
    case reasonNumbers.pacing:
      return (bid.verdict! & 4) !== 0;
    case reasonNumbers.separation:
      return (
        isEligible &&
        [...draft.impWinner.subarray(0, draft.impCount)].some(
          (other, imp) => imp !== bid.imp && other >= 0 && shared(other) === shared(index),
        )
      );
    case reasonNumbers.lostTie:
      return isEligible && level === 0n;
    case reasonNumbers.outbid:
      // VCG weighs what exceeds the floor, over the whole page: there a higher score may make room.
      return isEligible && winner >= 0 && (auction.mechanism === 'vcg' || level! < 0n);
    case reasonNumbers.belowFloor:
    case reasonNumbers.noProbability:
    case reasonNumbers.noBid:
      return !isEligible && bid.verdict === 0;
    default:
      return false;
  }
}

test('each reason is true', () => {
  fc.assert(
    fc.property(auctions(), (auction) => {
      const draft = decided(auction, shared);
      for (let index = 0; index < draft.candidateCount; index++) {
        const reason = draft.candidateReason[index]!;
        expect([reason, isTrue(reason, auction, draft, index)]).toEqual([reason, true]);
      }
    }),
    { numRuns: 1000 },
  );
});

test('a replay from the logged verdicts repeats a live auction in which budgets were refused, bit for bit', () => {
  fc.assert(
    fc.property(auctions(), fc.array(fc.integer({ min: 0, max: 11 })), (auction, broke) => {
      const live = draftOf(auction);
      const held = new Map<number, number>();
      decider.decide(
        live,
        shared,
        (imp, candidate) => {
          if (broke.includes(candidate)) return false;
          expect(held.has(imp)).toBe(false);
          held.set(imp, candidate);
          return true;
        },
        (imp, candidate) => {
          expect(held.get(imp)).toBe(candidate);
          held.delete(imp);
        },
      );
      // Whoever said yes and was not taken back is a winner, and the other way round.
      const won = Array.from({ length: live.impCount }, (_, imp) => [imp, live.impWinner[imp]!]);
      expect(new Map(won.filter(([, winner]) => winner! >= 0) as [number, number][])).toEqual(held);
      const logged = auction.bids.map((bid, index) => ({ ...bid, verdict: live.candidateVerdict[index]! }));
      expect(outcome(decided({ ...auction, bids: logged }, shared))).toEqual(outcome(live));
    }),
    { numRuns: 2000 },
  );
});

test('scaling every quality changes nobody’s place and no price', () => {
  fc.assert(
    fc.property(auctions(['second', 'gsp', 'vcg']), (auction) => {
      const halved = auction.bids.map((bid) => ({ ...bid, qualityQ30: bid.qualityQ30! / 2 }));
      const scaled = decided({ ...auction, qualityExponent: 1, bids: halved }, shared);
      expect(outcome(scaled)).toEqual(outcome(decided({ ...auction, qualityExponent: 1 }, shared)));
    }),
    { numRuns: 1000 },
  );
});

test('scaling every click probability and the floor by a power of two changes no winner and no price per click', () => {
  const perClick = fc
    .array(fc.tuple(fc.integer({ min: 10 ** 6, max: 10 ** 10 }), fc.integer({ min: 2 ** 20, max: 2 ** 27 })), {
      minLength: 1,
      maxLength: 8,
    })
    .map((bids) => bids.map(([bidNanos, clickQ30], adRow) => ({ adRow, bidNanos, clickQ30, priceType: 1 })));
  fc.assert(
    fc.property(
      perClick,
      fc.nat(10 ** 6),
      fc.constantFrom<MechanismName>('second', 'gsp', 'vcg'),
      (bids, floor, mechanism) => {
        const tripled = bids.map((bid) => ({ ...bid, clickQ30: bid.clickQ30 * 4 }));
        const plain = decided({ mechanism, floors: [floor], bids });
        const scaled = decided({ mechanism, floors: [floor * 4], bids: tripled });
        expect([winnerRow(scaled), scaled.impPriceNanos[0]]).toEqual([winnerRow(plain), plain.impPriceNanos[0]]);
      },
    ),
  );
});

test('without quality (exponent 0) the order is that of the expected values', () => {
  fc.assert(
    fc.property(auctions(['bid'], 1), (auction) => {
      const draft = decided({ ...auction, qualityExponent: 0 });
      const winner = draft.impWinner[0]!;
      fc.pre(winner >= 0);
      const valueOf = (index: number): number => {
        const bid = auction.bids[index]!;
        return expectedValueNanos(bid.bidNanos, bid.priceType!, bid.clickQ30!, bid.conversionQ30!);
      };
      for (let index = 0; index < auction.bids.length; index++) {
        const wasOutbid = draft.candidateReason[index] === reasonNumbers.outbid;
        expect(!wasOutbid || valueOf(index) <= valueOf(winner)).toBe(true);
      }
    }),
  );
});

test.each([
  ['AUCTION_MECHANISM_UNKNOWN', { mechanism: 9 }],
  ['AUCTION_SETTING_INVALID', { qualityExponent: 5 }],
  ['AUCTION_SETTING_INVALID', { qualityExponent: Number.NaN }],
  ['AUCTION_SETTING_INVALID', { incrementNanos: 0.5 }],
  ['AUCTION_TOO_LARGE', { impCount: 17 }],
])('refuses with %s: %o', (code, change) => {
  const draft = Object.assign(draftOf({ mechanism: 'bid', floors: [0], bids: [{ adRow: 0, bidNanos: 1 }] }), change);
  expect(() => decider.decide(draft, itself)).toThrow(expect.objectContaining({ code }));
});

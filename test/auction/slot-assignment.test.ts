import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AuctionDecider } from '#auction/auction-decision.ts';
import { q30One } from '#auction/expected-value.ts';
import { divideUp } from '#auction/mechanisms.ts';
import { attentionV1Q30 } from '#auction/position-factors.ts';
import { type Offer, SlotAssignment, tieBits } from '#auction/slot-assignment.ts';
import { draftOf, type TestBid } from './auction-builder.ts';

/** The most that the bidders but one can add up to, over every way to give them places. */
function bestTotal(values: readonly (readonly (bigint | undefined)[])[], without: number, slot = 0, taken = 0): bigint {
  if (slot === values.length) return 0n;
  let best = bestTotal(values, without, slot + 1, taken);
  for (const [bidder, value] of values[slot]!.entries()) {
    if (value === undefined || bidder === without || (taken & (1 << bidder)) !== 0) continue;
    const total = value + bestTotal(values, without, slot + 1, taken | (1 << bidder));
    if (total > best) best = total;
  }
  return best;
}

/** values[slot][bidder]; few distinct ones, so that ties are common. */
const tables = fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 6 })).chain(([slots, bidders]) =>
  fc.array(
    fc.array(fc.option(fc.bigInt({ min: 1n, max: 12n }), { nil: undefined }), {
      minLength: bidders,
      maxLength: bidders,
    }),
    { minLength: slots, maxLength: slots },
  ),
);

test('adds up to the best there is, and names what each winner takes from the others', () => {
  fc.assert(
    fc.property(tables, fc.array(fc.nat(2 ** 32 - 2), { minLength: 24, maxLength: 24 }), (values, keys) => {
      const offers: Offer[][] = values.map((row, slot) =>
        row.flatMap((value, bidder) =>
          value === undefined
            ? []
            : [{ bidder, candidate: bidder, value: (value << tieBits) + BigInt(keys[slot * 6 + bidder]!) + 1n }],
        ),
      );
      const assignment = new SlotAssignment(offers);
      const winners = values.map((_, slot) => assignment.winnerOf(slot));
      const held = winners.filter((winner) => winner !== undefined).map((winner) => winner.bidder);
      expect(new Set(held).size).toBe(held.length);
      const own = winners.map((winner, slot) => (winner === undefined ? 0n : values[slot]![winner.bidder]!));
      const total = own.reduce((sum, each) => sum + each, 0n);
      expect(total).toBe(bestTotal(values, -1));
      for (const [slot, winner] of winners.entries()) {
        const others = total - own[slot]!;
        expect(assignment.externalityOf(slot)).toBe(
          winner === undefined ? 0n : bestTotal(values, winner.bidder) - others,
        );
      }
    }),
    { numRuns: 3000 },
  );
});

test('VCG on a page of different places: every price is the definition, W(−i) − (W − v), the seller’s floors bidding along', () => {
  const places = 3;
  const bid = fc.record({
    imp: fc.nat(places - 1),
    adRow: fc.nat(11),
    bidNanos: fc.integer({ min: 1, max: 10 ** 9 }),
    clickQ30: fc.constantFrom(q30One, q30One / 2, 333_333_333, 21_474_836),
  });
  fc.assert(
    fc.property(
      fc.array(bid, { minLength: 1, maxLength: 12 }),
      fc.array(fc.nat(3 * 10 ** 8), { minLength: places, maxLength: places }),
      (bids, floors) => {
        const advertiserOf = (row: number): number => row % 6;
        const rows: TestBid[] = bids.map((each, adRow) => ({ ...each, adRow, priceType: 1 }));
        const draft = draftOf({ mechanism: 'vcg', floors, bids: rows });
        new AuctionDecider().decide(draft, advertiserOf);
        const alpha = attentionV1Q30.map(BigInt);
        // What the seller gets for keeping a place is its floor; so a bidder adds what exceeds it.
        const values = floors.map((floor, imp) =>
          Array.from({ length: 6 }, (_, advertiser) => {
            const own = rows
              .filter((each) => each.imp === imp && advertiserOf(each.adRow) === advertiser)
              .map((each) => BigInt(each.bidNanos) * BigInt(each.clickQ30!))
              .filter((score) => score >= BigInt(Math.max(1, floor)) << 30n);
            if (own.length === 0) return undefined;
            const best = own.reduce((left, right) => (left > right ? left : right));
            return alpha[imp]! * (best - (BigInt(floor) << 30n));
          }),
        );
        const winners = floors.map((_, imp) => draft.impWinner[imp]!);
        const worth = winners.map((winner, imp) => (winner < 0 ? 0n : values[imp]![advertiserOf(winner)]!));
        const total = worth.reduce((sum, each) => sum + each, 0n);
        expect(total).toBe(bestTotal(values, -1));
        for (const [imp, winner] of winners.entries()) {
          if (winner < 0) continue;
          const externality = bestTotal(values, advertiserOf(winner)) - (total - worth[imp]!);
          const click = BigInt(rows[winner]!.clickQ30!);
          const payment = externality + alpha[imp]! * (BigInt(floors[imp]!) << 30n);
          const price = BigInt(draft.impPriceNanos[imp]!);
          expect(price).toBe(divideUp(payment, alpha[imp]! * click));
          expect(price <= BigInt(rows[winner]!.bidNanos)).toBe(true);
        }
      },
    ),
    { numRuns: 2000 },
  );
});

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AuctionDecider } from '#auction/auction-decision.ts';
import { bidPriceNanos, candidateValueNanos, clearingNanos, winnersCpmNanos } from '#auction/bid-price.ts';
import { q30One } from '#auction/expected-value.ts';
import { divideUp, type MechanismName } from '#auction/mechanisms.ts';
import type { AuctionDraft } from '#training-bridge/event-records.ts';
import { draftOf, itself, type TestAuction, winnerRow } from './auction-builder.ts';

const decider = new AuctionDecider();

function decided(auction: TestAuction): AuctionDraft {
  const draft = draftOf(auction);
  decider.decide(draft, itself);
  return draft;
}

const clicks = fc.constantFrom(q30One, q30One / 2, 21_474_836, 10_737_418, 333_333_333);

/** Bids per click with click probabilities; one line of `[bid, click]` per advertiser. */
const book = (max = 8): fc.Arbitrary<[number, number][]> =>
  fc.array(fc.tuple(fc.integer({ min: 1, max: 10 ** 10 }), clicks), { minLength: 1, maxLength: max });

function perClick(
  mechanism: MechanismName,
  lines: readonly (readonly [number, number])[],
  floors: readonly number[],
  incrementNanos = 0,
): TestAuction {
  const bids = floors.flatMap((_, imp) =>
    lines.map(([bidNanos, clickQ30], adRow) => ({ imp, adRow, bidNanos, clickQ30, priceType: 1 })),
  );
  return { mechanism, floors, bids, incrementNanos };
}

/** bid × click at the scale 2^30: exact. */
const scoreOf = ([bidNanos, clickQ30]: readonly [number, number]): bigint => BigInt(bidNanos) * BigInt(clickQ30);
const greater = (left: bigint, right: bigint): bigint => (left > right ? left : right);
const lesser = (left: bigint, right: bigint): bigint => (left < right ? left : right);

test('second price: min(own bid, max(runner-up + increment, floor)), as a price per click rounded up', () => {
  fc.assert(
    fc.property(book(), fc.nat(10 ** 9), fc.constantFrom(0, 1, 10_000), (lines, floor, increment) => {
      const draft = decided(perClick('second', lines, [floor], increment));
      const eligible = lines.filter((line) => scoreOf(line) >= BigInt(Math.max(1, floor)) << 30n);
      const winner = lines[winnerRow(draft)];
      expect(winner === undefined).toBe(eligible.length === 0);
      if (winner === undefined) return;
      const others = eligible.filter((line) => line !== winner).map(scoreOf);
      const click = BigInt(winner[1]);
      const floorPrice = divideUp(BigInt(floor) << 30n, click);
      const runnerUp = others.reduce<bigint | undefined>((best, each) => greater(best ?? 0n, each), undefined);
      const plus = runnerUp === undefined ? 0n : divideUp(runnerUp + (BigInt(increment) << 30n), click);
      expect(BigInt(draft.impPriceNanos[0]!)).toBe(lesser(BigInt(winner[0]), greater(plus, floorPrice)));
    }),
    { numRuns: 2000 },
  );
});

test('second price does not depend on the winner’s own bid while it leads by more than the increment', () => {
  fc.assert(
    fc.property(
      book(),
      fc.nat(10 ** 9),
      fc.constantFrom(0, 10_000),
      fc.nat(10 ** 9),
      (lines, floor, increment, more) => {
        const draft = decided(perClick('second', lines, [floor], increment));
        const row = winnerRow(draft);
        fc.pre(row >= 0 && draft.impPriceNanos[0]! < lines[row]![0]);
        const raised = lines.map(([bid, click], index) => [index === row ? bid + more : bid, click] as const);
        const again = decided(perClick('second', raised, [floor], increment));
        expect([winnerRow(again), again.impPriceNanos[0]]).toEqual([row, draft.impPriceNanos[0]]);
      },
    ),
  );
});

test('a higher own bid never loses what a lower one won, and another losing bid never lowers the price', () => {
  fc.assert(
    fc.property(book(), book(3), fc.nat(10 ** 9), (lines, newcomers, floor) => {
      const draft = decided(perClick('second', lines, [floor]));
      const row = winnerRow(draft);
      fc.pre(row >= 0);
      const raised = lines.map(([bid, click], index) => [index === row ? bid + 1 : bid, click] as const);
      expect(winnerRow(decided(perClick('second', raised, [floor])))).toBe(row);
      const crowded = decided(perClick('second', [...lines, ...newcomers], [floor]));
      const isCheaper = winnerRow(crowded) === row && crowded.impPriceNanos[0]! < draft.impPriceNanos[0]!;
      expect(isCheaper).toBe(false);
    }),
  );
});

/** Nanos × 2^30 that an advertiser keeps of its value over all places, where it takes part with `bid`. */
function utility(auction: TestAuction, row: number, value: bigint, factors: readonly bigint[]): bigint {
  const draft = decided(auction);
  for (let imp = 0; imp < draft.impCount; imp++) {
    if (winnerRow(draft, imp) !== row) continue;
    const click = BigInt(draft.candidateClickQ30[draft.impWinner[imp]!]!);
    return factors[imp]! * click * (value - BigInt(draft.impPriceNanos[imp]!));
  }
  return 0n;
}

/** Prices are rounded up to a nano, so a truthful bid may forgo less than one nano per click. */
function isTruthful(mechanism: 'second' | 'vcg', lines: [number, number][], floors: number[], grid: number[]): void {
  // `attention-v1`, in hundredths.
  const factors = [100n, 63n, 50n].slice(0, floors.length);
  const [value, click] = lines[0]!;
  // What is worth less than a nano an impression is worth nothing here, and cannot be offered.
  fc.pre(BigInt(value) * BigInt(click) >= 1n << 30n);
  const honest = utility(perClick(mechanism, lines, floors), 0, BigInt(value), factors);
  for (const bid of grid) {
    const bent = utility(perClick(mechanism, [[bid, click], ...lines.slice(1)], floors), 0, BigInt(value), factors);
    const slack = BigInt(click) * 100n;
    expect(bent <= honest + slack).toBe(true);
  }
}

const grid = fc.array(fc.integer({ min: 1, max: 2 * 10 ** 6 }), { minLength: 1, maxLength: 8 });
const modest = fc.array(fc.tuple(fc.integer({ min: 1, max: 10 ** 6 }), clicks), { minLength: 1, maxLength: 6 });

test('second price is truthful: no other bid brings its advertiser more', () => {
  fc.assert(
    fc.property(modest, fc.nat(10 ** 6), grid, (lines, floor, bids) => {
      isTruthful('second', lines, [floor], bids);
    }),
    { numRuns: 500 },
  );
});

test('VCG is truthful over three places with floors', () => {
  fc.assert(
    fc.property(modest, fc.array(fc.nat(5 * 10 ** 5), { minLength: 3, maxLength: 3 }), grid, (lines, floors, bids) => {
      isTruthful('vcg', lines, floors, bids);
    }),
    { numRuns: 500 },
  );
});

test('GSP: each place pays what keeps it above the next, rounded up; the losers below the next change nothing', () => {
  fc.assert(
    fc.property(book(7), fc.nat(10 ** 9), (lines, floor) => {
      const draft = decided(perClick('gsp', lines, [floor, floor]));
      const floorScore = BigInt(floor) << 30n;
      for (let imp = 0; imp < 2; imp++) {
        const winner = lines[winnerRow(draft, imp)];
        if (winner === undefined) continue;
        const above = [0, 1].filter((other) => other <= imp).map((other) => winnerRow(draft, other));
        const next = lines
          .filter((line, row) => !above.includes(row) && scoreOf(line) >= greater(floorScore, 1n << 30n))
          .map(scoreOf)
          .reduce(greater, floorScore);
        const price = BigInt(draft.impPriceNanos[imp]!);
        expect(price).toBe(divideUp(next, BigInt(winner[1])));
        expect(price <= BigInt(winner[0])).toBe(true);
      }
      const ranked = lines.map((_, row) => row).toSorted((a, b) => (scoreOf(lines[b]!) > scoreOf(lines[a]!) ? 1 : -1));
      const kept = new Set(ranked.slice(0, 3));
      // No ties at the edge: then the first three are the first three.
      fc.pre(ranked.length < 4 || scoreOf(lines[ranked[2]!]!) > scoreOf(lines[ranked[3]!]!));
      const silenced = perClick('gsp', lines, [floor, floor]);
      const without = decided({ ...silenced, bids: silenced.bids.filter((bid) => kept.has(bid.adRow)) });
      for (let imp = 0; imp < 2; imp++) {
        expect([winnerRow(without, imp), without.impPriceNanos[imp]]).toEqual([
          winnerRow(draft, imp),
          draft.impPriceNanos[imp],
        ]);
      }
    }),
    { numRuns: 1000 },
  );
});

test('GSP over one place is second price without an increment', () => {
  fc.assert(
    fc.property(book(), fc.nat(10 ** 9), (lines, floor) => {
      const gsp = decided(perClick('gsp', lines, [floor]));
      const second = decided(perClick('second', lines, [floor]));
      expect([winnerRow(gsp), gsp.impPriceNanos[0]]).toEqual([winnerRow(second), second.impPriceNanos[0]]);
    }),
  );
});

test('at equal bids nobody pays less under GSP than under VCG', () => {
  fc.assert(
    fc.property(book(7), fc.nat(10 ** 9), (lines, floor) => {
      const floors = [floor, floor, floor];
      const gsp = decided(perClick('gsp', lines, floors));
      const vcg = decided(perClick('vcg', lines, floors));
      const scores = lines.map(scoreOf);
      // Equal scores may be placed in either order.
      fc.pre(new Set(scores).size === scores.length);
      for (let imp = 0; imp < 3; imp++) {
        expect(winnerRow(vcg, imp)).toBe(winnerRow(gsp, imp));
        expect(gsp.impPriceNanos[imp]).toBeGreaterThanOrEqual(vcg.impPriceNanos[imp]!);
      }
    }),
    { numRuns: 1000 },
  );
});

test('bids of the lowest envy-free equilibrium: under GSP nobody would rather have another’s place and price, and prices are those of VCG', () => {
  const values = fc.uniqueArray(fc.integer({ min: 10 ** 6, max: 10 ** 9 }), { minLength: 4, maxLength: 6 });
  fc.assert(
    fc.property(values, (unsorted) => {
      const value = unsorted.toSorted((left, right) => right - left);
      const factors = [100, 63, 50];
      // b_k = v_k − (α_k ÷ α_{k−1}) (v_k − b_{k+1}), from the first loser upward; the leader's own bid decides nothing.
      const bids = [...value];
      for (let place = 2; place >= 1; place--) {
        bids[place] = Math.round(
          value[place]! - (factors[place]! / factors[place - 1]!) * (value[place]! - bids[place + 1]!),
        );
      }
      // Bids that rounding makes equal are ties, which a hash settles: no order is promised there.
      fc.pre(bids.every((bid, place) => place === 0 || bids[place - 1]! > bid));
      const lines = bids.map((bid) => [bid, q30One] as const);
      const gsp = decided(perClick('gsp', lines, [0, 0, 0]));
      const vcg = decided(
        perClick(
          'vcg',
          value.map((each) => [each, q30One] as const),
          [0, 0, 0],
        ),
      );
      for (let place = 0; place < 3; place++) {
        expect(winnerRow(gsp, place)).toBe(place);
        // Bids are whole nanos: each rounding moves a price by less than 4.
        expect(Math.abs(gsp.impPriceNanos[place]! - vcg.impPriceNanos[place]!)).toBeLessThan(4);
        const own = factors[place]! * (value[place]! - gsp.impPriceNanos[place]!);
        for (let other = 0; other < 3; other++) {
          const theirs = factors[other]! * (value[place]! - gsp.impPriceNanos[other]!);
          expect(own).toBeGreaterThanOrEqual(theirs - 400);
        }
      }
    }),
  );
});

test('VCG over one page of equal places-to-be: the closed form of the position auction with reserve', () => {
  fc.assert(
    fc.property(book(7), fc.nat(10 ** 9), (lines, floor) => {
      const draft = decided(perClick('vcg', lines, [floor, floor, floor]));
      const scores = lines.map(scoreOf);
      fc.pre(new Set(scores).size === scores.length);
      const reserve = BigInt(floor) << 30n;
      const eligible = scores
        .filter((score) => score >= greater(reserve, 1n << 30n))
        .toSorted((a, b) => (a < b ? 1 : -1));
      const factors = [q30One, Math.floor(0.63 * q30One), q30One / 2].map(BigInt);
      for (let place = 0; place < Math.min(3, eligible.length); place++) {
        let payment = 0n;
        for (let below = place + 1; below <= 3; below++) {
          const step = factors[below - 1]! - (factors[below] ?? 0n);
          payment += step * greater(eligible[below] ?? 0n, reserve);
        }
        const winner = lines[winnerRow(draft, place)]!;
        expect(scoreOf(winner)).toBe(eligible[place]);
        expect(BigInt(draft.impPriceNanos[place]!)).toBe(divideUp(payment, factors[place]! * BigInt(winner[1])));
      }
    }),
    { numRuns: 1000 },
  );
});

test('an answer’s price is the own value less the margin, rounded down, and at least the floor', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 2 ** 48 }),
      fc.integer({ min: 0, max: 2 ** 48 }),
      fc.integer({ min: 0, max: 1_000_000 }),
      (value, floor, margin) => {
        const exact = (BigInt(value) * BigInt(1_000_000 - margin)) / 1_000_000n;
        expect(BigInt(bidPriceNanos(value, floor, margin))).toBe(greater(exact, BigInt(floor)));
      },
    ),
    { numRuns: 5000 },
  );
});

test('an answer never offers more than the own value, never less than the floor, and nothing for an unsold imp', () => {
  fc.assert(
    fc.property(book(), fc.nat(10 ** 9), fc.nat(900_000), (lines, floor, margin) => {
      const draft = decided(perClick('bid', lines, [floor]));
      draft.marginPpm = margin;
      const winner = draft.impWinner[0]!;
      const price = winnersCpmNanos(draft, 0);
      expect(price > 0).toBe(winner >= 0);
      if (winner < 0) return;
      expect(price).toBeLessThanOrEqual(candidateValueNanos(draft, winner));
      expect(price).toBeGreaterThanOrEqual(floor);
      expect(clearingNanos(draft, 0)).toBeGreaterThanOrEqual(candidateValueNanos(draft, winner));
    }),
  );
});

test('a lone eligible bidder pays exactly the floor under every clearing mechanism but first price', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 10 ** 9 }),
      clicks,
      fc.constantFrom<MechanismName>('second', 'gsp', 'vcg'),
      (floor, click, mechanism) => {
        const least = Number(divideUp(BigInt(floor) << 30n, BigInt(click)));
        for (const bid of [least, least + 1, least * 7]) {
          const draft = decided(perClick(mechanism, [[bid, click]], [floor], 10_000));
          expect([winnerRow(draft), draft.impPriceNanos[0]]).toEqual([0, least]);
        }
        expect(winnerRow(decided(perClick(mechanism, [[least - 1, click]], [floor])))).toBe(-1);
      },
    ),
  );
});

test('with an increment, no bid on a grid at least as coarse brings more than the true value; only a won tie saves its increment', () => {
  const step = 10_000;
  const onGrid = fc.integer({ min: 1, max: 30 }).map((steps) => steps * step);
  fc.assert(
    fc.property(
      onGrid,
      fc.array(onGrid, { maxLength: 5 }),
      fc.nat(20).map((steps) => steps * step),
      fc.integer({ min: 1, max: step }),
      (value, rivals, floor, increment) => {
        const utilityOf = (bid: number): number => {
          const bids = [bid, ...rivals].map((bidNanos, adRow) => ({ adRow, bidNanos }));
          const draft = decided({ mechanism: 'second', floors: [floor], bids, incrementNanos: increment });
          return winnerRow(draft) === 0 ? value - draft.impPriceNanos[0]! : 0;
        };
        const honest = utilityOf(value);
        for (let bid = step; bid <= 40 * step; bid += step) {
          // A tie that is won pays the own bid: what the price would have been without the increment.
          const saved = rivals.includes(bid) ? increment : 0;
          expect(utilityOf(bid)).toBeLessThanOrEqual(honest + saved);
        }
      },
    ),
    { numRuns: 300 },
  );
});

test('an own click probability that is wrong by a share ε moves the own price by no more than ε ÷ (1 − ε)', () => {
  fc.assert(
    fc.property(book(), fc.nat(10 ** 8), fc.double({ min: -0.3, max: 0.3, noNaN: true }), (lines, floor, wrongBy) => {
      const right = decided(perClick('gsp', lines, [floor]));
      const row = winnerRow(right);
      fc.pre(row >= 0);
      const [bid, click] = lines[row]!;
      const seen = Math.min(q30One, Math.round(click * (1 + wrongBy)));
      const wrong = decided(perClick('gsp', lines.with(row, [bid, seen]), [floor]));
      fc.pre(winnerRow(wrong) === row);
      const share = Math.abs(seen - click) / click;
      const before = right.impPriceNanos[0]!;
      // Two roundings up to whole nanos.
      expect(Math.abs(wrong.impPriceNanos[0]! - before)).toBeLessThanOrEqual(before * (share / (1 - share)) + 2);
    }),
    { numRuns: 1000 },
  );
});

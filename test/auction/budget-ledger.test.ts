import assert from 'node:assert/strict';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BudgetLedger } from '#auction/budget-ledger.ts';

const lineItem = 2;

function newLedger(budgetNanos = 1000, reservations = 16): BudgetLedger {
  const ledger = new BudgetLedger(BudgetLedger.allocate(4, reservations));
  ledger.setBudget(lineItem, budgetNanos);
  return ledger;
}

/** Both laws, as they must stand when nothing is under way. */
function checkLaws(ledger: BudgetLedger): void {
  const snapshot = ledger.snapshot(lineItem);
  const { budgetNanos, adjustmentNanos, availableNanos, reservedNanos, spentNanos, pendingCutNanos } = snapshot;
  expect(availableNanos + reservedNanos + spentNanos).toBe(budgetNanos + adjustmentNanos);
  for (const each of [availableNanos, reservedNanos, spentNanos, pendingCutNanos]) expect(each >= 0n).toBe(true);
  // What is available while a cut is pending could be spent twice.
  expect(pendingCutNanos === 0n || availableNanos === 0n).toBe(true);
}

type Step =
  | { do: 'reserve'; nanos: number; forMs: number }
  | { do: 'settle'; which: number; nanos: number }
  | { do: 'settle-unreserved'; nanos: number }
  | { do: 'release'; which: number }
  | { do: 'wait'; ms: number }
  | { do: 'set-budget'; nanos: number }
  | { do: 'start-day' };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant('reserve'), nanos: fc.nat(400), forMs: fc.nat(100) }),
  fc.record({ do: fc.constant('settle'), which: fc.nat(30), nanos: fc.nat(500) }),
  fc.record({ do: fc.constant('settle-unreserved'), nanos: fc.nat(500) }),
  fc.record({ do: fc.constant('release'), which: fc.nat(30) }),
  fc.record({ do: fc.constant('wait'), ms: fc.nat(80) }),
  fc.record({ do: fc.constant('set-budget'), nanos: fc.nat(2000) }),
  fc.record({ do: fc.constant('start-day') }),
);

/** What the ledger must do, in words a child could follow: one budget, a list of reservations, no shared memory. */
class PlainLedger {
  budget: number;
  spent = 0;
  over = 0;
  readonly live = new Map<number, { nanos: number; expiresMs: number }>();

  constructor(budget: number) {
    this.budget = budget;
  }

  get reserved(): number {
    return [...this.live.values()].reduce((sum, { nanos }) => sum + nanos, 0);
  }

  get available(): number {
    return Math.max(0, this.budget - this.reserved - this.spent);
  }
}

/** Both ledgers side by side, with every bid that was ever made. */
class Pair {
  readonly ledger: BudgetLedger;
  readonly plain: PlainLedger;
  readonly #bids: { handle: number; generation: number; id: number }[] = [];
  #nowMs = 0;

  constructor(budget: number) {
    this.ledger = newLedger(budget, 512);
    this.plain = new PlainLedger(budget);
  }

  play(each: Step, id: number): void {
    const { ledger, plain } = this;
    switch (each.do) {
      case 'reserve': {
        const handle = ledger.reserve(lineItem, each.nanos, this.#nowMs + each.forMs);
        assert.equal(handle >= 0, each.nanos <= plain.available);
        if (handle < 0) break;
        this.#bids.push({ handle, generation: ledger.generationOf(handle), id });
        plain.live.set(id, { nanos: each.nanos, expiresMs: this.#nowMs + each.forMs });
        break;
      }
      case 'settle':
        this.#settle(each.nanos, this.#bids[each.which]);
        break;
      case 'settle-unreserved':
        this.#settle(each.nanos, undefined);
        break;
      case 'release': {
        const bid = this.#bids[each.which];
        if (bid !== undefined) assert.equal(ledger.release(bid.handle, bid.generation), plain.live.delete(bid.id));
        break;
      }
      case 'wait': {
        this.#nowMs += each.ms;
        const expired = [...plain.live].filter(([, { expiresMs }]) => expiresMs <= this.#nowMs);
        for (const [key] of expired) plain.live.delete(key);
        assert.equal(ledger.expire(this.#nowMs), expired.length);
        break;
      }
      case 'set-budget':
        plain.budget = each.nanos;
        ledger.setBudget(lineItem, each.nanos);
        break;
      case 'start-day':
        plain.spent = 0;
        plain.over = 0;
        ledger.startDay();
    }
  }

  #settle(price: number, bid: { handle: number; generation: number; id: number } | undefined): void {
    const { ledger, plain } = this;
    const own = bid === undefined ? undefined : plain.live.get(bid.id);
    const ownNanos = own?.nanos ?? 0;
    // What is available beside the own reservation: a reservation never covers another's price.
    const charged = Math.min(price, ownNanos) + Math.min(plain.available, Math.max(0, price - ownNanos));
    if (bid !== undefined) plain.live.delete(bid.id);
    plain.spent += charged;
    plain.over += price - charged;
    ledger.settle(lineItem, price, bid?.handle ?? -1, bid?.generation ?? 0);
    assert.deepEqual([ledger.chargedNanos, ledger.overDeliveredNanos], [charged, price - charged]);
    assert.equal(ledger.wasLate, bid !== undefined && own === undefined);
  }
}

test('any sequence of reserving, settling, releasing, expiring, new budgets and new days agrees with plain bookkeeping', () => {
  fc.assert(
    fc.property(fc.nat(2000), fc.array(step, { maxLength: 60 }), (budget, steps) => {
      const pair = new Pair(budget);
      const { ledger, plain } = pair;
      for (const [id, each] of steps.entries()) {
        pair.play(each, id);
        checkLaws(ledger);
        const { availableNanos, reservedNanos, spentNanos, overDeliveredNanos } = ledger.snapshot(lineItem);
        expect([availableNanos, reservedNanos, spentNanos, overDeliveredNanos].map(Number)).toEqual([
          plain.available,
          plain.reserved,
          plain.spent,
          plain.over,
        ]);
        expect(ledger.targetNanos(lineItem)).toBe(plain.budget);
        expect(ledger.spendableNanos(lineItem)).toBe(plain.available);
        expect(ledger.committedNanos(lineItem)).toBe(plain.reserved + plain.spent);
      }
    }),
    { numRuns: 1000 },
  );
});

test('what the log says was spent stands, whether the budget came before or after, and a smaller budget owes the rest', () => {
  for (const isBudgetFirst of [true, false]) {
    const ledger = new BudgetLedger(BudgetLedger.allocate(4, 16));
    if (isBudgetFirst) ledger.setBudget(lineItem, 500);
    ledger.restore(lineItem, 800n, 30n);
    if (!isBudgetFirst) ledger.setBudget(lineItem, 500);
    checkLaws(ledger);
    expect(ledger.snapshot(lineItem)).toMatchObject({ spentNanos: 800n, overDeliveredNanos: 30n, availableNanos: 0n });
    expect(ledger.targetNanos(lineItem)).toBe(500);
    ledger.setBudget(lineItem, 900);
    expect(ledger.snapshot(lineItem).availableNanos).toBe(100n);
    ledger.startDay();
    checkLaws(ledger);
    expect(ledger.snapshot(lineItem)).toMatchObject({ budgetNanos: 900n, spentNanos: 0n, availableNanos: 900n });
  }
});

test('a line item that was never opened sells nothing and charges nothing', () => {
  const ledger = new BudgetLedger(BudgetLedger.allocate(4, 16));
  expect(ledger.reserve(lineItem, 1, 1000)).toBe(-1);
  ledger.settle(lineItem, 70, -1, 0);
  expect([ledger.chargedNanos, ledger.overDeliveredNanos]).toEqual([0, 70]);
});

test('no handle but its own line item’s settles a reservation', () => {
  const ledger = newLedger();
  ledger.setBudget(0, 1000);
  const handle = ledger.reserve(lineItem, 600, 1000);
  const generation = ledger.generationOf(handle);
  ledger.settle(0, 100, handle, generation);
  expect([ledger.chargedNanos, ledger.wasLate]).toEqual([100, true]);
  expect(ledger.snapshot(lineItem).reservedNanos).toBe(600n);
});

test('a notice of an earlier process finds no reservation of this one', () => {
  const before = new BudgetLedger(BudgetLedger.allocate(4, 16, 1111));
  const after = new BudgetLedger(BudgetLedger.allocate(4, 16, 2222));
  for (const ledger of [before, after]) ledger.setBudget(lineItem, 1000);
  const handle = before.reserve(lineItem, 100, 1000);
  expect(after.reserve(lineItem, 100, 1000)).toBe(handle);
  expect(after.release(handle, before.generationOf(handle))).toBe(false);
  after.settle(lineItem, 40, handle, before.generationOf(handle));
  expect(after.wasLate).toBe(true);
  expect(after.snapshot(lineItem)).toMatchObject({ spentNanos: 40n, reservedNanos: 100n });
});

test('when the slots run out bids are refused, and nothing is lost', () => {
  const ledger = newLedger(1000, 8);
  const handles = Array.from({ length: 12 }, () => ledger.reserve(lineItem, 10, 1000));
  expect(handles.filter((handle) => handle >= 0).length).toBe(8);
  checkLaws(ledger);
  expect(ledger.expire(1000)).toBe(8);
  expect(ledger.snapshot(lineItem).availableNanos).toBe(1000n);
});

test('what expires is given back oldest first, and what outlives its successors by the look at all', () => {
  const ledger = newLedger(1000, 16);
  for (let turn = 0; turn < 5; turn++) {
    const nowMs = turn * 100;
    const first = ledger.reserve(lineItem, 10, nowMs + 10);
    ledger.reserve(lineItem, 20, nowMs + 20);
    const third = ledger.reserve(lineItem, 30, nowMs + 30);
    expect(ledger.expireOldest(nowMs + 9)).toBe(0);
    ledger.settle(lineItem, 10, first, ledger.generationOf(first));
    // The first is settled and does not hold up the second; the third is not due.
    expect(ledger.expireOldest(nowMs + 25)).toBe(1);
    expect(ledger.release(third, ledger.generationOf(third))).toBe(true);
    expect(ledger.expireOldest(nowMs + 99)).toBe(0);
    expect(ledger.snapshot(lineItem).reservedNanos).toBe(0n);
    checkLaws(ledger);
  }
  ledger.reserve(lineItem, 40, 5000);
  ledger.reserve(lineItem, 50, 1000);
  expect(ledger.expireOldest(2000)).toBe(0);
  expect(ledger.expire(2000)).toBe(1);
  expect(ledger.snapshot(lineItem).reservedNanos).toBe(40n);
  expect(ledger.expireOldest(5000)).toBe(1);
  checkLaws(ledger);
});

test('expected spend counts against what may still be sold, and fades to nothing', () => {
  const ledger = newLedger();
  ledger.decayExpected(0);
  ledger.expectSpend(lineItem, 400);
  expect(ledger.spendableNanos(lineItem)).toBe(600);
  expect(ledger.committedNanos(lineItem)).toBe(400);
  ledger.decayExpected(60_000);
  const afterOneMinute = 1000 - ledger.spendableNanos(lineItem);
  // 400 ÷ e, rounded down because what fades is rounded up.
  expect(afterOneMinute).toBe(147);
  for (let minute = 2; minute < 12; minute++) ledger.decayExpected(minute * 60_000);
  expect(ledger.spendableNanos(lineItem)).toBe(1000);
});

test('a clock that goes back takes nothing away twice', () => {
  const ledger = newLedger();
  ledger.expectSpend(lineItem, 400);
  ledger.decayExpected(1_000_000);
  ledger.decayExpected(0);
  expect(ledger.spendableNanos(lineItem)).toBe(600);
});

test('amounts beyond 2^53 in sum stay exact', () => {
  const ledger = new BudgetLedger(BudgetLedger.allocate(4, 16));
  ledger.setBudget(lineItem, Number.MAX_SAFE_INTEGER);
  ledger.restore(lineItem, 3n * BigInt(Number.MAX_SAFE_INTEGER), 1n);
  checkLaws(ledger);
  expect(ledger.snapshot(lineItem).spentNanos).toBe(3n * BigInt(Number.MAX_SAFE_INTEGER));
});

test.each([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53])('%s is no amount', (amount) => {
  const ledger = newLedger();
  const refusal = expect.objectContaining({ code: 'LEDGER_AMOUNT_INVALID' });
  expect(() => ledger.setBudget(lineItem, amount)).toThrow(refusal);
  expect(() => ledger.reserve(lineItem, amount, 0)).toThrow(refusal);
  expect(() => ledger.settle(lineItem, amount, -1, 0)).toThrow(refusal);
  expect(() => ledger.expectSpend(lineItem, amount)).toThrow(refusal);
  checkLaws(ledger);
});

test.each([-1, 4, Number.NaN])('%s is no line item', (wrong) => {
  const ledger = newLedger();
  expect(() => ledger.reserve(wrong, 1, 0)).toThrow(expect.objectContaining({ code: 'LEDGER_LINE_ITEM_UNKNOWN' }));
  expect(() => ledger.settle(wrong, 1, -1, 0)).toThrow(expect.objectContaining({ code: 'LEDGER_LINE_ITEM_UNKNOWN' }));
});

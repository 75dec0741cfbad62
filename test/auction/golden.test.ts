import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { AuctionDecider } from '#auction/auction-decision.ts';
import { minToWinNanos } from '#auction/bid-price.ts';
import { BudgetLedger, type LedgerSnapshot } from '#auction/budget-ledger.ts';
import { q30One } from '#auction/expected-value.ts';
import { reasonOf } from '#auction/loss-reasons.ts';
import type { MechanismName } from '#auction/mechanisms.ts';
import { SeenNotices } from '#auction/seen-notices.ts';
import type { AuctionDraft } from '#training-bridge/event-records.ts';
import { draftOf } from './auction-builder.ts';

/** Amounts are decimal text; `cpm` per thousand impressions, `cpc` per click, `cpa` per conversion. Each bid competes in all slots unless it names some. */
type AuctionCase = {
  name: string;
  mechanism: MechanismName;
  increment_cpm?: string;
  auction_id?: string;
  slots: { floor_cpm: string; attention?: string }[];
  bids: {
    advertiser: string;
    ad?: string;
    slots?: number[];
    cpm?: string;
    cpc?: string;
    cpa?: string;
    click?: string;
    conversion?: string;
    quality?: string;
  }[];
  expect: {
    slots: { winner: string | null; pays_cpm?: string; pays_cpc?: string; pays_cpa?: string }[];
    min_to_win_cpm?: Record<string, string>;
    loss_codes?: Record<string, number>;
  };
};

type LedgerStep = {
  do?: 'reserve' | 'bill' | 'expire' | 'set-budget';
  amount?: string;
  price?: string;
  times?: number;
  held?: number;
  as?: string;
  of?: string;
  index?: number;
  charged?: string;
  late?: boolean;
  repeated?: boolean;
  expect?: Record<string, string>;
};
type LedgerCase = { name: string; budget: string; steps: LedgerStep[] };

const folder = join(import.meta.dirname, 'golden');
const cases = readdirSync(folder).map((file) => JSON.parse(readFileSync(join(folder, file), 'utf8')) as object);

/** "1.50" with `decimals` 9 is 1,500,000,000; no float on the way. */
function scaled(text: string, decimals: number): number {
  const [whole, fraction = ''] = text.replace('-', '').split('.') as [string, string?];
  if (fraction.length > decimals) throw new Error(`${text} has more than ${decimals} decimals`);
  return Number(`${text.startsWith('-') ? '-' : ''}${whole}${fraction.padEnd(decimals, '0')}`);
}
const money = (text: string): number => scaled(text, 9);
const perMille = (text: string): number => scaled(text, 6);
const share = (text: string): number => Math.floor(Number(text) * q30One);

const auctions = cases.filter((each): each is AuctionCase => 'mechanism' in each);
const ledgers = cases.filter((each): each is LedgerCase => 'budget' in each);

test('every file is a case of one kind or the other', () => {
  expect(auctions.length + ledgers.length).toBe(cases.length);
});

test.each(auctions)('$name', (golden) => {
  const forwards = play(golden, golden.bids);
  check(golden, forwards);
  // Nothing depends on the order in which bids arrive.
  const backwards = play(golden, golden.bids.toReversed());
  check(golden, backwards);
  expect(outcome(backwards)).toEqual(outcome(forwards));
});

test.each(ledgers)('$name', (golden) => {
  const accounts = playLedger(golden);
  expect(accounts.availableNanos + accounts.reservedNanos + accounts.spentNanos).toBe(
    accounts.budgetNanos + accounts.adjustmentNanos,
  );
});

type Played = { draft: AuctionDraft; adNames: string[]; slotCount: number };

function play(golden: AuctionCase, bids: AuctionCase['bids']): Played {
  const adNames = golden.bids.map(({ advertiser, ad }) => ad ?? advertiser);
  const advertisers = [...new Set(golden.bids.map(({ advertiser }) => advertiser))];
  const id = golden.auction_id ?? '0000000000000001';
  const draft = draftOf({
    mechanism: golden.mechanism,
    floors: golden.slots.map(({ floor_cpm }) => perMille(floor_cpm)),
    incrementNanos: perMille(golden.increment_cpm ?? '0'),
    seed: [Number.parseInt(id.slice(0, 8), 16), Number.parseInt(id.slice(8), 16)],
    bids: bids.flatMap((bid) =>
      (bid.slots ?? golden.slots.map((_, slot) => slot)).map((imp) => ({
        imp,
        adRow: adNames.indexOf(bid.ad ?? bid.advertiser),
        bidNanos: bid.cpm === undefined ? money((bid.cpc ?? bid.cpa)!) : perMille(bid.cpm),
        priceType: bid.cpm === undefined ? (bid.cpc === undefined ? 2 : 1) : 0,
        clickQ30: share(bid.click ?? '1'),
        conversionQ30: share(bid.conversion ?? '1'),
        qualityQ30: share(bid.quality ?? '1'),
      })),
    ),
  });
  const attention = golden.slots.map(({ attention }) => share(attention ?? '1'));
  const decider = new AuctionDecider({ positionFactorsQ30: attention });
  decider.decide(draft, (row) => advertisers.indexOf(golden.bids[row]!.advertiser));
  return { draft, adNames, slotCount: golden.slots.length };
}

function outcome({ draft, adNames, slotCount }: Played): unknown[] {
  return Array.from({ length: slotCount }, (_, imp) => {
    const winner = draft.impWinner[imp]!;
    return [winner < 0 ? null : adNames[draft.candidateAdRow[winner]!]!, draft.impPriceNanos[imp]!];
  });
}

function check(golden: AuctionCase, played: Played): void {
  const { draft, adNames } = played;
  const expected = golden.expect.slots.map(({ winner, pays_cpm, pays_cpc, pays_cpa }) => [
    winner,
    winner === null ? 0 : pays_cpm === undefined ? money((pays_cpc ?? pays_cpa)!) : perMille(pays_cpm),
  ]);
  expect(outcome(played)).toEqual(expected);
  for (let candidate = 0; candidate < draft.candidateCount; candidate++) {
    const ad = adNames[draft.candidateAdRow[candidate]!]!;
    const lossCode = golden.expect.loss_codes?.[ad];
    if (lossCode !== undefined) assert.equal(reasonOf(draft.candidateReason[candidate]!).lossCode, lossCode, ad);
    const minToWin = golden.expect.min_to_win_cpm?.[ad];
    if (minToWin !== undefined) assert.equal(minToWinNanos(draft, 0, candidate), perMille(minToWin), ad);
  }
}

type Held = { handle: number; generation: number };

function playLedger(golden: LedgerCase): LedgerSnapshot {
  const ledger = new BudgetLedger(BudgetLedger.allocate(2, 64));
  const seen = new SeenNotices(SeenNotices.allocate(1000));
  ledger.setBudget(1, money(golden.budget));
  const bids = new Map<string, Held[]>();
  let nowMs = 0;
  for (const step of golden.steps) {
    switch (step.do) {
      case 'reserve': {
        const handles = Array.from({ length: step.times! }, () =>
          ledger.reserve(1, money(step.amount!), nowMs + 60_000),
        );
        const held = handles.filter((handle) => handle >= 0);
        assert.equal(held.length, step.held);
        const withGenerations = held.map((handle) => ({ handle, generation: ledger.generationOf(handle) }));
        bids.set(step.as!, withGenerations);
        break;
      }
      case 'bill': {
        const times = step.times ?? 1;
        for (let time = 0; time < times; time++) bill(ledger, seen, bids, step, step.index ?? time, nowMs);
        break;
      }
      case 'expire':
        nowMs += 61_000;
        ledger.expire(nowMs);
        break;
      case 'set-budget':
        ledger.setBudget(1, money(step.amount!));
        break;
      case undefined:
        checkAccounts(ledger, step.expect!);
    }
    const { budgetNanos, adjustmentNanos, availableNanos, reservedNanos, spentNanos } = ledger.snapshot(1);
    expect(availableNanos + reservedNanos + spentNanos).toBe(budgetNanos + adjustmentNanos);
  }
  return ledger.snapshot(1);
}

function bill(
  ledger: BudgetLedger,
  seen: SeenNotices,
  bids: ReadonlyMap<string, readonly Held[]>,
  step: LedgerStep,
  index: number,
  nowMs: number,
): void {
  const { handle, generation } = bids.get(step.of!)![index]!;
  const isFirst = seen.add(step.of!.length, index, nowMs + 3_600_000, nowMs);
  expect(isFirst).toBe(step.repeated !== true);
  if (!isFirst) return;
  ledger.settle(1, money(step.price!), handle, generation);
  expect(ledger.chargedNanos).toBe(money(step.charged!));
  expect(ledger.chargedNanos + ledger.overDeliveredNanos).toBe(money(step.price!));
  expect(ledger.wasLate).toBe(step.late === true);
}

function checkAccounts(ledger: BudgetLedger, expected: Readonly<Record<string, string>>): void {
  const snapshot = ledger.snapshot(1);
  const accounts: Record<string, bigint> = {
    available: snapshot.availableNanos,
    reserved: snapshot.reservedNanos,
    spent: snapshot.spentNanos,
    over_delivered: snapshot.overDeliveredNanos,
    adjustments: snapshot.adjustmentNanos,
    pending_cut: snapshot.pendingCutNanos,
  };
  for (const [name, amount] of Object.entries(expected))
    expect([name, accounts[name]]).toEqual([name, BigInt(money(amount))]);
}

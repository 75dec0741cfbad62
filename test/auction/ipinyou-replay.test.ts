import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { AuctionDecider } from '#auction/auction-decision.ts';
import { BudgetLedger } from '#auction/budget-ledger.ts';
import { draftOf } from './auction-builder.ts';

const root = process.env['GAVELIN_RESEARCH_DATA'];
const folder = root === undefined ? undefined : join(root, 'ipinyou-auctions');
if (folder === undefined) {
  console.warn('ipinyou-replay skipped: GAVELIN_RESEARCH_DATA does not name a folder with ipinyou-auctions.');
}

const campaigns = ['1458', '2259', '2821', '3386', '3427'];
const parts = ['train-days', 'test-days-head'];
const blockLength = 1000;
const bidMax = 300;
/** Prices are hundredths per thousand impressions: 10,000 nanos each. */
const nanosPerCent = 10_000;
/** The published rule lets a bid of 0 win a price of 0; ours calls 0 no bid. One nano more than was meant decides alike elsewhere. */
const extraNanos = 1;

type Rows = {
  readonly click: Uint8Array;
  readonly price: Float64Array;
  readonly clickRate: Float64Array;
  readonly count: number;
};
type Totals = { readonly imps: number; readonly clicks: number; readonly cost: number };
/** Of the whole campaign's training days. */
type Campaign = { readonly cost_train: number; readonly imp_train: number; readonly clk_train: number };

/** Rows `click price pCTR`; the header and the lines of block numbers have fewer fields. */
function readRows(file: string): Rows {
  const lines = gunzipSync(readFileSync(file)).toString('latin1').split('\n');
  const click = new Uint8Array(lines.length);
  const price = new Float64Array(lines.length);
  const clickRate = new Float64Array(lines.length);
  let count = 0;
  for (const line of lines) {
    const fields = line.trim().split(/\s+/u);
    if (fields.length < 3) continue;
    click[count] = Number(fields[0]);
    price[count] = Number(fields[1]);
    clickRate[count++] = Number(fields[2]);
  }
  return { click, price, clickRate, count };
}

/** The data's own table of known answers: `imps, clicks, cost` in the last three columns; the last of them after its b0. */
function readKnown(
  readme: string,
  campaign: string,
  part: string,
): { mcpc: Totals; b60: Totals; b0: number; tuned: Totals } {
  const line = readme.split('\n').find((each) => each.startsWith(`| ${campaign} ${part} |`))!;
  const cells = line.split('|').map((cell) => cell.trim());
  const [mcpc, b60, tuned] = cells.slice(-4, -1) as [string, string, string];
  const [b0, rest] = tuned.split(':') as [string, string];
  return { mcpc: totalsOf(mcpc), b60: totalsOf(b60), b0: Number(b0), tuned: totalsOf(rest) };
}

function totalsOf(cell: string): Totals {
  const [imps, clicks, cost] = cell.split(',').map(Number) as [number, number, number];
  return { imps, clicks, cost };
}

/**
 * Second price with the rival's price as the floor (to match it is to win), and a budget that opens anew with each block. The
 * bid is cut to what the ledger says is left, held while the auction runs, and charged the price.
 */
function replay(rows: Rows, budget: number, bidOf: (row: number) => number): Totals {
  const ledger = new BudgetLedger(BudgetLedger.allocate(1, 8));
  ledger.setBudget(0, budget * nanosPerCent + extraNanos);
  const decider = new AuctionDecider({ candidateCapacity: 1 });
  const draft = draftOf({ mechanism: 'second', floors: [0], bids: [{ adRow: 0, bidNanos: 1 }] });
  let [imps, clicks, costNanos, handle] = [0, 0, 0n, -1];
  const hold = (_imp: number, candidate: number): boolean => {
    handle = ledger.reserve(0, draft.candidateBidNanos[candidate]!, 1);
    return handle >= 0;
  };
  for (let row = 0; row < rows.count; row++) {
    if (row % blockLength === 0) ledger.startDay();
    const bid = Math.min(bidOf(row), bidMax, Math.floor(ledger.spendableNanos(0) / nanosPerCent));
    draft.candidateBidNanos[0] = bid * nanosPerCent + extraNanos;
    draft.candidateVerdict[0] = 0;
    draft.impFloorNanos[0] = rows.price[row]! * nanosPerCent;
    decider.decide(draft, Uint32Array.of(0), hold);
    if (draft.impWinner[0] !== 0) continue;
    ledger.settle(0, draft.impPriceNanos[0]!, handle, ledger.generationOf(handle));
    imps++;
    clicks += rows.click[row]!;
    costNanos += BigInt(ledger.chargedNanos);
  }
  return { imps, clicks, cost: Number(costNanos) / nanosPerCent };
}

test.skipIf(folder === undefined).each(campaigns.flatMap((campaign) => parts.map((part) => [campaign, part] as const)))(
  'campaign %s, %s: wins, clicks and cost as published',
  { timeout: 180_000 },
  (campaign, part) => {
    const rows = readRows(join(folder!, `${campaign}.${part}.txt.gz`));
    const {
      cost_train: cost,
      imp_train: imps,
      clk_train: clicks,
    } = JSON.parse(readFileSync(join(folder!, `${campaign}.info.json`), 'utf8')) as Campaign;
    const known = readKnown(readFileSync(join(folder!, 'README.md'), 'utf8'), campaign, part);
    const budget = Math.floor((cost / imps) * (1 / 32) * blockLength);
    const linear = (b0: number) => (row: number) => Math.floor((rows.clickRate[row]! * b0) / (clicks / imps));
    expect(replay(rows, budget, (row) => Math.floor((rows.clickRate[row]! * cost) / clicks))).toEqual(known.mcpc);
    expect(replay(rows, budget, linear(60))).toEqual(known.b60);
    expect(replay(rows, budget, linear(known.b0))).toEqual(known.tuned);
  },
);

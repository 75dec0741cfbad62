import { expect, test } from 'vitest';
import { AuctionDecider } from '#auction/auction-decision.ts';
import { mechanismNumbers } from '#auction/mechanisms.ts';
import { type ExplainAnswer, type Explanation, explainAuction } from '#training-bridge/explain.ts';
import type { AuctionDraft } from '#training-bridge/event-records.ts';
import { LogChannel } from '#training-bridge/log-channel.ts';
import { auctionOf, noonMs, noticeOf, openLog, temporaryFolder } from './event-log-fixtures.ts';

const options = { rungNames: ['full', 'reduced'] };

/** Three rivals by click and impression, one below the floor, one without budget. */
function story(draft: AuctionDraft): void {
  draft.mechanism = mechanismNumbers.second;
  draft.impWidth[0] = 300;
  draft.impHeight[0] = 250;
  draft.impFloorNanos[0] = 100_000;
  draft.incrementNanos = 1000;
  draft.candidatePriceType.set([1, 0, 2, 0, 0]);
  draft.candidateBidNanos.set([400_000_000, 4_000_000, 30_000_000_000, 99_999, 9_000_000]);
  draft.candidateClickQ30.fill(2 ** 30 / 64);
  draft.candidateConversionQ30.fill(2 ** 30 / 256);
  draft.candidateVerdict.set([0, 0, 0, 0, 1]);
}

async function loggedStory(dir: string, change: (draft: AuctionDraft) => void = () => {}): Promise<string> {
  const log = await openLog(dir);
  log.writeDictionary(
    [0, 1, 2, 3, 4].map((adRow) => ({
      adRow,
      adId: `li${adRow}.cr1`,
      lineItemId: `li${adRow}`,
      advertiserId: `adv${adRow}`,
      campaignId: 'c1',
    })),
  );
  const channel = new LogChannel(log.openChannel(), () => performance.now());
  for (let id = 1; id < 50; id++) channel.writeAuction(auctionOf(id));
  const draft = auctionOf(0xbeef, 5, (each) => {
    story(each);
    change(each);
  });
  new AuctionDecider().decide(draft, (adRow) => adRow);
  channel.writeAuction(draft);
  channel.writeNotice(noticeOf('bill', 0xbeef, { costNanos: 4_001_000, priceNanos: 4_001_000, timeMs: noonMs + 500 }));
  channel.writeNotice(noticeOf('bill', 0xdead, { costNanos: 1 }));
  channel.writeNotice(noticeOf('click', 0xbeef, { chargedNanos: 256_064_000, timeMs: noonMs + 900, flags: 2 }));
  await log.close();
  return '000000010000beef';
}

function factsOf(answer: ExplainAnswer): Explanation {
  if (answer.kind !== 'explained') throw new Error(answer.kind);
  return answer.facts;
}

async function told(change?: (draft: AuctionDraft) => void): Promise<ExplainAnswer> {
  const dir = temporaryFolder();
  return explainAuction(dir, await loggedStory(dir, change), options);
}

const textOf = (answer: ExplainAnswer): string => (answer.kind === 'explained' ? answer.text : answer.kind);

test('the winner: its value, what it pays, how far ahead', async () => {
  const [imp] = factsOf(await told()).imps;
  expect(imp!.winner).toMatchObject({
    ad_id: 'li0.cr1',
    advertiser_id: 'adv0',
    price_type: 'CPC',
    // 0.40 a click at 1 click in 64.
    value_nanos: 6_250_000,
    // The runner-up's 4,000,000 and the increment of 1,000, times 64.
    price_nanos: 256_064_000,
    price_per_impression_nanos: 4_001_000,
    runner_up_score_nanos: 4_000_000,
  });
});

test('the losers, best first, each with its reason, and how many of each', async () => {
  const [imp] = factsOf(await told()).imps;
  expect(imp!.losers.map(({ ad_id, reason }) => [ad_id, reason])).toEqual([
    ['li4.cr1', 'budget'],
    ['li1.cr1', 'outbid'],
    ['li2.cr1', 'outbid'],
    ['li3.cr1', 'belowFloor'],
  ]);
  expect(imp!.counts_by_reason).toEqual({ won: 1, outbid: 2, belowFloor: 1, budget: 1 });
});

test('the notices that followed it, and no others', async () => {
  const { notices } = factsOf(await told());
  expect(notices.map((notice) => [notice.kind, notice.charged_nanos, notice.cost_nanos, notice.flags])).toEqual([
    ['bill', 0, 4_001_000, []],
    ['click', 256_064_000, 0, ['late']],
  ]);
});

test('the same in English', async () => {
  expect(textOf(await told())).toBe(`Auction 000000010000beef at 2026-05-17T12:00:00.000Z
  request "request-48879" from the default caller, OpenRTB: the exchange clears; no known user
  scored on rung "full" by model model-1, calibrated by none; catalog version 0

Imp 1 "1", 300x250: floor 0.1000 CPM, 5 candidates
  Won by li0.cr1 (line item li0, advertiser adv0)
    value 6.2500 CPM = 0.40 USD per click × pCTR 1.563 %
    pays 0.256064 USD per click: the least with which it still ranks at the runner-up's 4.0000 CPM plus the increment of 0.0010 CPM
    ahead of the runner-up by 2.2500 CPM (36.000 % of its own)
  The 4 others:
    li4.cr1 (line item li4, advertiser adv4): value 9.0000 CPM. Its line item has no budget left for this bid.
    li1.cr1 (line item li1, advertiser adv1): value 4.0000 CPM. Another candidate ranked higher. Behind by 2.2500 CPM.
    li2.cr1 (line item li2, advertiser adv2): value 1.8311 CPM. Another candidate ranked higher. Behind by 4.4189 CPM.
    li3.cr1 (line item li3, advertiser adv3): value 0.1000 CPM. Its expected value per impression is below the floor. Short by 0.0000 CPM.
  By reason: won 1, outbid 2, belowFloor 1, budget 1

Notices:
  2026-05-17T12:00:00.500Z bill of imp 1, price 0.004001 USD, cost 0.004001 USD
  2026-05-17T12:00:00.900Z click of imp 1, charged 0.256064 USD (late)
`);
});

test('how many ads pacing and caps kept out before the auction', async () => {
  const answer = await told((draft) => Object.assign(draft, { eligibleCount: 40, throttledCount: 12, cappedCount: 3 }));
  expect(factsOf(answer)).toMatchObject({ eligible_ads: 40, throttled_ads: 12, capped_ads: 3 });
  expect(textOf(answer)).toContain(
    "\n  of 40 ads that fit, pacing held back 12 and this user's frequency caps 3 before the auction\n",
  );
});

test.each([
  ['bid', '0.40 USD per click, its own bid. Offered: 6.2500 CPM, its value, at least the floor'],
  ['first', '0.40 USD per click: its own bid, as a first price asks'],
  ['gsp', "0.256 USD per click: the least with which it still ranks at the runner-up's 4.0000 CPM"],
  ['vcg', '0.256 USD per click: what its place takes away from the others, at least the floor ÷ p'],
] as const)('what it pays by %s, and why', async (name, text) => {
  const answer = await told((draft) => {
    draft.mechanism = mechanismNumbers[name];
    draft.incrementNanos = 0;
  });
  expect(textOf(answer)).toContain(`\n    pays ${text}\n`);
});

test('a CPM winner of an exchange pays what the exchange reports, at most its bid', async () => {
  const lone = await told((draft) => {
    draft.mechanism = mechanismNumbers.bid;
    draft.marginPpm = 250_000;
    draft.candidateVerdict.set([4, 0, 4, 0, 4]);
  });
  expect(textOf(lone)).toContain(
    'pays at most 0.004 USD per impression, its own bid: the exchange clears. Offered: 3.0000 CPM, its value less the margin of 25 %, at least the floor',
  );
});

test('an unsold imp, a lone winner', async () => {
  expect(textOf(await told((draft) => void draft.candidateVerdict.fill(4)))).toContain(
    'Unsold: nobody was left to win it.',
  );
  const lone = textOf(await told((draft) => draft.candidateVerdict.set([4, 0, 4, 0, 4])));
  expect(lone).toContain('pays 0.0001 USD per impression: the floor of 0.1000 CPM ÷ p');
  expect(lone).toContain('nobody else competed');
});

test('what is no id, and what the log does not hold', async () => {
  const dir = temporaryFolder();
  expect(await explainAuction(dir, 'beef')).toEqual({ kind: 'not-an-id' });
  expect(await explainAuction(dir, '000000010000beef')).toEqual({ kind: 'not-in-log' });
  await loggedStory(dir);
  expect(await explainAuction(dir, '000000020000beef')).toEqual({ kind: 'not-in-log' });
  expect(await explainAuction(dir, ' 000000010000BEEF\n')).toMatchObject({ kind: 'explained' });
});

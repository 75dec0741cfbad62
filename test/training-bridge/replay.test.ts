import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AuctionDecider } from '#auction/auction-decision.ts';
import { mechanismNumbers } from '#auction/mechanisms.ts';
import type { AuctionDraft } from '#training-bridge/event-records.ts';
import { LogChannel } from '#training-bridge/log-channel.ts';
import { ledgerOfDay, replayLog } from '#training-bridge/replay.ts';
import { auctionOf, noonMs, noticeOf, openLog, temporaryFolder } from './event-log-fixtures.ts';

const adCount = 40;
const advertiserOf = (adRow: number): number => adRow % 6;
const rows = Array.from({ length: adCount }, (_, adRow) => ({
  adRow,
  adId: `li${adRow}.cr${adRow}`,
  lineItemId: `li${adRow}`,
  advertiserId: `adv${advertiserOf(adRow)}`,
  campaignId: 'c',
}));

const candidate = fc.record({
  imp: fc.nat(15),
  row: fc.nat(adCount - 1),
  // Few levels, so that there are ties.
  bid: fc.constantFrom(0, 500_000, 1_000_000, 3_000_000_000),
  priceType: fc.constantFrom(0, 1, 2),
  click: fc.constantFrom(0, 1, 10_000_000, 2 ** 29),
  conversion: fc.constantFrom(1, 2 ** 28),
  quality: fc.constantFrom(2 ** 30, 2 ** 29),
  verdict: fc.constantFrom(0, 0, 0, 0, 1, 2, 4),
});
const auction = fc.record({
  mechanism: fc.constantFrom(...Object.values(mechanismNumbers)),
  impCount: fc.integer({ min: 1, max: 4 }),
  floor: fc.constantFrom(0, 1000, 600_000),
  increment: fc.constantFrom(0, 10),
  exponent: fc.constantFrom(0, 0.5, 1),
  seed: fc.integer({ min: 0, max: 0xffff_ffff }),
  candidates: fc.array(candidate, { maxLength: 60 }),
  /** Every so many wins the ledger says no. */
  refuseEvery: fc.integer({ min: 2, max: 5 }),
});

function decided(id: number, shape: typeof auction extends fc.Arbitrary<infer Shape> ? Shape : never): AuctionDraft {
  const draft = auctionOf(id, shape.candidates.length, (each) => {
    each.mechanism = shape.mechanism;
    each.impCount = shape.impCount;
    each.impFloorNanos.fill(shape.floor);
    each.incrementNanos = shape.increment;
    each.qualityExponent = shape.exponent;
    each.tieSeedHigh = shape.seed;
    each.tieSeedLow = id;
    for (const [
      index,
      { imp, row, bid, priceType, click, conversion, quality, verdict },
    ] of shape.candidates.entries()) {
      each.candidateImp[index] = imp % shape.impCount;
      each.candidateAdRow[index] = row;
      each.candidateBidNanos[index] = bid;
      each.candidatePriceType[index] = priceType;
      each.candidateClickQ30[index] = click;
      each.candidateConversionQ30[index] = conversion;
      each.candidateQualityQ30[index] = quality;
      each.candidateVerdict[index] = verdict;
    }
  });
  let asked = 0;
  new AuctionDecider().decide(draft, advertiserOf, () => ++asked % shape.refuseEvery !== 0);
  return draft;
}

test('auctions of every mechanism are decided again as they were, refused budgets included', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(auction, { minLength: 1, maxLength: 20 }), async (shapes) => {
      const dir = temporaryFolder();
      const log = await openLog(dir);
      log.writeDictionary(rows);
      const channel = new LogChannel(log.openChannel(), () => performance.now());
      for (const [id, shape] of shapes.entries()) channel.writeAuction(decided(id, shape));
      await log.close();
      const report = await replayLog(dir);
      expect(report.mismatches).toEqual([]);
      expect(report).toMatchObject({ auctions: shapes.length, mismatchCount: 0, read: { undecodable: 0 } });
    }),
    { numRuns: 40 },
  );
});

test('an auction that was not decided by its record is found, with what differs', async () => {
  const dir = temporaryFolder();
  const log = await openLog(dir);
  log.writeDictionary(rows);
  const channel = new LogChannel(log.openChannel(), () => performance.now());
  const second = mechanismNumbers.second;
  const fair = auctionOf(1, 3, (draft) => void (draft.mechanism = second));
  new AuctionDecider().decide(fair, advertiserOf);
  channel.writeAuction(fair);
  const price = fair.impPriceNanos[0]!;
  fair.auctionIdLow = 2;
  fair.impPriceNanos[0] = price + 1;
  channel.writeAuction(fair);
  fair.auctionIdLow = 3;
  fair.impPriceNanos[0] = price;
  fair.impWinner[0] = 1;
  channel.writeAuction(fair);
  fair.auctionIdLow = 4;
  fair.impWinner[0] = 0;
  fair.candidateReason[2] = 2;
  channel.writeAuction(fair);
  fair.auctionIdLow = 5;
  fair.mechanism = 99;
  channel.writeAuction(fair);
  fair.auctionIdLow = 6;
  fair.surface = 2;
  channel.writeAuction(fair);
  await log.close();
  const report = await replayLog(dir);
  expect(report).toMatchObject({ auctions: 5, predictions: 1, mismatchCount: 4 });
  expect(report.mismatches.map(({ auctionId, what, logged, replayed }) => [auctionId, what, logged, replayed])).toEqual(
    [
      ['0000000100000002', 'price', price + 1, price],
      ['0000000100000003', 'winner', 1, 0],
      ['0000000100000004', 'reason', 2, 3],
      ['0000000100000005', 'undecidable', 99, -1],
    ],
  );
});

test('without the dictionary every row is an advertiser of its own: separation is not invented', async () => {
  const dir = temporaryFolder();
  const log = await openLog(dir);
  const channel = new LogChannel(log.openChannel(), () => performance.now());
  const draft = auctionOf(1, 4, (each) => {
    each.impCount = 2;
    for (let index = 0; index < 4; index++) each.candidateImp[index] = index % 2;
  });
  new AuctionDecider().decide(draft, (adRow) => adRow);
  channel.writeAuction(draft);
  await log.close();
  expect(await replayLog(dir)).toMatchObject({ mismatchCount: 0, sold: 2 });
});

test('the ledger of the log is the sum of its notices, each id once, and agrees with its checkpoints', async () => {
  const dir = temporaryFolder();
  const log = await openLog(dir, { limits: { segmentBytesMax: 2000 } });
  const channel = new LogChannel(log.openChannel(), () => performance.now());
  const big = 2 ** 48 - 1;
  for (let id = 0; id < 60; id++) {
    const lineItemId = `li${id % 3}`;
    const change = { chargedNanos: big, overDeliveredNanos: id, costNanos: big - id, lineItemId };
    const sequence = channel.writeNotice(noticeOf('bill', id, change))!;
    if (id % 10 !== 9) continue;
    await channel.onDurable(sequence);
    log.checkpoint();
  }
  expect(await channel.onAllDurable()).toBe('DURABLE');
  const live = ['li0', 'li1', 'li2'].map((id) => [id, log.chargesOf(noonMs).get(id)?.chargedNanos]);
  await log.close();
  const report = await replayLog(dir);
  expect(report).toMatchObject({ notices: 60, repeatedNotices: 0, ledgerMismatchCount: 0 });
  const ledger = ledgerOfDay(report, noonMs);
  expect(ledger.map(({ lineItemId, chargedNanos }) => [lineItemId, chargedNanos])).toEqual(live);
  expect(ledger.map(({ chargedNanos }) => chargedNanos)).toEqual([0, 1, 2].map(() => 20n * BigInt(big)));
  expect(ledger[1]).toMatchObject({ overDeliveredNanos: 590n, costNanos: 20n * BigInt(big) - 590n, chargeCount: 20 });
});

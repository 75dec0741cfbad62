import { expect, test } from 'vitest';
import { readEventLog } from '#training-bridge/event-log-reader.ts';
import { LogChannel } from '#training-bridge/log-channel.ts';
import { auctionOf, noticeOf, openLog, temporaryFolder } from './event-log-fixtures.ts';

const now = (): number => performance.now();

test('what is handed over is there after close, each in the order it was written', async () => {
  const dir = temporaryFolder();
  const log = await openLog(dir);
  log.writeDictionary([{ adRow: 0, adId: 'li1.cr1', lineItemId: 'li1', advertiserId: 'adv1', campaignId: 'c1' }]);
  const channel = new LogChannel(log.openChannel(), now);
  for (let id = 0; id < 20; id++) {
    expect(channel.writeAuction(auctionOf(id))).toBeGreaterThan(100);
    channel.writeNotice(noticeOf('bill', id, { chargedNanos: 5, lineItemId: `li${id % 3}` }));
  }
  expect(await channel.onAllDurable()).toBe('DURABLE');
  await log.close();

  const auctions: number[] = [];
  const notices: number[] = [];
  const rows: string[] = [];
  const summary = await readEventLog(dir, {
    auction: (draft) => void auctions.push(draft.auctionIdLow),
    notice: (notice) => void notices.push(notice.noticeIdLow),
    dictionary: (some) => void rows.push(...some.map((row) => row.adId)),
  });
  const ids = Array.from({ length: 20 }, (_, id) => id);
  expect(auctions).toEqual(ids);
  expect(notices).toEqual(ids);
  expect(rows).toEqual(['li1.cr1']);
  expect(summary).toMatchObject({ undecodable: 0, skippedBytes: 0, unfinishedBytes: 0 });
});

test('a second writer is refused until the first has closed', async () => {
  const dir = temporaryFolder();
  const log = await openLog(dir);
  await expect(openLog(dir)).rejects.toMatchObject({ code: 'EVENT_LOG_LOCKED' });
  await log.close();
  await (await openLog(dir)).close();
});

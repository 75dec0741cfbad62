import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { readEventLog } from '#training-bridge/event-log-reader.ts';
import { listSegments, segmentPath } from '#training-bridge/event-log-segments.ts';
import type { EventLog } from '#training-bridge/event-log.ts';
import type { NoticeRecord } from '#training-bridge/event-records.ts';
import { LogChannel } from '#training-bridge/log-channel.ts';
import { auctionOf, noonMs, noticeOf, openLog, temporaryFolder } from './event-log-fixtures.ts';

const now = (): number => performance.now();
const row = { adRow: 0, adId: 'li1.cr1', lineItemId: 'li1', advertiserId: 'adv1', campaignId: 'c1' };

async function writeNotices(log: EventLog, channel: LogChannel, notices: readonly NoticeRecord[]): Promise<void> {
  for (const notice of notices) {
    expect(await channel.onDurable(channel.writeNotice(notice)!)).toBe('DURABLE');
  }
}

async function writeAuctions(log: EventLog, channel: LogChannel, from: number, count: number): Promise<void> {
  for (let id = from; id < from + count; id++) {
    const before = log.status.auctionsWritten;
    channel.writeAuction(auctionOf(id));
    while (log.status.auctionsWritten === before) await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

test('segments follow one another by size, each can be read alone, and all together are one log', async () => {
  const dir = temporaryFolder();
  const log = await openLog(dir, { limits: { segmentBytesMax: 1000 } });
  log.writeDictionary([row]);
  const channel = new LogChannel(log.openChannel(), now);
  await writeAuctions(log, channel, 0, 16);
  const bills = Array.from({ length: 20 }, (_, id) => noticeOf('bill', id, { chargedNanos: 3 }));
  await writeNotices(log, channel, bills);
  await log.close();
  const auctions = await listSegments(dir, 'auctions');
  const notices = await listSegments(dir, 'notices');
  expect(auctions.length).toBeGreaterThan(2);
  expect(notices.length).toBeGreaterThan(2);

  const ids: number[] = [];
  await readEventLog(dir, { notice: (notice) => void ids.push(notice.noticeIdLow) });
  expect(ids).toEqual(bills.map(({ noticeIdLow }) => noticeIdLow));

  const alone = temporaryFolder();
  const last = auctions.at(-1)!;
  writeFileSync(segmentPath(alone, 'auctions', last.number), readFileSync(last.path));
  writeFileSync(segmentPath(alone, 'notices', 9), readFileSync(notices.at(-1)!.path));
  const seen: string[] = [];
  let charged = 0n;
  let later = 0;
  await readEventLog(alone, {
    dictionary: (rows) => void seen.push(...rows.map(({ adId }) => adId)),
    auction: () => void seen.push('auction'),
    processStart: ({ pid }) => void seen.push(`process ${pid}`),
    checkpoint: ({ lines }) => void (charged += lines[0]?.chargedNanos ?? 0n),
    notice: ({ chargedNanos }) => void (later += chargedNanos),
  });
  expect(seen.slice(0, 3)).toEqual([`process ${process.pid}`, 'li1.cr1', 'auction']);
  // What was before the segment, and what is in it, are all.
  expect(charged).toBeGreaterThan(0n);
  expect(charged + BigInt(later)).toBe(60n);
});

test('the oldest auctions go first; notices stay as long as a repetition could come', async () => {
  const dir = temporaryFolder();
  let nowMs = noonMs;
  const options = { now: () => nowMs, limits: { segmentBytesMax: 500, totalBytesMax: 2000, keepMsMin: 10_000 } };
  const log = await openLog(dir, options);
  const channel = new LogChannel(log.openChannel(), now);
  await writeNotices(
    log,
    channel,
    Array.from({ length: 30 }, (_, id) => noticeOf('bill', id, { chargedNanos: 1 })),
  );
  await writeAuctions(log, channel, 0, 8);
  expect((await listSegments(dir, 'auctions')).length).toBe(1);
  expect((await listSegments(dir, 'notices'))[0]!.number).toBe(1);
  const young = log.status.bytes;
  expect(young).toBeGreaterThan(2000);

  nowMs += 20_000;
  await writeNotices(log, channel, [noticeOf('bill', 100, { chargedNanos: 1, timeMs: nowMs })]);
  await writeAuctions(log, channel, 8, 1);
  expect((await listSegments(dir, 'notices'))[0]!.number).toBeGreaterThan(1);
  await log.close();
  // The sums survive the records: the head of the next segment has them.
  const again = await openLog(dir, options);
  expect(again.recovered.charges.get('li1')?.chargedNanos).toBe(31n);
  await again.close();
});

test('a log that continues after a restart recovers across all its segments', async () => {
  const dir = temporaryFolder();
  for (let restart = 0; restart < 3; restart++) {
    const log = await openLog(dir, { limits: { segmentBytesMax: 700 } });
    expect(log.recovered.charges.get('li1')?.chargedNanos ?? 0n).toBe(BigInt(restart * 50));
    const channel = new LogChannel(log.openChannel(), now);
    const ids = Array.from({ length: 10 }, (_, id) => noticeOf('bill', restart * 10 + id, { chargedNanos: 5 }));
    await writeNotices(log, channel, ids);
    expect(log.chargesOf(noonMs).get('li1')?.chargedNanos).toBe(BigInt((restart + 1) * 50));
    await log.close();
  }
});

test('what is recovered: charges of today, ids that can still come, views of the window; a repeated id counts once', async () => {
  const dir = temporaryFolder();
  const hourMs = 3_600_000;
  const dayMs = 24 * hourMs;
  const log = await openLog(dir, { now: () => noonMs - dayMs });
  const channel = new LogChannel(log.openChannel(), now);
  const expired = { expiresMs: noonMs - 1 };
  await writeNotices(log, channel, [
    noticeOf('view', 1, { userHashHigh: 1, userHashLow: 2, timeMs: noonMs - 31 * dayMs, ...expired }),
    noticeOf('view', 2, { userHashHigh: 1, userHashLow: 2, timeMs: noonMs - 20 * dayMs, ...expired }),
    noticeOf('view', 3, { timeMs: noonMs - 20 * dayMs, ...expired }),
    noticeOf('bill', 4, { chargedNanos: 100, timeMs: noonMs - dayMs, ...expired }),
    noticeOf('click', 5, {
      chargedNanos: 7,
      overDeliveredNanos: 2,
      timeMs: noonMs - hourMs,
      expiresMs: noonMs + hourMs,
    }),
    noticeOf('click', 5, {
      chargedNanos: 7,
      overDeliveredNanos: 2,
      timeMs: noonMs - hourMs,
      expiresMs: noonMs + hourMs,
    }),
    noticeOf('bill', 6, { chargedNanos: 1, costNanos: 1, timeMs: noonMs, lineItemId: 'li2' }),
    noticeOf('view', 7, { userHashHigh: 3, userHashLow: 4, timeMs: noonMs, lineItemId: 'li2' }),
  ]);
  await log.close();

  const { recovered, ...again } = await openLog(dir).then(async (opened) => {
    await opened.close();
    return { recovered: opened.recovered };
  });
  expect(again).toEqual({});
  expect([...recovered.charges]).toEqual([
    ['li1', { chargedNanos: 7n, overDeliveredNanos: 2n, costNanos: 0n, chargeCount: 1 }],
    ['li2', { chargedNanos: 1n, overDeliveredNanos: 0n, costNanos: 1n, chargeCount: 1 }],
  ]);
  const ids: number[] = [];
  recovered.forEachNoticeId((high, low) => void (high === 7 && ids.push(low)));
  expect(ids).toEqual([5, 6, 7]);
  const views: unknown[] = [];
  recovered.forEachView((...view) => views.push(view));
  expect(views).toEqual([
    [1, 2, 'li1', noonMs - 20 * dayMs],
    [3, 4, 'li2', noonMs],
  ]);
});

test('the lock of a dead process is taken over, also when its id lives again', async () => {
  const dir = temporaryFolder();
  const child = spawn(process.execPath, ['-e', '0'], { stdio: 'ignore' });
  await once(child, 'close');
  writeFileSync(join(dir, 'lock'), `${child.pid} 12345\n`);
  await (await openLog(dir)).close();
  // Our own id, but another start: some process before us had it.
  writeFileSync(join(dir, 'lock'), `${process.pid} 1\n`);
  await (await openLog(dir)).close();
  // Its writer died between creating and filling it.
  writeFileSync(join(dir, 'lock'), '');
  await (await openLog(dir)).close();
  expect(existsSync(join(dir, 'lock'))).toBe(false);
  // Somebody alive whose start nobody noted is believed.
  writeFileSync(join(dir, 'lock'), `${process.ppid} \n`);
  await expect(openLog(dir)).rejects.toMatchObject({ code: 'EVENT_LOG_LOCKED' });
});

test('a reader beside the writer sees whole records only, and each time at least what it saw before', async () => {
  const dir = temporaryFolder();
  const log = await openLog(dir, { limits: { segmentBytesMax: 5000 } });
  const channel = new LogChannel(log.openChannel(), now);
  let seen = 0;
  for (let round = 0; round < 20; round++) {
    for (let id = 0; id < 5; id++) channel.writeNotice(noticeOf('view', round * 5 + id));
    const ids: number[] = [];
    const summary = await readEventLog(dir, { notice: (notice) => void ids.push(notice.noticeIdLow) });
    expect(ids).toEqual(Array.from({ length: ids.length }, (_, id) => id));
    expect(ids.length).toBeGreaterThanOrEqual(seen);
    expect(summary.skippedBytes).toBe(0);
    seen = ids.length;
    await channel.onAllDurable();
  }
  expect(seen).toBeGreaterThan(50);
  await log.close();
});

test('a range gives the records of its time, with the dictionary they need', async () => {
  const dir = temporaryFolder();
  const log = await openLog(dir);
  log.writeDictionary([row]);
  const channel = new LogChannel(log.openChannel(), now);
  for (let id = 0; id < 10; id++) {
    channel.writeAuction(auctionOf(id, 1, (draft) => void (draft.timeMs = noonMs + id)));
    channel.writeNotice(noticeOf('view', id, { timeMs: noonMs + id }));
  }
  await log.close();
  const events: unknown[] = [];
  await readEventLog(
    dir,
    {
      auction: (draft) => void events.push(`auction ${draft.auctionIdLow}`),
      notice: (notice) => void events.push(`view ${notice.noticeIdLow}`),
      dictionary: (rows) => void events.push(rows.length),
    },
    { fromMs: noonMs + 3, toMs: noonMs + 5 },
  );
  expect(events).toEqual([1, 'auction 3', 'view 3', 'auction 4', 'view 4']);
  let first = 0;
  await readEventLog(dir, {
    auction: (draft) => {
      first = draft.auctionIdLow;
      return draft.auctionIdLow === 2 ? 'STOP' : undefined;
    },
  });
  expect(first).toBe(2);
});

test('what was recovered can be collected once it is forgotten; charges are still known', async () => {
  const dir = temporaryFolder();
  const first = await openLog(dir);
  const channel = new LogChannel(first.openChannel(), now);
  await writeNotices(first, channel, [noticeOf('bill', 1, { chargedNanos: 5 })]);
  await first.close();
  const log = await openLog(dir);
  const held = new WeakRef(log.recovered);
  log.forgetRecovered();
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  await new Promise((settle) => setTimeout(settle, 20));
  collect();
  expect(held.deref()).toBeUndefined();
  expect(() => log.recovered).toThrow(/forgotten/u);
  expect(log.chargesOf(noonMs).get('li1')?.chargedNanos).toBe(5n);
  // A new segment's head still says it.
  log.checkpoint();
  await log.close();
  const again = await openLog(dir);
  expect(again.recovered.charges.get('li1')?.chargedNanos).toBe(5n);
  await again.close();
});

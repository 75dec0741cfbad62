import { expect, test } from 'vitest';
import { type LogDisk, type LogFile, nodeDisk } from '#training-bridge/event-log-disk.ts';
import { readEventLog } from '#training-bridge/event-log-reader.ts';
import type { EventLogFault } from '#training-bridge/errors.ts';
import { LogChannel, logChannelLimits } from '#training-bridge/log-channel.ts';
import { auctionOf, noticeOf, openLog, temporaryFolder } from './event-log-fixtures.ts';

const now = (): number => performance.now();

/** The real disk, until it is told to refuse a step. */
class FailingDisk implements LogDisk {
  failing: 'write' | 'sync' | 'short write' | undefined;
  stream: 'notices' | 'auctions' = 'notices';
  failures = 0;

  async open(path: string, how: 'continue' | 'begin'): Promise<LogFile> {
    const file = await nodeDisk.open(path, how);
    const fails = (): boolean => path.includes(this.stream) && this.failing !== undefined;
    const fail = (): never => {
      this.failures++;
      throw Object.assign(new Error('no space left'), { code: 'ENOSPC' });
    };
    return {
      ...file,
      write: async (bytes, position) => {
        // A disk that fills up takes the first part.
        if (fails() && this.failing === 'short write') await file.write(bytes.subarray(0, bytes.length >> 1), position);
        if (fails() && this.failing !== 'sync') fail();
        await file.write(bytes, position);
      },
      sync: async () => {
        if (fails() && this.failing === 'sync') fail();
        await file.sync();
      },
    };
  }

  syncFolder(path: string): Promise<void> {
    return nodeDisk.syncFolder(path);
  }

  remove(path: string): Promise<void> {
    return nodeDisk.remove(path);
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}

test.each(['write', 'sync', 'short write'] as const)(
  'a disk that refuses a %s: senders are told, nothing is lost or doubled, and it goes on by itself',
  async (failing) => {
    const dir = temporaryFolder();
    const disk = new FailingDisk();
    const told: (EventLogFault | undefined)[] = [];
    const log = await openLog(dir, { disk, onFault: (fault) => told.push(fault) });
    const channel = new LogChannel(log.openChannel(), now);
    expect(await channel.onDurable(channel.writeNotice(noticeOf('bill', 1))!)).toBe('DURABLE');

    disk.failing = failing;
    const second = channel.writeNotice(noticeOf('bill', 2))!;
    expect(await channel.onDurable(second)).toBe('EVENT_LOG_DISK_FULL');
    expect(channel.fault).toBe('EVENT_LOG_DISK_FULL');
    expect(log.status.fault).toBe('EVENT_LOG_DISK_FULL');
    // Whoever asks is told so by `fault`; one that was charged just before it came is told while it waits, and keeps its place.
    expect(await channel.onDurable(channel.writeNotice(noticeOf('bill', 3))!)).toBe('EVENT_LOG_DISK_FULL');
    // Bids go on.
    expect(channel.writeAuction(auctionOf(1))).toBeGreaterThan(0);
    await until(() => disk.failures > 2);

    disk.failing = undefined;
    await until(() => channel.fault === undefined);
    expect(await channel.onAllDurable()).toBe('DURABLE');
    expect(await channel.onDurable(channel.writeNotice(noticeOf('bill', 4))!)).toBe('DURABLE');
    expect(told).toEqual(['EVENT_LOG_DISK_FULL', undefined]);
    await log.close();

    const ids: number[] = [];
    const auctions: number[] = [];
    const summary = await readEventLog(dir, {
      notice: (notice) => void ids.push(notice.noticeIdLow),
      auction: (draft) => void auctions.push(draft.auctionIdLow),
    });
    expect(ids).toEqual([1, 2, 3, 4]);
    expect(auctions).toEqual([1]);
    expect(summary).toMatchObject({ skippedBytes: 0, unfinishedBytes: 0 });
  },
);

test('while auctions cannot be written they are dropped and counted, and notices go on', async () => {
  const dir = temporaryFolder();
  const disk = new FailingDisk();
  disk.stream = 'auctions';
  const log = await openLog(dir, {
    disk,
    onFault: () => {},
    channelLimits: { ...logChannelLimits, auctionRingBytes: 4096 },
  });
  const channel = new LogChannel(log.openChannel(), now);
  disk.failing = 'write';
  channel.writeAuction(auctionOf(0));
  await until(() => disk.failures > 0);
  let written = 0;
  for (let id = 1; id <= 100; id++) if (channel.writeAuction(auctionOf(id)) > 0) written++;
  expect(written).toBeGreaterThan(0);
  expect(channel.auctionsDropped).toBe(100 - written);
  expect(log.status).toMatchObject({ auctionsDropped: 100 - written, fault: 'EVENT_LOG_DISK_FULL' });
  expect(await channel.onDurable(channel.writeNotice(noticeOf('bill', 1))!)).toBe('DURABLE');

  disk.failing = undefined;
  await until(() => log.status.fault === undefined && log.status.auctionsWritten === 1 + written);
  await log.close();
  const ids: number[] = [];
  await readEventLog(dir, { auction: (draft) => void ids.push(draft.auctionIdLow) });
  expect(ids).toEqual(Array.from({ length: 1 + written }, (_, id) => id));
});

test('closing while the disk refuses ends, and whoever waits is told', async () => {
  const dir = temporaryFolder();
  const disk = new FailingDisk();
  const log = await openLog(dir, { disk, onFault: () => {} });
  const channel = new LogChannel(log.openChannel(), now);
  disk.failing = 'sync';
  const outcome = channel.onDurable(channel.writeNotice(noticeOf('bill', 1))!);
  expect(await outcome).toBe('EVENT_LOG_DISK_FULL');
  await log.close();
  expect(channel.fault).toBe('EVENT_LOG_CLOSED');
  expect(await channel.onDurable(channel.writeNotice(noticeOf('bill', 2))!)).toBe('EVENT_LOG_CLOSED');
});

test('a log that cannot be opened says why and leaves no lock behind', async () => {
  const dir = temporaryFolder();
  const disk = new FailingDisk();
  disk.failing = 'sync';
  await expect(openLog(dir, { disk })).rejects.toThrow('no space left');
  disk.failing = undefined;
  await (await openLog(dir, { disk })).close();
});

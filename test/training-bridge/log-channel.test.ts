import { expect, test } from 'vitest';
import { ByteRing } from '#training-bridge/byte-ring.ts';
import { LogChannel, logChannelLimits } from '#training-bridge/log-channel.ts';
import { LogState } from '#training-bridge/log-state.ts';
import { readEventLog } from '#training-bridge/event-log-reader.ts';
import { auctionOf, noticeOf, openLog, temporaryFolder } from './event-log-fixtures.ts';

const now = (): number => performance.now();
const small = { ...logChannelLimits, auctionRingBytes: 2048, noticeRingBytes: 16_384 };

/** A channel without a writer: what the writer would do, the test does. */
function lonelyChannel(clock: () => number = now, waitMsMax = 2000) {
  const state = new LogState();
  const shared = LogChannel.allocate(3, state, small);
  return { state, shared, channel: new LogChannel(shared, clock, waitMsMax) };
}

test('sequences count the notices handed over, and each promise waits for its own', async () => {
  const { state, channel } = lonelyChannel();
  const settled: string[] = [];
  for (const id of [1, 2, 3]) {
    const sequence = channel.writeNotice(noticeOf('win', id))!;
    expect(sequence).toBe(id);
    void channel.onDurable(sequence).then((outcome) => settled.push(`${id} ${outcome}`));
  }
  void channel.onAllDurable().then((outcome) => settled.push(`all ${outcome}`));
  state.addDurable(3, 2);
  state.announce();
  await expect.poll(() => settled).toEqual(['1 DURABLE', '2 DURABLE']);
  state.addDurable(3, 1);
  state.announce();
  await expect.poll(() => settled).toEqual(['1 DURABLE', '2 DURABLE', '3 DURABLE', 'all DURABLE']);
});

test('a wait for all covers what other threads have handed over, a wait for one does not', async () => {
  const { state, channel } = lonelyChannel();
  const other = new LogChannel(LogChannel.allocate(9, state, small), now);
  other.writeNotice(noticeOf('win', 1));
  const settled: string[] = [];
  void channel.onAllDurable().then((outcome) => settled.push(`all ${outcome}`));
  void channel.onDurable(channel.writeNotice(noticeOf('win', 2))!).then((outcome) => settled.push(`own ${outcome}`));
  state.addDurable(3, 1);
  state.announce();
  await expect.poll(() => settled).toEqual(['own DURABLE']);
  state.addDurable(9, 1);
  state.announce();
  await expect.poll(() => settled).toEqual(['own DURABLE', 'all DURABLE']);
});

test('sequences wrap without anybody waiting for ever or too short', async () => {
  const { state, channel } = lonelyChannel();
  // Two notices before the counters turn negative.
  for (const word of [0, 1]) new Int32Array(state.shared)[(1 + 3) * 16 + word] = 2 ** 31 - 2;
  const sequences = [1, 2, 3].map((id) => channel.writeNotice(noticeOf('win', id))!);
  expect(sequences).toEqual([2 ** 31 - 1, -(2 ** 31), -(2 ** 31) + 1]);
  const settled: number[] = [];
  for (const sequence of sequences) void channel.onDurable(sequence).then(() => settled.push(sequence));
  state.addDurable(3, 1);
  state.announce();
  await expect.poll(() => settled).toEqual(sequences.slice(0, 1));
  state.addDurable(3, 2);
  state.announce();
  await expect.poll(() => settled).toEqual(sequences);
});

test('a disk that takes too long is an outcome of its own, and the record may still become durable', async () => {
  const { state, channel } = lonelyChannel(now, 20);
  const sequence = channel.writeNotice(noticeOf('win', 1))!;
  expect(await channel.onDurable(sequence)).toBe('EVENT_LOG_SLOW');
  state.addDurable(3, 1);
  expect(await channel.onDurable(sequence)).toBe('DURABLE');
});

test('a fault answers all who wait, but not those whose record is on disk already', async () => {
  const { state, channel } = lonelyChannel();
  const first = channel.writeNotice(noticeOf('win', 1))!;
  const second = channel.writeNotice(noticeOf('win', 2))!;
  const outcomes = Promise.all([channel.onDurable(first), channel.onDurable(second)]);
  state.addDurable(3, 1);
  state.setFault('EVENT_LOG_WRITE_FAILED');
  expect(await outcomes).toEqual(['DURABLE', 'EVENT_LOG_WRITE_FAILED']);
  // Handed over after `fault` was asked and before it came: it keeps its place, and whoever waits is told what holds it up.
  const third = channel.writeNotice(noticeOf('win', 3))!;
  expect(await channel.onDurable(third)).toBe('EVENT_LOG_WRITE_FAILED');
  state.setFault(undefined);
  expect(channel.fault).toBeUndefined();
  state.addDurable(3, 2);
  expect(await channel.onDurable(third)).toBe('DURABLE');
});

test('when `fault` says nothing the next notice is taken, however large; a full ring says EVENT_LOG_FULL', () => {
  const { shared, state, channel } = lonelyChannel();
  const long = 'x'.repeat(600);
  let taken = 0;
  while (channel.fault === undefined) {
    expect(channel.writeNotice(noticeOf('win', taken, { adId: long, lineItemId: long, currency: long }))).toBe(++taken);
  }
  expect(taken).toBeGreaterThan(3);
  expect(channel.fault).toBe('EVENT_LOG_FULL');
  // Whoever does not ask first is refused when nothing is left at all.
  while (channel.writeNotice(noticeOf('win', 0)) !== undefined) taken++;
  expect(taken).toBeLessThan(1000);
  expect(state.noticesRefused(3)).toBe(1);
  const ring = new ByteRing(shared.notices);
  ring.take(ring.head, undefined, 0, { bytes: 0, records: 0 });
  expect(channel.fault).toBeUndefined();
});

test('auctions that find no room are dropped and counted, and leave the notices their own', () => {
  const { channel } = lonelyChannel();
  const lengths = Array.from({ length: 20 }, (_, id) => channel.writeAuction(auctionOf(id)));
  const written = lengths.filter((length) => length > 0).length;
  expect(written).toBeGreaterThan(1);
  expect(channel.auctionsDropped).toBe(20 - written);
  expect(channel.writeNotice(noticeOf('win', 1))).toBe(1);
});

test('the channel of a dead thread is emptied, and what it only counted keeps nobody waiting', async () => {
  const dir = temporaryFolder();
  const log = await openLog(dir);
  const dead = log.openChannel();
  const alive = new LogChannel(log.openChannel(), now);
  new LogChannel(dead, now).writeNotice(noticeOf('bill', 1));
  // It died between counting a notice and handing it over.
  new LogState(dead.state).countCommitted(dead.index);
  const waiting = alive.onAllDurable();
  await log.closeChannel(dead);
  expect(await waiting).toBe('DURABLE');
  // Its place is free again, and its numbers go on.
  const next = log.openChannel();
  expect(next.index).toBe(dead.index);
  const channel = new LogChannel(next, now);
  expect(await channel.onDurable(channel.writeNotice(noticeOf('bill', 2))!)).toBe('DURABLE');
  await log.close();
  const ids: number[] = [];
  await readEventLog(dir, { notice: (notice) => void ids.push(notice.noticeIdLow) });
  expect(ids).toEqual([1, 2]);
});

import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeNotice, noticeBytesMax } from '#training-bridge/event-codec.ts';
import { readEventLog, type ReadSummary } from '#training-bridge/event-log-reader.ts';
import { segmentPath, wholeEndOf } from '#training-bridge/event-log-segments.ts';
import { LogChannel } from '#training-bridge/log-channel.ts';
import { noticeOf, openLog, temporaryFolder } from './event-log-fixtures.ts';

const count = 12;

/** Sealed notices of different lengths, one after another. */
function segment(): { bytes: Buffer; ends: number[] } {
  const bytes = new Uint8Array(count * noticeBytesMax);
  const ends: number[] = [];
  let at = 0;
  for (let id = 0; id < count; id++) {
    at = encodeNotice(noticeOf('bill', id, { adId: 'x'.repeat(id * 3) }), bytes, at);
    ends.push(at);
  }
  return { bytes: Buffer.from(bytes.subarray(0, at)), ends };
}

const whole = segment();

async function idsIn(bytes: Uint8Array): Promise<{ ids: number[]; summary: ReadSummary }> {
  const dir = temporaryFolder();
  writeFileSync(segmentPath(dir, 'notices', 1), bytes);
  const ids: number[] = [];
  const summary = await readEventLog(dir, { notice: (notice) => void ids.push(notice.noticeIdLow) });
  return { ids, summary };
}

test('damage of any byte costs the record it lies in and no other, and is counted', async () => {
  const all = Array.from({ length: count }, (_, id) => id);
  const run = fc.record({
    at: fc.integer({ min: 0, max: whole.bytes.length - 1 }),
    length: fc.integer({ min: 1, max: 40 }),
    value: fc.integer({ min: 1, max: 255 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(run, { minLength: 1, maxLength: 3 }), async (runs) => {
      const bytes = Buffer.from(whole.bytes);
      for (const { at, length, value } of runs) {
        for (let index = at; index < Math.min(at + length, bytes.length); index++) bytes[index]! ^= value;
      }
      const isWhole = (id: number): boolean => {
        const from = id === 0 ? 0 : whole.ends[id - 1]!;
        return bytes.subarray(from, whole.ends[id]).equals(whole.bytes.subarray(from, whole.ends[id]));
      };
      const { ids, summary } = await idsIn(bytes);
      const expected = all.filter(isWhole);
      expect(ids).toEqual(expected);
      const lost = expected.length < count;
      expect(summary.skippedBytes + summary.unfinishedBytes > 0).toBe(lost);
    }),
    { numRuns: 150 },
  );
});

test('bytes lost or added in the middle cost the records that they touch', async () => {
  const cut = Buffer.concat([whole.bytes.subarray(0, whole.ends[3]! - 8), whole.bytes.subarray(whole.ends[4])]);
  expect((await idsIn(cut)).ids).toEqual([0, 1, 2, 5, 6, 7, 8, 9, 10, 11]);
  const added = Buffer.concat([
    whole.bytes.subarray(0, whole.ends[3]),
    Buffer.alloc(4096),
    whole.bytes.subarray(whole.ends[3]),
  ]);
  const { ids, summary } = await idsIn(added);
  expect(ids.length).toBe(count);
  expect(summary).toMatchObject({ skippedBytes: 4096, damagedPlaces: 1 });
});

test('a damaged length that reaches behind the end hides nothing that follows', async () => {
  const bytes = Buffer.from(whole.bytes);
  bytes.writeUInt32LE(900_000, whole.ends[2]);
  expect((await idsIn(bytes)).ids).toEqual([0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11]);
});

test('a file of anything is read without a throw', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 4000 }), async (bytes) => {
      const { ids, summary } = await idsIn(bytes);
      expect(ids).toEqual([]);
      expect(summary.skippedBytes + summary.unfinishedBytes).toBe(bytes.length);
    }),
    { numRuns: 50 },
  );
});

test('the end of the whole records is found at every place where a writer can die', async () => {
  const dir = temporaryFolder();
  const path = segmentPath(dir, 'notices', 1);
  const lengths = [0, 1, 7, ...whole.ends.flatMap((end) => [end - 1, end, end + 1, end + 9])];
  for (const length of lengths.filter((each) => each <= whole.bytes.length)) {
    writeFileSync(path, whole.bytes.subarray(0, length));
    expect(await wholeEndOf(path)).toBe(Math.max(0, ...whole.ends.filter((end) => end <= length)));
  }
});

test('a torn tail is cut when the log opens, reported, and written over', async () => {
  const dir = temporaryFolder();
  const first = await openLog(dir);
  const channel = new LogChannel(first.openChannel(), () => performance.now());
  for (let id = 0; id < 3; id++) channel.writeNotice(noticeOf('bill', id, { chargedNanos: 10 }));
  expect(await channel.onAllDurable()).toBe('DURABLE');
  await first.close();

  const path = segmentPath(dir, 'notices', 1);
  truncateSync(path, statSync(path).size - 5);
  const second = await openLog(dir);
  expect(second.status.tornBytes).toBeGreaterThan(0);
  expect(second.recovered.charges.get('li1')?.chargedNanos).toBe(20n);
  const again = new LogChannel(second.openChannel(), () => performance.now());
  again.writeNotice(noticeOf('bill', 7, { chargedNanos: 10 }));
  expect(await again.onAllDurable()).toBe('DURABLE');
  await second.close();

  const ids: number[] = [];
  const summary = await readEventLog(dir, { notice: (notice) => void ids.push(notice.noticeIdLow) });
  expect(ids).toEqual([0, 1, 7]);
  expect(summary).toMatchObject({ skippedBytes: 0, unfinishedBytes: 0 });
});

test('damage in the middle does not cost what comes after it when the log opens', async () => {
  const dir = temporaryFolder();
  const first = await openLog(dir);
  const channel = new LogChannel(first.openChannel(), () => performance.now());
  for (let id = 0; id < 9; id++) channel.writeNotice(noticeOf('bill', id, { chargedNanos: 1 }));
  expect(await channel.onAllDurable()).toBe('DURABLE');
  await first.close();
  const path = segmentPath(dir, 'notices', 1);
  const bytes = readFileSync(path);
  bytes[Math.floor(bytes.length / 2)]! ^= 0xff;
  writeFileSync(path, bytes);

  const second = await openLog(dir);
  expect(second.status.tornBytes).toBe(0);
  expect(second.recovered.charges.get('li1')?.chargedNanos).toBe(8n);
  expect(second.recovered.summary.damagedPlaces).toBe(1);
  await second.close();
  expect(readdirSync(dir).filter((name) => name.endsWith('.log')).length).toBe(2);
  expect(statSync(join(dir, '00000001.notices.log')).size).toBeGreaterThan(bytes.length);
});

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeAuction } from '#training-bridge/auction-decoder.ts';
import { auctionSections, encodeAuction } from '#training-bridge/auction-encoder.ts';
import {
  decodeEvent,
  encodeCheckpoint,
  encodeDictionary,
  encodeNotice,
  encodeProcessStart,
  noticeBytesMax,
  rowsPerRecordMax,
} from '#training-bridge/event-codec.ts';
import {
  AuctionDraft,
  auctionLimits,
  type DictionaryRow,
  type LedgerLine,
  type NoticeRecord,
  schemaIds,
} from '#training-bridge/event-records.ts';
import { sealRecord, viewOf, wholeRecordBytes } from '#training-bridge/record-frame.ts';
import { anyDraft, keptOf } from './draft-arbitrary.ts';
import { auctionOf, noticeOf } from './event-log-fixtures.ts';

const word = fc.integer({ min: 0, max: 0xffff_ffff });
const text = fc.string({ unit: 'binary', maxLength: 60 }).map((each) => each.toWellFormed());
const amount = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });

function encoded(draft: AuctionDraft): Uint8Array {
  const bytes = new Uint8Array(auctionLimits.recordBytesMax);
  return bytes.slice(0, encodeAuction(draft, bytes, 0));
}

test('any auction comes back as it was, whatever was in the draft that it is read into', () => {
  const into = new AuctionDraft();
  fc.assert(
    fc.property(anyDraft, (draft) => {
      const bytes = encoded(draft);
      expect(bytes.length % 4).toBe(0);
      expect(keptOf(decodeAuction(bytes))).toEqual(keptOf(draft));
      expect(keptOf(decodeAuction(bytes, 0, into))).toEqual(keptOf(draft));
    }),
    { numRuns: 300 },
  );
});

test('the largest auction fits into the room that is promised for it', () => {
  const draft = auctionOf(1, auctionLimits.candidateCountMax, (each) => {
    each.impCount = auctionLimits.impCountMax;
    each.requestId = 'é'.repeat(4000);
    each.userKey = 'k'.repeat(4000);
    each.impId.fill('\u{1f600}'.repeat(500));
    each.contextIdCount = auctionLimits.contextIdCountMax;
    each.impContextCount = auctionLimits.impCountMax;
    each.keepAllScores = true;
    each.candidateQualityQ30.fill(3);
    each.candidateBidNanos.fill(2 ** 48 - 1);
    each.featureRowCount = auctionLimits.featureRowCountMax;
    for (let row = 0; row < each.featureRowCount; row++) each.featureCandidate[row] = row;
  });
  const back = decodeAuction(encoded(draft));
  expect(back.candidateCount).toBe(auctionLimits.candidateCountMax);
  // Texts are cut at a whole character.
  expect(back.requestId).toBe('é'.repeat(256));
  expect(back.impId[0]).toBe('\u{1f600}'.repeat(128));
});

test('an auction of 200 candidates takes about 20 bytes each', () => {
  const length = encoded(auctionOf(1, 200)).length;
  expect(length).toBeGreaterThan(200 * 14);
  expect(length).toBeLessThan(200 * 20);
});

test('more than the named bounds is refused, not cut', () => {
  for (const change of [
    { impCount: 17 },
    { impContextCount: 17 },
    { contextIdCount: 17 },
    { userIdCount: 13 },
    { stageCount: 13 },
  ]) {
    expect(() => encoded(Object.assign(auctionOf(1), change))).toThrow(
      expect.objectContaining({ code: 'EVENT_LOG_TOO_LARGE' }),
    );
  }
});

const unknownSection = Math.max(...Object.values(auctionSections)) + 1;

test('an old reader skips sections that it does not know, and what is behind the fields that it knows', () => {
  fc.assert(
    fc.property(
      anyDraft,
      fc.uint8Array({ maxLength: 64 }),
      fc.integer({ min: unknownSection, max: 65_535 }),
      (draft, body, id) => {
        const old = encoded(draft);
        const bodyEnd = old.length - 4;
        const padded = Math.ceil(body.length / 4) * 4;
        const bytes = new Uint8Array(old.length + 8 + padded);
        const view = viewOf(bytes);
        bytes.set(old.subarray(0, bodyEnd));
        view.setUint16(bodyEnd, id, true);
        view.setUint32(bodyEnd + 4, body.length, true);
        bytes.set(body, bodyEnd + 8);
        sealRecord(bytes, view, 0, bodyEnd + 8 + padded, schemaIds.auction);
        expect(keptOf(decodeAuction(bytes))).toEqual(keptOf(draft));
      },
    ),
  );
});

test('contexts by imp take room only where there are several imps', () => {
  const one = auctionOf(1, 3, (each) => {
    each.contextIds.set([5, 6, 7]);
    each.contextIdCount = 3;
  });
  expect(encoded(one).length).toBe(encoded(auctionOf(1, 3)).length + 8 + 3 * 4);
  const two = auctionOf(1, 3, (each) => {
    each.contextIds.set([5, 6, 7]);
    each.contextIdCount = 3;
    each.setImpContext(0, each.contextIds);
    each.setImpContext(1, Uint32Array.of(5, 6, 9));
    each.userVectorImp = 1;
  });
  expect(encoded(two).length).toBe(encoded(one).length + 8 + 4 + 2 * 3 * 4);
  const back = decodeAuction(encoded(two));
  expect([0, 1].map((imp) => [...back.contextIdsOf(imp)])).toEqual([
    [5, 6, 7],
    [5, 6, 9],
  ]);
  expect(back.userVectorImp).toBe(1);
  // A record of one imp, or of a writer that knew no contexts by imp: what the request shares.
  expect([...decodeAuction(encoded(one), 0, back).contextIdsOf(0)]).toEqual([5, 6, 7]);
});

test('a record from before ads were counted reads as none', () => {
  const whole = encoded(
    auctionOf(1, 3, (each) => Object.assign(each, { eligibleCount: 9, throttledCount: 8, cappedCount: 7 })),
  );
  const headerBytes = 8;
  const numbersEnd = headerBytes + 8 + 100;
  const old = new Uint8Array(whole.length - 12);
  old.set(whole.subarray(0, numbersEnd - 12));
  old.set(whole.subarray(numbersEnd), numbersEnd - 12);
  const view = viewOf(old);
  expect(view.getUint32(headerBytes + 4, true)).toBe(100);
  view.setUint32(headerBytes + 4, 88, true);
  sealRecord(old, view, 0, old.length - 4, schemaIds.auction);
  const { eligibleCount, throttledCount, cappedCount, tmaxMs } = decodeAuction(whole);
  expect([eligibleCount, throttledCount, cappedCount]).toEqual([9, 8, 7]);
  expect(decodeAuction(old)).toMatchObject({ eligibleCount: 0, throttledCount: 0, cappedCount: 0, tmaxMs });
});

test('a flipped bit anywhere in an auction is found', () => {
  const bytes = encoded(auctionOf(3, 8));
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const damaged = bytes.slice();
    damaged[bit >> 3]! ^= 1 << (bit & 7);
    expect(() => decodeAuction(damaged), `bit ${bit}`).toThrow(expect.objectContaining({ code: 'EVENT_LOG_DAMAGED' }));
  }
});

const anyNotice: fc.Arbitrary<NoticeRecord> = fc.record({
  kind: fc.constantFrom('win', 'bill', 'loss', 'view', 'click', 'conversion'),
  noticeIdHigh: word,
  noticeIdLow: word,
  auctionIdHigh: word,
  auctionIdLow: word,
  impIndex: fc.integer({ min: 0, max: 0xffff }),
  timeMs: fc.double({ noNaN: true }),
  expiresMs: fc.double({ noNaN: true }),
  priceNanos: amount,
  chargedNanos: amount,
  overDeliveredNanos: amount,
  costNanos: amount,
  lossReason: fc.integer({ min: 0, max: 0xffff }),
  flags: fc.integer({ min: 0, max: 0xffff }),
  currency: text,
  adId: text,
  lineItemId: text,
  userHashHigh: word,
  userHashLow: word,
});

test('any notice comes back as it was, from shared memory too', () => {
  const target = new Uint8Array(new SharedArrayBuffer(2 * noticeBytesMax));
  fc.assert(
    fc.property(anyNotice, fc.integer({ min: 0, max: 500 }), (notice, words) => {
      const end = encodeNotice(notice, target, words * 4);
      expect(end % 4).toBe(0);
      expect(decodeEvent(target, words * 4)).toEqual({ kind: 'notice', notice });
    }),
  );
});

test('the longest notice fits into the room that is promised for it', () => {
  const long = '\u{1f600}'.repeat(1000);
  const target = new Uint8Array(noticeBytesMax);
  const end = encodeNotice(noticeOf('bill', 1, { currency: long, adId: long, lineItemId: long }), target, 0);
  expect(wholeRecordBytes(target, viewOf(target), 0, target.length)).toBe(end);
});

const anyRow: fc.Arbitrary<DictionaryRow> = fc.record({
  adRow: word,
  adId: text,
  lineItemId: text,
  advertiserId: text,
  campaignId: text,
});

test('dictionary rows come back in order, in as many records as they need', () => {
  fc.assert(
    fc.property(fc.array(anyRow, { maxLength: 50 }), (rows) => {
      const back = encodeDictionary(rows).map((record) => decodeEvent(record));
      expect(back.flatMap((event) => (event?.kind === 'dictionary' ? event.rows : []))).toEqual(rows);
    }),
  );
  const many = Array.from({ length: rowsPerRecordMax * 2 + 1 }, (_, adRow) => ({
    adRow,
    adId: `li${adRow}.cr${adRow}`,
    lineItemId: `li${adRow}`,
    advertiserId: `adv${adRow % 7}`,
    campaignId: 'c',
  }));
  const records = encodeDictionary(many);
  expect(records.length).toBe(3);
  // 26 bytes a row instead of 44, because neighbours share their beginnings.
  expect(records.reduce((sum, record) => sum + record.length, 0)).toBeLessThan(many.length * 28);
  const back = records.map((record) => decodeEvent(record));
  expect(back.flatMap((event) => (event?.kind === 'dictionary' ? event.rows : []))).toEqual(many);
});

test('rows of the longest ids go into several records, each within its bound', () => {
  const id = (index: number): string => String.fromCodePoint(0x4e00 + index).repeat(170);
  const rows = Array.from({ length: 700 }, (_, adRow) => ({
    adRow,
    adId: id(adRow),
    lineItemId: id(adRow + 1),
    advertiserId: id(adRow + 2),
    campaignId: id(adRow + 3),
  }));
  const records = encodeDictionary(rows);
  expect(records.length).toBeGreaterThan(1);
  const back = records.map((record) => decodeEvent(record));
  expect(back.flatMap((event) => (event?.kind === 'dictionary' ? event.rows : []))).toEqual(rows);
});

test('checkpoints and process starts come back', () => {
  const line: fc.Arbitrary<LedgerLine> = fc.record({
    lineItemId: text,
    day: word,
    chargedNanos: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
    overDeliveredNanos: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
    costNanos: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
    chargeCount: word,
  });
  fc.assert(
    fc.property(fc.array(line, { maxLength: 20 }), fc.double({ noNaN: true }), (lines, timeMs) => {
      const [record, ...more] = encodeCheckpoint({ timeMs, lines });
      expect(more).toEqual([]);
      expect(decodeEvent(record!)).toEqual({
        kind: 'ledger-checkpoint',
        checkpoint: { timeMs, part: 0, partCount: 1, lines },
      });
    }),
  );
  const start = { timeMs: 5.5, pid: 4_194_304, version: '0.1.0', hostname: 'böx' };
  expect(decodeEvent(encodeProcessStart(start))).toEqual({ kind: 'process-start', start });
});

test('a schema from a newer writer is no event, and no error', () => {
  const bytes = new Uint8Array(16);
  sealRecord(bytes, viewOf(bytes), 0, 12, 999);
  expect(decodeEvent(bytes)).toBeUndefined();
});

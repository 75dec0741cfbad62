import { EventLogError } from './errors.ts';
import {
  type DictionaryRow,
  emptyNotice,
  type EventRecord,
  type LedgerCheckpoint,
  type LedgerLine,
  type NoticeKind,
  type NoticeRecord,
  type ProcessStart,
  schemaIds,
} from './event-records.ts';
import {
  FieldReader,
  frameBytesMax,
  frameHeaderBytes,
  frameTailBytes,
  schemaIdAt,
  sealRecord,
  viewOf,
  wholeRecordBytes,
  writeText,
} from './record-frame.ts';

/** An id longer than this is not ours. A currency, two ids and 100 bytes of numbers bound a notice. */
const idBytesMax = 512;
/** Room that always suffices for one notice. */
export const noticeBytesMax = 2304;
const noticeFixedBytes = 80;

/** Rows of the dictionary and lines of a checkpoint go out in records of at most this many. */
export const rowsPerRecordMax = 1000;

const noticeKinds: Readonly<Record<number, NoticeKind>> = {
  [schemaIds.win]: 'win',
  [schemaIds.bill]: 'bill',
  [schemaIds.loss]: 'loss',
  [schemaIds.view]: 'view',
  [schemaIds.click]: 'click',
  [schemaIds.conversion]: 'conversion',
};

export function isNoticeSchema(schemaId: number): boolean {
  return noticeKinds[schemaId] !== undefined;
}

const noticeScratch = new Uint8Array(noticeBytesMax);
const noticeView = viewOf(noticeScratch);

/** Writes the sealed record to `target` (shared memory or not) at `offset`; returns its end. */
export function encodeNotice(notice: NoticeRecord, target: Uint8Array, offset: number): number {
  const bytes = noticeScratch;
  const view = noticeView;
  let at = frameHeaderBytes;
  view.setUint16(at, noticeFixedBytes, true);
  view.setUint16(at + 2, 0, true);
  at += 4;
  view.setUint32(at, notice.noticeIdHigh, true);
  view.setUint32(at + 4, notice.noticeIdLow, true);
  view.setUint32(at + 8, notice.auctionIdHigh, true);
  view.setUint32(at + 12, notice.auctionIdLow, true);
  view.setFloat64(at + 16, notice.timeMs, true);
  view.setFloat64(at + 24, notice.expiresMs, true);
  view.setFloat64(at + 32, notice.priceNanos, true);
  view.setFloat64(at + 40, notice.chargedNanos, true);
  view.setFloat64(at + 48, notice.overDeliveredNanos, true);
  view.setFloat64(at + 56, notice.costNanos, true);
  view.setUint16(at + 64, notice.impIndex, true);
  view.setUint16(at + 66, notice.lossReason, true);
  view.setUint16(at + 68, notice.flags, true);
  view.setUint16(at + 70, 0, true);
  view.setUint32(at + 72, notice.userHashHigh, true);
  view.setUint32(at + 76, notice.userHashLow, true);
  at += noticeFixedBytes;
  at = writeText(bytes, view, at, notice.currency, idBytesMax);
  at = writeText(bytes, view, at, notice.adId, idBytesMax);
  at = writeText(bytes, view, at, notice.lineItemId, idBytesMax);
  const end = sealRecord(bytes, view, 0, padded(bytes, at), schemaIds[notice.kind]);
  target.set(bytes.subarray(0, end), offset);
  return offset + end;
}

function padded(bytes: Uint8Array, end: number): number {
  let at = end;
  while ((at & 3) !== 0) bytes[at++] = 0;
  return at;
}

function readNotice(kind: NoticeKind, fields: FieldReader): NoticeRecord {
  const notice = emptyNotice(kind);
  const fixedBytes = fields.u16();
  fields.u16();
  const fixed = new FieldReader(fields.bytes, fields.view, fields.at, Math.min(fields.at + fixedBytes, fields.end));
  notice.noticeIdHigh = fixed.u32();
  notice.noticeIdLow = fixed.u32();
  notice.auctionIdHigh = fixed.u32();
  notice.auctionIdLow = fixed.u32();
  notice.timeMs = fixed.f64();
  notice.expiresMs = fixed.f64();
  notice.priceNanos = fixed.f64();
  notice.chargedNanos = fixed.f64();
  notice.overDeliveredNanos = fixed.f64();
  notice.costNanos = fixed.f64();
  notice.impIndex = fixed.u16();
  notice.lossReason = fixed.u16();
  notice.flags = fixed.u16();
  fixed.u16();
  notice.userHashHigh = fixed.u32();
  notice.userHashLow = fixed.u32();
  fields.at += fixedBytes;
  notice.currency = fields.text();
  notice.adId = fields.text();
  notice.lineItemId = fields.text();
  return notice;
}

const writerBytes = new Uint8Array(frameBytesMax);
const writerView = viewOf(writerBytes);

/** One at a time, all in the same bytes. Room for a record of `rowsPerRecordMax` rows of four ids of 512 bytes would be 2 MiB: a record is closed early instead. */
class RecordWriter {
  readonly bytes = writerBytes;
  readonly view = writerView;
  at = frameHeaderBytes;

  u8(value: number): void {
    this.bytes[this.at] = value;
    this.at += 1;
  }

  u16(value: number): void {
    this.view.setUint16(this.at, value, true);
    this.at += 2;
  }

  u32(value: number): void {
    this.view.setUint32(this.at, value, true);
    this.at += 4;
  }

  f64(value: number): void {
    this.view.setFloat64(this.at, value, true);
    this.at += 8;
  }

  i64(value: bigint): void {
    this.view.setBigInt64(this.at, value, true);
    this.at += 8;
  }

  text(value: string): void {
    this.at = writeText(this.bytes, this.view, this.at, value, idBytesMax);
  }

  seal(schemaId: number): Uint8Array {
    return this.bytes.slice(0, sealRecord(this.bytes, this.view, 0, padded(this.bytes, this.at), schemaId));
  }
}

/**
 * Sealed records for these rows. Neighbours share their beginnings (`li17.cr3` after `li17.cr2`), so each text is written
 * as the length that it shares with the one before, and the rest: 44 bytes a row become 26.
 */
export function encodeDictionary(rows: readonly DictionaryRow[]): Uint8Array[] {
  const records: Uint8Array[] = [];
  for (let from = 0; from < rows.length;) {
    const writer = new RecordWriter();
    writer.u32(0);
    let before: DictionaryRow = { adRow: 0, adId: '', lineItemId: '', advertiserId: '', campaignId: '' };
    let count = 0;
    // 4 × (512 + 3) + 4 bytes are the most that one row can take.
    while (from < rows.length && count < rowsPerRecordMax && writer.at + 2100 < frameBytesMax) {
      const row = rows[from++]!;
      count++;
      writer.u32(row.adRow);
      shared(writer, before.adId, row.adId);
      shared(writer, before.lineItemId, row.lineItemId);
      shared(writer, before.advertiserId, row.advertiserId);
      shared(writer, before.campaignId, row.campaignId);
      before = row;
    }
    writer.view.setUint32(frameHeaderBytes, count, true);
    records.push(writer.seal(schemaIds.dictionary));
  }
  return records;
}

function shared(writer: RecordWriter, before: string, text: string): void {
  let same = 0;
  while (same < 255 && same < text.length && same < before.length && text[same] === before[same]) same++;
  // Never between the halves of a surrogate pair: the rest must be text of its own.
  if (same > 0 && text.charCodeAt(same - 1) >= 0xd800 && text.charCodeAt(same - 1) < 0xdc00) same--;
  writer.u8(same);
  writer.text(text.slice(same));
}

function readDictionary(fields: FieldReader): DictionaryRow[] {
  const count = fields.u32();
  const rows: DictionaryRow[] = [];
  let before: DictionaryRow = { adRow: 0, adId: '', lineItemId: '', advertiserId: '', campaignId: '' };
  const text = (previous: string): string => previous.slice(0, fields.u8()) + fields.text();
  for (let index = 0; index < count && fields.at < fields.end; index++) {
    const row: DictionaryRow = {
      adRow: fields.u32(),
      adId: text(before.adId),
      lineItemId: text(before.lineItemId),
      advertiserId: text(before.advertiserId),
      campaignId: text(before.campaignId),
    };
    rows.push(row);
    before = row;
  }
  return rows;
}

/**
 * Sealed records of one checkpoint. All but the last say that more follow; a reader trusts a checkpoint only when it has
 * all of it.
 */
export function encodeCheckpoint(checkpoint: LedgerCheckpoint): Uint8Array[] {
  const records: Uint8Array[] = [];
  const { lines, timeMs } = checkpoint;
  const partCount = Math.max(1, Math.ceil(lines.length / rowsPerRecordMax));
  for (let part = 0; part < partCount; part++) {
    const writer = new RecordWriter();
    const chunk = lines.slice(part * rowsPerRecordMax, (part + 1) * rowsPerRecordMax);
    writer.f64(timeMs);
    writer.u32(part);
    writer.u32(partCount);
    writer.u32(chunk.length);
    for (const line of chunk) {
      writer.u32(line.day);
      writer.u32(line.chargeCount);
      writer.i64(line.chargedNanos);
      writer.i64(line.overDeliveredNanos);
      writer.i64(line.costNanos);
      writer.text(line.lineItemId);
    }
    records.push(writer.seal(schemaIds.ledgerCheckpoint));
  }
  return records;
}

/** One part of a checkpoint: parts 0 … partCount − 1 in order make it whole. */
export type CheckpointPart = LedgerCheckpoint & { readonly part: number; readonly partCount: number };

function readCheckpoint(fields: FieldReader): CheckpointPart {
  const timeMs = fields.f64();
  const part = fields.u32();
  const partCount = fields.u32();
  const count = fields.u32();
  const lines: LedgerLine[] = [];
  for (let index = 0; index < count && fields.at < fields.end; index++) {
    const day = fields.u32();
    const chargeCount = fields.u32();
    const chargedNanos = fields.i64();
    const overDeliveredNanos = fields.i64();
    const costNanos = fields.i64();
    lines.push({ day, chargeCount, chargedNanos, overDeliveredNanos, costNanos, lineItemId: fields.text() });
  }
  return { timeMs, part, partCount, lines };
}

export function encodeProcessStart(start: ProcessStart): Uint8Array {
  const writer = new RecordWriter();
  writer.f64(start.timeMs);
  writer.u32(start.pid);
  writer.text(start.version);
  writer.text(start.hostname);
  return writer.seal(schemaIds.processStart);
}

export type DecodedEvent =
  | Exclude<EventRecord, { kind: 'ledger-checkpoint' }>
  | { readonly kind: 'ledger-checkpoint'; readonly checkpoint: CheckpointPart };

/** The record at `offset`, or undefined for auctions (`decodeAuction`) and schemas from a newer writer. Throws EVENT_LOG_DAMAGED. */
export function decodeEvent(bytes: Uint8Array, offset = 0): DecodedEvent | undefined {
  const view = viewOf(bytes);
  const length = wholeRecordBytes(bytes, view, offset, bytes.length);
  if (length === 0) throw new EventLogError('EVENT_LOG_DAMAGED');
  return decodeWholeEvent(bytes, view, offset, length);
}

/** As `decodeEvent`, for callers that have just checked the record's checksum. */
export function decodeWholeEvent(
  bytes: Uint8Array,
  view: DataView,
  offset: number,
  length: number,
): DecodedEvent | undefined {
  const schemaId = schemaIdAt(view, offset);
  const fields = new FieldReader(bytes, view, offset + frameHeaderBytes, offset + length - frameTailBytes);
  const noticeKind = noticeKinds[schemaId];
  if (noticeKind !== undefined) return { kind: 'notice', notice: readNotice(noticeKind, fields) };
  if (schemaId === schemaIds.dictionary) return { kind: 'dictionary', rows: readDictionary(fields) };
  if (schemaId === schemaIds.ledgerCheckpoint) return { kind: 'ledger-checkpoint', checkpoint: readCheckpoint(fields) };
  if (schemaId === schemaIds.processStart) {
    const start = { timeMs: fields.f64(), pid: fields.u32(), version: fields.text(), hostname: fields.text() };
    return { kind: 'process-start', start };
  }
  return undefined;
}

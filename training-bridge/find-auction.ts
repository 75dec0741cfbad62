import { open } from 'node:fs/promises';
import { AdDictionary } from './ad-dictionary.ts';
import { decodeAuction } from './auction-decoder.ts';
import { decodeEvent } from './event-codec.ts';
import { readEventLog } from './event-log-reader.ts';
import { listSegments } from './event-log-segments.ts';
import { type AuctionDraft, type NoticeRecord, schemaIds } from './event-records.ts';
import { SegmentCursor } from './segment-cursor.ts';

export type FoundAuction = {
  readonly draft: AuctionDraft;
  /** What its ad rows meant when it was decided. */
  readonly dictionary: AdDictionary;
  /** What followed it, in order. */
  readonly notices: readonly NoticeRecord[];
};

/** In every auction record: behind the frame's header and the first section's. */
const idAt = 16;
/** A notice may not come before its auction, but clocks of threads differ a little. */
const slackMs = 1000;

/**
 * Finds one auction by its id, the newest segment first, looking at eight bytes of each record (about a gigabyte a second), and
 * the notices that followed it. Undefined when the log does not hold it (any more).
 */
export async function findAuction(dir: string, high: number, low: number): Promise<FoundAuction | undefined> {
  const segments = await listSegments(dir, 'auctions');
  for (const { path } of segments.toReversed()) {
    const found = await findInSegment(path, high, low);
    if (found === undefined) continue;
    const notices: NoticeRecord[] = [];
    const notice = (record: NoticeRecord): void => {
      if (record.auctionIdHigh === high && record.auctionIdLow === low) notices.push(record);
    };
    await readEventLog(dir, { notice }, { fromMs: found.draft.timeMs - slackMs });
    return { ...found, notices };
  }
  return undefined;
}

async function findInSegment(
  path: string,
  high: number,
  low: number,
): Promise<Omit<FoundAuction, 'notices'> | undefined> {
  const handle = await open(path, 'r');
  try {
    const cursor = new SegmentCursor(handle);
    const dictionaries: Buffer[] = [];
    while (await cursor.next()) {
      const { bytes, view, at, length, schemaId } = cursor;
      if (schemaId === schemaIds.dictionary) dictionaries.push(Buffer.from(bytes.subarray(at, at + length)));
      if (schemaId !== schemaIds.auction || length < idAt + 8) continue;
      if (view.getUint32(at + idAt, true) !== high || view.getUint32(at + idAt + 4, true) !== low) continue;
      const dictionary = new AdDictionary();
      for (const record of dictionaries) {
        const event = decodeEvent(record);
        if (event?.kind === 'dictionary') dictionary.take(event.rows);
      }
      return { draft: decodeAuction(bytes, at), dictionary };
    }
    return undefined;
  } finally {
    await handle.close();
  }
}

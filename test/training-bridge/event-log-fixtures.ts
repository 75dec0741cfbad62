import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { EventLog, type EventLogOptions } from '#training-bridge/event-log.ts';
import { AuctionDraft, emptyNotice, type NoticeKind, type NoticeRecord } from '#training-bridge/event-records.ts';

/** A folder that goes with the test. */
export function temporaryFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'gavelin-log-'));
  onTestFinished(() => {
    rmSync(dir, { recursive: true, force: true });
  });
  return dir;
}

export const noonMs = Date.UTC(2026, 4, 17, 12);

/** A log with a clock that stands still and quick writers; faults must not go unseen. */
export function openLog(dir: string, options: Partial<EventLogOptions> = {}): Promise<EventLog> {
  return EventLog.open(dir, {
    now: () => noonMs,
    onFault: (fault, cause) => {
      throw new Error(`The log reports ${fault}.`, { cause });
    },
    ...options,
    limits: { flushMsMax: 5, syncMsMin: 0, retryMs: 10, ...options.limits },
  });
}

export function noticeOf(kind: NoticeKind, id: number, change: Partial<NoticeRecord> = {}): NoticeRecord {
  return {
    ...emptyNotice(kind),
    noticeIdHigh: 7,
    noticeIdLow: id,
    auctionIdHigh: 1,
    auctionIdLow: id,
    timeMs: noonMs,
    expiresMs: noonMs + 3_600_000,
    adId: 'li1.cr1',
    lineItemId: 'li1',
    ...change,
  };
}

/** One imp, `count` CPM candidates of falling bids; the first wins at its own bid. */
export function auctionOf(id: number, count = 3, change: (draft: AuctionDraft) => void = () => {}): AuctionDraft {
  const draft = new AuctionDraft(Math.max(count, 1));
  draft.reset();
  draft.auctionIdHigh = 1;
  draft.auctionIdLow = id;
  draft.timeMs = noonMs;
  draft.arrivalMs = noonMs - 3;
  draft.requestId = `request-${id}`;
  draft.modelId = 'model-1';
  draft.impCount = 1;
  draft.impId[0] = '1';
  draft.impFloorNanos[0] = 10_000;
  draft.impWinner[0] = count > 0 ? 0 : -1;
  draft.impPriceNanos[0] = 1_000_000;
  draft.impPropensityQ30[0] = 2 ** 30;
  draft.candidateCount = count;
  for (let index = 0; index < count; index++) {
    draft.candidateAdRow[index] = index;
    draft.candidateBidNanos[index] = 1_000_000 - index * 1000;
    draft.candidateClickQ30[index] = 20_000_000;
    draft.candidateQualityQ30[index] = 2 ** 30;
  }
  change(draft);
  return draft;
}

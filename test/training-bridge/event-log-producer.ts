import { setTimeout as sleep } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { LogChannel, type LogChannelShared } from '#training-bridge/log-channel.ts';
import { AuctionDraft, emptyNotice } from '#training-bridge/event-records.ts';

/** A serving thread: auctions all the time, notices in bursts, each reported when it is on disk. */
const { channel: shared, firstId } = workerData as { channel: LogChannelShared; firstId: number };
const channel = new LogChannel(shared, () => performance.now());
const draft = new AuctionDraft(200);
draft.candidateCount = 200;

async function acknowledged(id: number, sequence: number): Promise<void> {
  if ((await channel.onDurable(sequence)) === 'DURABLE') parentPort!.postMessage(id);
}

for (let id = firstId; ; id++) {
  draft.auctionIdLow = id;
  draft.timeMs = Date.now();
  channel.writeAuction(draft);
  const sequence = channel.writeNotice({
    ...emptyNotice('bill'),
    noticeIdHigh: 3,
    noticeIdLow: id,
    auctionIdLow: id,
    timeMs: Date.now(),
    expiresMs: Date.now() + 3_600_000,
    chargedNanos: 1 + (id % 1000),
    costNanos: 1,
    adId: 'li1.cr1',
    lineItemId: `li${id % 5}`,
  });
  if (sequence !== undefined) void acknowledged(id, sequence);
  if (id % 5 === 0) await sleep(1);
}

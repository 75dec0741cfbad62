import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AuctionEncoder } from '#training-bridge/auction-encoder.ts';
import { readEventLog } from '#training-bridge/event-log-reader.ts';
import { EventLog } from '#training-bridge/event-log.ts';
import { AuctionDraft, emptyNotice } from '#training-bridge/event-records.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import { LogChannel, logChannelLimits } from '#training-bridge/log-channel.ts';
import { type Bench, cpuSeconds, median } from '../support/bench.ts';
import { rounded } from '../support/server-bench.ts';

const candidateCount = 200;
const flushMs = 2;

/** An auction as the pipeline hands it over: 200 candidates, one imp, five rows of features. */
function draftOf(): AuctionDraft {
  const random = seededRandom(11);
  const draft = new AuctionDraft(candidateCount);
  draft.reset();
  draft.timeMs = Date.UTC(2026, 4, 17, 12);
  draft.requestId = '7979d0c78074638bbdf739ffdf285c7e1c74a691';
  draft.modelId = 'a'.repeat(64);
  draft.calibratorId = 'b'.repeat(64);
  draft.userKey = 'u48213';
  draft.contextIdCount = 12;
  draft.userIdCount = 10;
  draft.userVectorCount = 64;
  draft.userVector.forEach((_, index) => (draft.userVector[index] = random()));
  draft.impCount = 1;
  draft.impId[0] = '1';
  draft.candidateCount = candidateCount;
  for (let index = 0; index < candidateCount; index++) {
    draft.candidateAdRow[index] = Math.floor(random() * 10_000);
    draft.candidateClickQ30[index] = Math.floor(random() * 2 ** 26);
    draft.candidateBidNanos[index] = Math.floor(random() * 2 ** 31);
    draft.candidatePriceType[index] = index % 3;
    draft.candidateQualityQ30[index] = 2 ** 30;
    draft.candidateReason[index] = 3;
  }
  draft.keepFeatures(new Float32Array(candidateCount * 16).fill(0.5), 0, 4);
  draft.stageCount = 10;
  return draft;
}

type Cost = { readonly wallMs: number; readonly cpuMs: number };

async function costOf(work: () => Promise<void>): Promise<Cost> {
  const startedMs = performance.now();
  const before = cpuSeconds();
  await work();
  return { wallMs: performance.now() - startedMs, cpuMs: (cpuSeconds() - before) * 1000 };
}

/** Rings filled to the half and emptied by the writer, again and again, until `count` records are in the file. */
async function throughLog(dir: string, draft: AuctionDraft, count: number): Promise<Cost> {
  const log = await EventLog.open(dir, {
    now: () => draft.timeMs,
    limits: { flushMsMax: flushMs, segmentBytesMax: 2 ** 40 },
    onFault: (fault, cause) => {
      throw new Error(fault, { cause });
    },
  });
  const channel = new LogChannel(log.openChannel(), () => performance.now());
  const burst = Math.floor(logChannelLimits.auctionRingBytes / 2 / 5000);
  const cost = await costOf(async () => {
    for (let written = 0; written < count;) {
      for (let index = 0; index < burst && written < count; index++, written++) {
        draft.auctionIdLow = written;
        channel.writeAuction(draft);
      }
      while (log.status.auctionsWritten < written) await sleep(1);
    }
  });
  await log.close();
  return cost;
}

/** The same bytes without a log: encoded, copied into a batch, written. What is over this is the log's own cost. */
async function bare(path: string, draft: AuctionDraft, count: number): Promise<Cost> {
  const encoder = new AuctionEncoder();
  const batch = new Uint8Array(4 << 20);
  const file = await open(path, 'w');
  const cost = await costOf(async () => {
    let at = 0;
    let position = 0;
    for (let written = 0; written < count; written++) {
      draft.auctionIdLow = written;
      const length = encoder.encode(draft);
      if (at + length > batch.length) {
        await file.write(batch, 0, at, position);
        position += at;
        at = 0;
      }
      batch.set(encoder.bytes.subarray(0, length), at);
      at += length;
    }
    await file.write(batch, 0, at, position);
  });
  await file.close();
  return cost;
}

/** How long one notice waits for the disk alone, and how many a second are acknowledged when 256 are always under way. */
async function notices(
  dir: string,
  alone: number,
  together: number,
): Promise<{ aloneMs: number[]; perSecond: number }> {
  const log = await EventLog.open(dir, {
    now: () => Date.now(),
    onFault: (fault, cause) => {
      throw new Error(fault, { cause });
    },
  });
  const channel = new LogChannel(log.openChannel(), () => performance.now());
  const send = async (): Promise<void> => {
    const notice = { ...emptyNotice('bill'), chargedNanos: 1, lineItemId: 'li17', adId: 'li17.cr1' };
    await channel.onDurable(channel.writeNotice(notice)!);
  };
  const aloneMs: number[] = [];
  for (let index = 0; index < alone; index++) {
    const startedMs = performance.now();
    await send();
    aloneMs.push(performance.now() - startedMs);
  }
  let left = together;
  const startedMs = performance.now();
  const sender = async (): Promise<void> => {
    while (left-- > 0) await send();
  };
  await Promise.all(Array.from({ length: 256 }, sender));
  const perSecond = together / ((performance.now() - startedMs) / 1000);
  await log.close();
  return { aloneMs, perSecond };
}

export const bench: Bench = {
  name: 'event-log',
  about: 'CPU of auctions into the event log ÷ CPU of encoding, copying and writing the same bytes without one',
  async run(mode, progress) {
    const dir = await mkdtemp(join(tmpdir(), 'gavelin-log-bench-'));
    try {
      const draft = draftOf();
      const encoder = new AuctionEncoder();
      const recordBytes = encoder.encode(draft);
      const count = mode === 'full' ? 20_000 : 500;
      const rounds = mode === 'full' ? 7 : 1;
      const encodeCount = mode === 'full' ? 100_000 : 500;
      const encodeStart = cpuSeconds();
      for (let index = 0; index < encodeCount; index++) encoder.encode(draft);
      const encodeUs = ((cpuSeconds() - encodeStart) / encodeCount) * 1e6;
      const logged: Cost[] = [];
      const plain: Cost[] = [];
      // Turn by turn, so that whatever else the machine does falls on both.
      for (let round = 0; round < rounds; round++) {
        plain.push(await bare(join(dir, 'bare'), draft, count));
        await rm(join(dir, 'log'), { recursive: true, force: true });
        logged.push(await throughLog(join(dir, 'log'), draft, count));
        progress(round + 1, rounds + 1, 'auctions');
      }
      const readStart = performance.now();
      let read = 0;
      await readEventLog(join(dir, 'log'), { auction: () => void read++ });
      const readMs = performance.now() - readStart;
      const { aloneMs, perSecond } = await notices(
        join(dir, 'notices'),
        mode === 'full' ? 500 : 5,
        mode === 'full' ? 20_000 : 300,
      );
      progress(rounds + 1, rounds + 1, 'notices');
      const wallMs = median(logged.map((cost) => cost.wallMs));
      const cpuMs = median(logged.map((cost) => cost.cpuMs));
      const bareCpuMs = median(plain.map((cost) => cost.cpuMs));
      return {
        bench: 'event-log',
        value: rounded(cpuMs / bareCpuMs),
        unit: 'CPU of the log ÷ CPU of a bare encode, copy and write',
        better: 'lower',
        figures: {
          recordBytes,
          candidates: candidateCount,
          encodeUs: rounded(encodeUs),
          logUsPerAuction: rounded((cpuMs / count) * 1000),
          bareUsPerAuction: rounded((bareCpuMs / count) * 1000),
          auctionsPerSecond: Math.round((count / wallMs) * 1000),
          megabytesPerSecond: rounded((count * recordBytes) / wallMs / 1000),
          bareMegabytesPerSecond: rounded((count * recordBytes) / median(plain.map((cost) => cost.wallMs)) / 1000),
          readsPerSecond: Math.round((read / readMs) * 1000),
          noticeAloneMs: rounded(median(aloneMs)),
          noticesPerSecond: Math.round(perSecond),
        },
      };
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  },
};

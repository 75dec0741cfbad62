import { join } from 'node:path';
import { readConfig } from '#server/config.ts';
import { rungNames } from '#server/rungs.ts';
import { explainAuction } from '#training-bridge/explain.ts';
import { replayLog } from '#training-bridge/replay.ts';

type Environment = Readonly<Record<string, string | undefined>>;

const progressMs = 1000;

/** `gavelin replay [--json]`: 0 when every auction came out as logged, 1 when one did not. Reads while a server writes. */
export async function runReplay(words: readonly string[], env: Environment): Promise<number> {
  const startedMs = Date.now();
  let toldMs = startedMs;
  const report = await replayLog(logFolder(env), {
    onProgress: (auctions) => {
      const nowMs = Date.now();
      if (nowMs - toldMs < progressMs) return;
      toldMs = nowMs;
      process.stderr.write(`replayed ${auctions} auctions, ${Math.round((auctions * 1000) / (nowMs - startedMs))}/s\n`);
    },
  });
  const { ledger, ...figures } = report;
  const money = (nanos: bigint): string =>
    `${nanos / 1_000_000_000n}.${String(nanos % 1_000_000_000n).padStart(9, '0')} USD`;
  const sums = ledger.reduce(
    (total, row) => ({
      charged: total.charged + row.chargedNanos,
      over: total.over + row.overDeliveredNanos,
      cost: total.cost + row.costNanos,
    }),
    { charged: 0n, over: 0n, cost: 0n },
  );
  if (words.includes('--json')) {
    const asText = {
      ...figures,
      charged_nanos: String(sums.charged),
      over_delivered_nanos: String(sums.over),
      cost_nanos: String(sums.cost),
    };
    process.stdout.write(`${JSON.stringify(asText)}\n`);
  } else {
    const { auctions, imps, sold, mismatchCount, notices, repeatedNotices, ledgerMismatchCount, mismatches } = figures;
    process.stdout.write(`${auctions} auctions, ${imps} imps, ${sold} sold: ${mismatchCount} came out differently\n`);
    for (const each of mismatches) {
      process.stdout.write(
        `  ${each.auctionId} imp ${each.imp}: ${each.what} was ${each.logged}, is ${each.replayed}\n`,
      );
    }
    process.stdout.write(
      `${notices} notices (${repeatedNotices} repeated); checkpoints that differ: ${ledgerMismatchCount}\n`,
    );
    process.stdout.write(
      `charged ${money(sums.charged)}, over-delivered ${money(sums.over)}, cost ${money(sums.cost)}\n`,
    );
  }
  return figures.mismatchCount + figures.ledgerMismatchCount === 0 ? 0 : 1;
}

/** `gavelin explain AUCTION_ID [--json]`. */
export async function runExplain(words: readonly string[], env: Environment): Promise<number> {
  const id = words.find((word) => !word.startsWith('--'));
  if (id === undefined) {
    process.stderr.write('gavelin explain AUCTION_ID [--json]\n');
    return 2;
  }
  const answer = await explainAuction(logFolder(env), id, { rungNames });
  switch (answer.kind) {
    case 'not-an-id':
      process.stderr.write(`"${id}" is no auction id: those are 16 hexadecimal digits.\n`);
      return 2;
    case 'not-in-log':
      process.stderr.write(`The event log holds no auction ${id}.\n`);
      return 1;
    case 'explained':
      process.stdout.write(
        words.includes('--json') ? `${JSON.stringify(answer.facts)}\n` : `${answer.text.trimEnd()}\n`,
      );
      return 0;
  }
}

function logFolder(env: Environment): string {
  return join(readConfig(env).dataDir, 'event-log');
}

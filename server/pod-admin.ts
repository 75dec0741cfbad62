import type { CatalogProblem } from '#auction/catalog-problems.ts';
import type { ChangeResult } from '#auction/catalog-change.ts';
import { EmbeddingError } from '#embeddings/errors.ts';
import { BundleError } from '#inference/bundle-errors.ts';
import { ScoringError } from '#inference/errors.ts';
import { explainAuction } from '#training-bridge/explain.ts';
import type { AdminAnswer, AdminPorts } from './admin-server.ts';
import { CatalogJournalError, type JournaledChange } from './catalog-journal.ts';
import type { RunningPod } from './pod.ts';
import { rungNames } from './rungs.ts';
import { histogramNames } from './telemetry.ts';
import { sumBuckets } from './prometheus.ts';
import { userTableNames, userTables } from './user-tables.ts';

const rowsPerPageMax = 10_000;

function fault(status: number, code: string, path: string, message: string): AdminAnswer {
  return { status, body: { error: { code, path, message } } };
}

/** The admin API over a running pod. Every refusal carries all its reasons; what was refused changed nothing. */
export function adminPorts(pod: RunningPod): AdminPorts {
  const { market } = pod;
  return {
    metrics: () => pod.metrics(),
    isReady: () => pod.isReady,
    overview: () => ({
      samples: pod.overview.samples,
      totals: pod.overview.totals(),
      auctions: pod.recentAuctions,
      modelId: pod.models.active.bundle.id,
      adCount: market.catalog.adCount,
      loadLevel: pod.loadLevel,
    }),
    latency: () =>
      Object.fromEntries(histogramNames.map((name, series) => [name, Array.from(sumBuckets(pod.telemetry, series))])),
    status: () => ({ status: 200, body: pod.status() }),
    ads: (after, limit) => listAds(pod, after, limit),
    catalog: () => {
      const { version, adCount, adCapacity, lineItemCount, lineItemCapacity, advertiserCount } = market.catalog;
      return {
        status: 200,
        body: {
          version,
          ad_count: adCount,
          ad_capacity: adCapacity,
          line_item_count: lineItemCount,
          line_item_capacity: lineItemCapacity,
          advertiser_count: advertiserCount,
        },
      };
    },
    lineItem: (id) => {
      const entry = market.writer.entryOfLineItem(id);
      return entry === undefined
        ? fault(404, 'LINE_ITEM_UNKNOWN', 'id', `There is no line item "${id.slice(0, 100)}".`)
        : { status: 200, body: { line_item: entry } };
    },
    changeCatalog: async (change) => {
      const result = await make(pod, { kind: 'change', body: change });
      if ('status' in result) return result;
      return {
        status: 200,
        body: {
          version: result.version,
          added_ads: result.addedRows.length,
          changed_line_items: result.changedLineItems.length,
          warnings: result.warnings,
        },
      };
    },
    changeLineItem: async (id, patch) => {
      if (market.writer.entryOfLineItem(id) === undefined) {
        return fault(404, 'LINE_ITEM_UNKNOWN', 'id', `There is no line item "${id.slice(0, 100)}".`);
      }
      const result = await make(pod, { kind: 'patch', line_item: id, body: patch });
      if ('status' in result) return result;
      return { status: 200, body: { version: result.version, line_item: market.writer.entryOfLineItem(id) } };
    },
    spend: () => ({ status: 200, body: spend(pod) }),
    explain: async (auctionId) => {
      await pod.flushLog();
      const answer = await explainAuction(pod.logFolder, auctionId, { rungNames, tableNames: userTableNames });
      switch (answer.kind) {
        case 'not-an-id':
          return fault(400, 'AUCTION_ID_MALFORMED', 'auction_id', 'An auction id is 16 hexadecimal digits.');
        case 'not-in-log':
          return fault(404, 'AUCTION_UNKNOWN', 'auction_id', 'The event log holds no such auction (or no longer).');
        case 'explained':
          return { status: 200, body: { text: answer.text, facts: answer.facts } };
      }
    },
    bundles: () => {
      const { bundle, sinceMs, userCount } = pod.models.active;
      const { signature: _, files: __, ...manifest } = bundle.manifest;
      return {
        status: 200,
        body: {
          active: { id: bundle.id, directory: bundle.directory, since_ms: sinceMs, user_count: userCount, manifest },
        },
      };
    },
    invalidate: async (request) => invalidate(pod, request),
    activateBundle: async (request) => {
      const directory = (request as { directory?: unknown } | null)?.directory;
      if (typeof directory !== 'string' || directory === '') {
        return fault(400, 'FIELD_TYPE', 'directory', 'The folder of a bundle is needed, as text.');
      }
      try {
        const id = await pod.activateModel(directory);
        return { status: 200, body: { active: id } };
      } catch (error) {
        // The one in service stays; why the new one was refused is the answer.
        if (error instanceof BundleError || error instanceof ScoringError || error instanceof EmbeddingError) {
          return fault(422, error.code, 'directory', error.message);
        }
        throw error;
      }
    },
  };
}

const invalidatedUsersMax = 10_000;

/**
 * What has changed in a store: `{"users": [ids]}` drops what threads keep of their profiles and vectors, `{"table": NAME}` all that
 * they keep of one table.
 */
function invalidate(pod: RunningPod, request: unknown): AdminAnswer {
  const { users, table } = (request ?? {}) as { users?: unknown; table?: unknown };
  if (table !== undefined) return invalidateTable(pod, table, users);
  if (!Array.isArray(users) || !users.every((user): user is string => typeof user === 'string' && user !== ''))
    return fault(400, 'FIELD_TYPE', 'users', 'A list of user ids is needed, as texts.');
  if (users.length > invalidatedUsersMax)
    return fault(400, 'FIELD_RANGE', 'users', `May hold ${invalidatedUsersMax} ids.`);
  const { userRows } = pod.models.active;
  pod.invalidate(
    userTables.profile,
    users.map((user) => Buffer.from(user)),
  );
  if (userRows !== undefined)
    pod.invalidate(
      userTables.embedding,
      users.map((user) => userRows.keyOf(user)),
    );
  return { status: 200, body: { invalidated: users.length } };
}

function invalidateTable(pod: RunningPod, table: unknown, users: unknown): AdminAnswer {
  const number = (userTableNames as readonly unknown[]).indexOf(table);
  if (number < 0) return fault(400, 'FIELD_RANGE', 'table', `Is one of ${userTableNames.join(', ')}.`);
  if (users !== undefined) return fault(400, 'FIELD_RANGE', 'table', 'Users go in every table: leave one of both out.');
  pod.invalidate(number, 'all');
  return { status: 200, body: { table } };
}

const statusOfJournalFault = {
  CATALOG_JOURNAL_FULL: 507,
  CATALOG_JOURNAL_WRITE_FAILED: 503,
  CATALOG_JOURNAL_DAMAGED: 500,
} as const;

/** The change, made and written down, or the answer that says why not. */
async function make(
  pod: RunningPod,
  change: JournaledChange,
): Promise<Extract<ChangeResult, { kind: 'applied' }> | AdminAnswer> {
  try {
    const result = await pod.change(change);
    return result.kind === 'problems' ? refusal(result) : result;
  } catch (error) {
    if (!(error instanceof CatalogJournalError)) throw error;
    return fault(statusOfJournalFault[error.code], error.code, '', error.message);
  }
}

function refusal({ problems, total }: Extract<ChangeResult, { kind: 'problems' }>): AdminAnswer {
  return {
    status: 422,
    body: {
      error: { code: 'CATALOG_CHANGE_REFUSED', path: '', message: `${total} problems` },
      problems: problems satisfies readonly CatalogProblem[],
    },
  };
}

/** Ads on sale by row, a page at a time. */
function listAds({ market }: RunningPod, after: number, limit: number): AdminAnswer {
  const { catalog } = market;
  const ads: { row: number; ad_id: string; line_item_id: string }[] = [];
  let row = after;
  for (; row < catalog.adCount && ads.length < Math.min(limit, rowsPerPageMax); row++) {
    if (!catalog.isLive(row)) continue;
    ads.push({ row, ad_id: catalog.adId(row), line_item_id: catalog.lineItemId(catalog.adLineItem[row]!) });
  }
  return {
    status: 200,
    body: { ads, ad_ids: ads.map(({ ad_id }) => ad_id), next: row < catalog.adCount ? row : null },
  };
}

/** Money as text: sums can exceed what a JSON number holds exactly. */
function spend({ market }: RunningPod): unknown {
  const { catalog, ledger } = market;
  let total = 0n;
  let over = 0n;
  const lineItems = Array.from({ length: catalog.lineItemCount }, (_, lineItem) => {
    const now = ledger.snapshot(lineItem);
    total += now.spentNanos;
    over += now.overDeliveredNanos;
    return {
      id: catalog.lineItemId(lineItem),
      budget_nanos: String(now.budgetNanos),
      adjustment_nanos: String(now.adjustmentNanos),
      available_nanos: String(now.availableNanos),
      reserved_nanos: String(now.reservedNanos),
      spent_nanos: String(now.spentNanos),
      pending_cut_nanos: String(now.pendingCutNanos),
      over_delivered_nanos: String(now.overDeliveredNanos),
      pass_rate: market.pacingRates.rateOf(lineItem),
    };
  });
  return {
    currency: 'USD',
    total: { spent_nanos: String(total), over_delivered_nanos: String(over) },
    line_items: lineItems,
  };
}

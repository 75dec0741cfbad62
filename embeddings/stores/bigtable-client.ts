import { Bigtable, type BigtableOptions, type Table } from '@google-cloud/bigtable';
import { families } from './bigtable-rows.ts';
import { StoreError, type StoreFault } from './store-errors.ts';

export type BigtableAddress = {
  readonly project: string;
  readonly instance: string;
  readonly table: string;
  /** `host:port` of an emulator, reached without TLS or credentials; left out: Google's, with the credentials of the machine. */
  readonly endpoint?: string;
};

/** Waits between attempts to connect; grpc's own most is two minutes. */
const reconnectMsMin = 100;
const reconnectMsMax = 2000;

/** grpc's numbers that mean something to us; others are STORE_FAULTY. */
const faultOfCode: Readonly<Record<number, StoreFault>> = {
  4: 'STORE_TIMEOUT',
  7: 'STORE_REFUSED',
  8: 'STORE_BUSY',
  14: 'STORE_UNREACHABLE',
  16: 'STORE_REFUSED',
};

export function openBigtable({ project, endpoint }: BigtableAddress): Bigtable {
  const options: BigtableOptions & Record<`grpc.${string}`, number> = {
    projectId: project,
    // Its own metrics would be sent to Google's monitoring, on the side and for the emulator too.
    metricsEnabled: false,
    'grpc.initial_reconnect_backoff_ms': reconnectMsMin,
    'grpc.min_reconnect_backoff_ms': reconnectMsMin,
    'grpc.max_reconnect_backoff_ms': reconnectMsMax,
    // Named, so that it does not go and look for Google's machine metadata, which an emulator has none of: 3 s where packets are dropped.
    ...(endpoint === undefined ? {} : { apiEndpoint: endpoint, clientOptions: { universeDomain: 'googleapis.com' } }),
  };
  return new Bigtable(options);
}

/** Nothing is retried here: that is for the caller to decide, who knows how much time is left. */
export function tableOf(client: Bigtable, address: BigtableAddress): Table {
  const table = client.instance(address.instance).table(address.table);
  table.maxRetries = 0;
  return table;
}

/** Makes the table with its two families; what exists already is left as it is. For operators, and for tests. */
export async function createBigtableTable(address: BigtableAddress): Promise<void> {
  const client = openBigtable(address);
  try {
    await client.instance(address.instance).createTable(address.table, {
      families: [
        { name: families.kept, rule: { versions: 1 } },
        { name: families.timed, rule: { age: { seconds: 1, nanos: 0 } } },
      ],
      gaxOptions: { timeout: 30_000 },
    });
  } catch (error) {
    if ((error as { code?: unknown }).code !== 6) throw bigtableFault(address, error);
  } finally {
    await client.close();
  }
}

/** `project/instance/table`, for metrics and messages. */
export function bigtableName({ project, instance, table, endpoint }: BigtableAddress): string {
  return `${project}/${instance}/${table}${endpoint === undefined ? '' : ` at ${endpoint}`}`;
}

export function bigtableFault(address: BigtableAddress, error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  const failed = error as Error & { code?: unknown; errors?: readonly { code?: unknown }[] };
  const code = Number(failed.code ?? failed.errors?.[0]?.code);
  const isUnsigned = /credential|invalid_grant|unauthenticated/iu.test(failed.message);
  const fault = faultOfCode[code] ?? (isUnsigned ? 'STORE_REFUSED' : 'STORE_FAULTY');
  return new StoreError(fault, `${bigtableName(address)}: ${failed.message}`, { cause: error });
}

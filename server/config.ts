import { isWildcard } from './url-of.ts';

type NumberSetting = {
  readonly env: string;
  readonly kind: 'number';
  readonly default: number;
  readonly min: number;
  readonly max: number;
};
type ChoiceSetting = {
  readonly env: string;
  readonly kind: 'choice';
  readonly default: string;
  readonly choices: readonly string[];
};
type TextSetting = { readonly env: string; readonly kind: 'text'; readonly default: string };

const number = (env: string, fallback: number, min: number, max: number): NumberSetting => ({
  env,
  kind: 'number',
  default: fallback,
  min,
  max,
});
const choice = (env: string, fallback: string, choices: readonly string[]): ChoiceSetting => ({
  env,
  kind: 'choice',
  default: fallback,
  choices,
});
const text = (env: string, fallback = ''): TextSetting => ({ env, kind: 'text', default: fallback });

/** Every setting there is: name in the environment, default, range. Meanings are in this folder's README, one row each. */
export const settings = {
  dataDir: text('GAVELIN_DATA_DIR', 'data'),
  bidHost: text('GAVELIN_BID_HOST', '127.0.0.1'),
  bidPort: number('GAVELIN_BID_PORT', 8080, 0, 65_535),
  adminHost: text('GAVELIN_ADMIN_HOST', '127.0.0.1'),
  adminPort: number('GAVELIN_ADMIN_PORT', 8081, 0, 65_535),
  adminToken: text('GAVELIN_ADMIN_TOKEN'),
  http: choice('GAVELIN_HTTP', 'uws', ['uws', 'node']),
  publicUrl: text('GAVELIN_PUBLIC_URL'),
  servingThreads: number('GAVELIN_SERVING_THREADS', 1, 1, 64),
  scoringThreads: number('GAVELIN_SCORING_THREADS', 1, 1, 64),
  provider: choice('GAVELIN_PROVIDER', 'cpu', ['cpu', 'cuda', 'webgpu', 'auto']),
  candidateCountMax: number('GAVELIN_CANDIDATE_COUNT_MAX', 200, 1, 1000),
  precutMax: number('GAVELIN_PRECUT_MAX', 2000, 1, 100_000),
  tierPremiumNanos: number('GAVELIN_TIER_PREMIUM_NANOS', 5_000_000, 0, 1_000_000_000),
  tierStandardNanos: number('GAVELIN_TIER_STANDARD_NANOS', 500_000, 0, 1_000_000_000),
  mlBudgetMs: number('GAVELIN_ML_BUDGET_MS', 10, 1, 100),
  tmaxMs: number('GAVELIN_TMAX_MS', 100, 5, 60_000),
  deadlineSafetyMs: number('GAVELIN_DEADLINE_SAFETY_MS', 5, 0, 1000),
  inFlightMax: number('GAVELIN_IN_FLIGHT_MAX', 512, 1, 4096),
  bodyBytesMax: number('GAVELIN_BODY_BYTES_MAX', 262_144, 1024, 16_777_216),
  drainMs: number('GAVELIN_DRAIN_MS', 5000, 0, 600_000),
  marginPpm: number('GAVELIN_MARGIN_PPM', 0, 0, 900_000),
  qualityExponent: number('GAVELIN_QUALITY_EXPONENT', 1, 0, 4),
  seenNoticesMax: number('GAVELIN_SEEN_NOTICES_MAX', 4_194_304, 65_536, 268_435_456),
  catalogFile: text('GAVELIN_CATALOG_FILE'),
  usersFile: text('GAVELIN_USERS_FILE'),
  bundleDir: text('GAVELIN_BUNDLE_DIR'),
  bundleKeyFile: text('GAVELIN_BUNDLE_KEY_FILE'),
  callersFile: text('GAVELIN_CALLERS_FILE'),
  ratesFile: text('GAVELIN_RATES_FILE'),
  noticeKeyFile: text('GAVELIN_NOTICE_KEY_FILE'),
  logSegmentBytes: number('GAVELIN_LOG_SEGMENT_BYTES', 134_217_728, 1_048_576, 4_294_967_296),
  logBytesMax: number('GAVELIN_LOG_BYTES_MAX', 8_589_934_592, 16_777_216, 2 ** 50),
  storeRealtime: text('GAVELIN_STORE_REALTIME', 'local:'),
  storeEmbeddings: text('GAVELIN_STORE_EMBEDDINGS', 'local:'),
  storeBatch: text('GAVELIN_STORE_BATCH', 'local:'),
  storeHistory: text('GAVELIN_STORE_HISTORY', 'local:'),
  startDegraded: choice('GAVELIN_START_DEGRADED', 'no', ['no', 'yes']),
  lookupMs: number('GAVELIN_LOOKUP_MS', 3, 1, 100),
  storeCacheMs: number('GAVELIN_STORE_CACHE_MS', 60_000, 0, 86_400_000),
  storeCacheBytesMax: number('GAVELIN_STORE_CACHE_BYTES_MAX', 67_108_864, 65_536, 2 ** 40),
  hotUsersMax: number('GAVELIN_HOT_USERS_MAX', 1_000_000, 0, 100_000_000),
  hotUsersFormat: choice('GAVELIN_HOT_USERS_FORMAT', 'float32', ['float32', 'int8']),
  userWindowCount: number('GAVELIN_USER_WINDOW_COUNT', 50, 1, 500),
  userWindowMs: number('GAVELIN_USER_WINDOW_MS', 86_400_000, 1000, 2_592_000_000),
  demoAds: number('GAVELIN_DEMO_ADS', 10_000, 100, 1_000_000),
  demoUsers: number('GAVELIN_DEMO_USERS', 100_000, 100, 1_000_000),
  demoRows: number('GAVELIN_DEMO_ROWS', 1_000_000, 1000, 50_000_000),
  demoSeed: number('GAVELIN_DEMO_SEED', 1, 0, 4_294_967_295),
} as const;

type Settings = typeof settings;
export type Config = {
  readonly [Name in keyof Settings]: Settings[Name] extends NumberSetting ? number : string;
};

/** Reads every setting before it complains, so that one restart shows every mistake. Throws with the whole list. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const problems: string[] = [];
  const values = Object.fromEntries(
    Object.entries(settings).map(([name, setting]) => [name, valueOf(setting, env[setting.env]?.trim(), problems)]),
  );
  if (values['publicUrl'] === '' && isWildcard(String(values['bidHost']))) {
    const { publicUrl, bidHost } = settings;
    problems.push(
      `${publicUrl.env} must be set where ${bidHost.env} is every address: bids carry it to be notified at`,
    );
  }
  if (problems.length > 0) throw new Error(`Unusable configuration:\n${problems.join('\n')}`);
  return Object.freeze(values) as Config;
}

/** Read by tests and benches, never by a server. */
const elsewhere = new Set(['GAVELIN_REQUIRE_SERVICES', 'GAVELIN_RESEARCH_DATA']);

/**
 * Names that look like settings and are none: likely typing errors, worth a warning. No reason to refuse, since a cluster may put
 * names of its own there (`GAVELIN_SERVICE_HOST` for a service called gavelin).
 */
export function unknownSettings(env: Readonly<Record<string, string | undefined>>): readonly string[] {
  const known = new Set<string>(Object.values(settings).map((setting) => setting.env));
  return Object.keys(env).filter((name) => name.startsWith('GAVELIN_') && !known.has(name) && !elsewhere.has(name));
}

function valueOf(
  setting: NumberSetting | ChoiceSetting | TextSetting,
  raw: string | undefined,
  problems: string[],
): number | string {
  if (raw === undefined || raw === '') return setting.default;
  if (setting.kind === 'text') {
    if (setting.env === settings.publicUrl.env && !isBaseUrl(raw))
      problems.push(`${setting.env}="${raw}" is not an http or https address`);
    return raw;
  }
  if (setting.kind === 'choice') {
    if (!setting.choices.includes(raw))
      problems.push(`${setting.env}="${raw}" is not one of ${setting.choices.join(', ')}`);
    return raw;
  }
  const value = Number(raw);
  if (!(Number.isInteger(value) && value >= setting.min && value <= setting.max)) {
    problems.push(`${setting.env}="${raw}" is not a whole number from ${setting.min} to ${setting.max}`);
  }
  return value;
}

/** It goes into markup and JSON as it stands: nothing that would have to be escaped there. */
function isBaseUrl(text: string): boolean {
  return /^https?:\/\/[\w.:[\]-]+(?:\/[\w./~-]*)?$/u.test(text) && URL.canParse(text);
}

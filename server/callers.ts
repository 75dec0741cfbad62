import type { FileProblem } from './errors.ts';
import { type ValueTier, valueTiers } from './value-tiers.ts';
import type { ParseOptions } from './openrtb-request.ts';
import type { UserIdField } from './openrtb-privacy.ts';

/** Who calls, and what holds for requests that leave it open. */
export type Caller = {
  /** Written to the log and to reports; never the key. */
  readonly id: string;
  /** '' for the default caller of the loopback. */
  readonly key: string;
  readonly tmaxMs: number;
  /** How `at`, user ids and `secure` are read. */
  readonly parse: ParseOptions;
  /** Answered in the first of these that a request allows and that has a rate; a request without `cur` allows USD. */
  readonly currencies: readonly string[];
  /** What "no bid" looks like: an empty 204, or a 200 that says why. */
  readonly noBid: '204' | 'nbr';
  /** Whether its requests may be used to try ads that would not win. */
  readonly mayExplore: boolean;
  /** Which rungs its requests start on, and how long they keep them under load: its own tier, or that of the place they come from. */
  readonly tier: ValueTier | 'by-value';
};

export type CallerDefaults = { readonly tmaxMs: number };

/** `at` of requests that leave it out: second price, by the specification. */
const auctionTypeDefault = 2;
const keyCharsMin = 16;
const callerCountMax = 10_000;
const problemCountMax = 50;

/** Callers by key. */
export class Callers {
  readonly #byKey: ReadonlyMap<string, Caller>;
  readonly #fallback: Caller | undefined;

  constructor(callers: readonly Caller[], fallback: Caller | undefined) {
    this.#byKey = new Map(callers.map((caller) => [caller.key, caller]));
    this.#fallback = fallback;
  }

  /** Undefined: nobody we know. Without a key, the default caller on the loopback only. */
  find(key: string, remoteAddress: () => string): Caller | undefined {
    if (key !== '') return this.#byKey.get(key);
    return this.#fallback !== undefined && isLoopback(remoteAddress()) ? this.#fallback : undefined;
  }
}

export function isLoopback(address: string): boolean {
  return address === '127.0.0.1' || address === '::1' || /^(?:::ffff:)?127\.\d+\.\d+\.\d+$/u.test(address);
}

export function defaultCaller(defaults: CallerDefaults): Caller {
  return {
    id: 'default',
    key: '',
    tmaxMs: defaults.tmaxMs,
    parse: { defaultAuctionType: auctionTypeDefault, userIdFields: ['buyeruid', 'id'], isSecureByDefault: false },
    currencies: ['USD'],
    noBid: '204',
    mayExplore: true,
    tier: 'standard',
  };
}

/** What a process without a callers file knows. */
export function onlyDefaultCaller(defaults: CallerDefaults): Callers {
  return new Callers([], defaultCaller(defaults));
}

export type CallersReading =
  | { readonly kind: 'callers'; readonly callers: Callers; readonly count: number }
  | { readonly kind: 'problems'; readonly problems: FileProblem[] };

/**
 * Reads a callers file: `{"callers": [{"id", "key", …}], "default": {…} | null}`. Fields and defaults: README, "Callers". Every
 * mistake at once, by path; keys are never repeated in a message.
 */
export function readCallers(text: string, defaults: CallerDefaults): CallersReading {
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch {
    return { kind: 'problems', problems: [{ path: '', message: 'is not JSON' }] };
  }
  const reader = new CallersReader(defaults);
  const callers = reader.file(file);
  if (reader.problems.length > 0) return { kind: 'problems', problems: reader.problems };
  return { kind: 'callers', callers: new Callers(callers.list, callers.fallback), count: callers.list.length };
}

const callerFields = ['id', 'key', 'tmax_ms', 'at', 'currencies', 'no_bid', 'explore', 'tier', 'user_id', 'secure'];

class CallersReader {
  readonly problems: FileProblem[] = [];
  readonly #base: Caller;

  constructor(defaults: CallerDefaults) {
    this.#base = defaultCaller(defaults);
  }

  file(file: unknown): { list: Caller[]; fallback: Caller | undefined } {
    if (!isRecord(file)) {
      this.#fail('', 'must be an object');
      return { list: [], fallback: undefined };
    }
    for (const name of Object.keys(file)) {
      if (name !== 'callers' && name !== 'default') this.#fail(name, 'is not a field of this file');
    }
    const fallbackEntry = file['default'];
    const fallback =
      fallbackEntry === null
        ? undefined
        : fallbackEntry === undefined
          ? this.#base
          : this.#caller(fallbackEntry, 'default', false);
    const entries = file['callers'] ?? [];
    if (!Array.isArray(entries)) {
      this.#fail('callers', 'must be a list');
      return { list: [], fallback };
    }
    if (entries.length > callerCountMax) this.#fail('callers', `may hold ${callerCountMax} callers`);
    const list = entries
      .slice(0, callerCountMax)
      .map((entry, index) => this.#caller(entry, `callers[${index}]`, true))
      .filter((caller) => caller !== undefined);
    this.#refuseRepeats(list);
    return { list, fallback };
  }

  #refuseRepeats(list: readonly Caller[]): void {
    const ids = new Set<string>();
    const keys = new Set<string>();
    for (const [index, { id, key }] of list.entries()) {
      if (id !== '' && ids.has(id)) this.#fail(`callers[${index}].id`, 'repeats the id of an earlier caller');
      if (key !== '' && keys.has(key)) this.#fail(`callers[${index}].key`, 'repeats the key of an earlier caller');
      ids.add(id);
      keys.add(key);
    }
  }

  #caller(entry: unknown, path: string, hasKey: boolean): Caller | undefined {
    if (!isRecord(entry)) {
      this.#fail(path, 'must be an object');
      return undefined;
    }
    for (const name of Object.keys(entry)) {
      if (!callerFields.includes(name) || (name === 'key' && !hasKey)) this.#fail(`${path}.${name}`, 'is not a field');
    }
    const base = this.#base;
    const choose = <T>(name: string, fallback: T, isFine: (value: unknown) => value is T, wanted: string): T => {
      const value = entry[name];
      if (value === undefined) return fallback;
      if (isFine(value)) return value;
      this.#fail(`${path}.${name}`, `must be ${wanted}`);
      return fallback;
    };
    const id = choose('id', hasKey ? '' : base.id, isId, 'a text of 1 to 64 of the characters A-Z a-z 0-9 . _ -');
    if (hasKey && entry['id'] === undefined) this.#fail(`${path}.id`, 'is required');
    const key = hasKey ? choose('key', '', isKey, `a text of ${keyCharsMin} to 128 of A-Z a-z 0-9 . _ ~ -`) : '';
    if (hasKey && entry['key'] === undefined) this.#fail(`${path}.key`, 'is required');
    return {
      id,
      key,
      tmaxMs: choose('tmax_ms', base.tmaxMs, isTmax, 'a whole number from 5 to 60000'),
      parse: {
        defaultAuctionType: choose('at', auctionTypeDefault, isAuctionType, '1, 2 or a whole number from 500'),
        userIdFields: choose('user_id', base.parse.userIdFields, isIdOrder, 'a list of "buyeruid" and "id"'),
        isSecureByDefault: choose('secure', false, isBoolean, 'true or false'),
      },
      currencies: choose('currencies', base.currencies, isCurrencies, 'a list of ISO 4217 codes in capitals'),
      noBid: choose('no_bid', base.noBid, isNoBid, '"204" or "nbr"'),
      mayExplore: choose('explore', base.mayExplore, isBoolean, 'true or false'),
      tier: tierOf(
        choose<TierWord | 1 | 2 | 3>('tier', base.tier, isTier, '"premium", "standard", "basic" or "by-value"'),
      ),
    };
  }

  #fail(path: string, message: string): void {
    if (this.problems.length < problemCountMax) this.problems.push({ path, message });
  }
}

const isBoolean = (value: unknown): value is boolean => typeof value === 'boolean';
const isId = (value: unknown): value is string => typeof value === 'string' && /^[\w.-]{1,64}$/u.test(value);
const isKey = (value: unknown): value is string =>
  typeof value === 'string' && value.length >= keyCharsMin && /^[\w.~-]{1,128}$/u.test(value);
const isTmax = (value: unknown): value is number =>
  Number.isInteger(value) && Number(value) >= 5 && Number(value) <= 60_000;
const isAuctionType = (value: unknown): value is number =>
  Number.isInteger(value) && (value === 1 || value === 2 || Number(value) >= 500);
const isNoBid = (value: unknown): value is '204' | 'nbr' => value === '204' || value === 'nbr';
type TierWord = Caller['tier'];
/** Numbers are how tiers were called before: 1 is dearest. */
const numberedTiers: Readonly<Record<number, ValueTier>> = { 1: 'premium', 2: 'standard', 3: 'basic' };
const isTier = (value: unknown): value is TierWord | 1 | 2 | 3 =>
  value === 1 || value === 2 || value === 3 || value === 'by-value' || valueTiers.some((tier) => tier === value);
const tierOf = (tier: TierWord | 1 | 2 | 3): TierWord => (typeof tier === 'number' ? numberedTiers[tier]! : tier);
const isIdOrder = (value: unknown): value is readonly UserIdField[] =>
  Array.isArray(value) &&
  new Set(value).size === value.length &&
  value.every((each) => each === 'buyeruid' || each === 'id');
const isCurrencies = (value: unknown): value is readonly string[] =>
  Array.isArray(value) &&
  value.length > 0 &&
  value.every((each) => typeof each === 'string' && /^[A-Z]{3}$/u.test(each));

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

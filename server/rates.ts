import { bidInForeignNanos, floorInCatalogNanos } from '#auction/currency.ts';
import type { FileProblem } from './errors.ts';

/**
 * One currency's rate to the catalog's (USD), exact: `amount in USD = amount × numerator ÷ denominator`. Both are positive
 * integers below 2^53.
 */
export type Rate = { readonly currency: string; readonly numerator: number; readonly denominator: number };

export const catalogCurrency = 'USD';
const one: Rate = { currency: catalogCurrency, numerator: 1, denominator: 1 };

/** Rates age even when nobody looks: two days bridge a weekend's missing update. */
const staleAfterHoursDefault = 48;
const currencyCountMax = 256;
const problemCountMax = 50;

/** Rates of the currencies that we trade in. A currency without a rate, or with one that is too old, is not traded: never 1:1. */
export class Rates {
  readonly #rates: ReadonlyMap<string, Rate>;
  readonly #staleAtMs: number;
  /** These and those of the tables before. */
  readonly #lastRates: ReadonlyMap<string, Rate>;

  constructor(rates: readonly Rate[], staleAtMs: number, before?: Rates) {
    this.#rates = new Map(rates.map((rate) => [rate.currency, rate]));
    this.#staleAtMs = staleAtMs;
    this.#lastRates = before === undefined ? this.#rates : new Map([...before.#lastRates, ...this.#rates]);
  }

  /** The same table, which also knows what the currencies that it lacks were last worth. */
  after(before: Rates): Rates {
    return new Rates([...this.#rates.values()], this.#staleAtMs, before);
  }

  /** Undefined when there is none or it is stale. USD itself needs no table and never ages. */
  rateOf(currency: string, nowMs: number): Rate | undefined {
    if (currency === catalogCurrency) return one;
    return nowMs < this.#staleAtMs ? this.#rates.get(currency) : undefined;
  }

  /** However old: what was bid in a currency is billed in it. Undefined when there never was one. */
  lastRateOf(currency: string): Rate | undefined {
    return currency === catalogCurrency ? one : this.#lastRates.get(currency);
  }
}

export const usdOnly = new Rates([], 0);

/** A floor in USD, rounded up; the largest safe integer where it is beyond any bid. */
export function toUsdNanosUp(nanos: number, rate: Rate): number {
  if (rate === one) return nanos;
  return Math.min(floorInCatalogNanos(nanos, rate), Number.MAX_SAFE_INTEGER);
}

/**
 * What an exchange reports in a currency, in USD, rounded up: a cost is never understated. By the last rate that there was, because
 * a stale one is nearer to the truth than the whole bid. Undefined when there never was one.
 */
export function toCatalogNanos(rates: Rates, nanos: number, currency: string): number | undefined {
  const rate = rates.lastRateOf(currency);
  return rate === undefined ? undefined : toUsdNanosUp(nanos, rate);
}

/** The least value in USD that is worth a nano of the rate's currency: less cannot be offered in it. */
export function leastNanos(rate: Rate): number {
  return toUsdNanosUp(1, rate);
}

/** A price in the rate's currency, rounded down. */
export function fromUsdNanosDown(nanos: number, rate: Rate): number {
  return rate === one ? nanos : bidInForeignNanos(nanos, rate);
}

export type RatesReading =
  | { readonly kind: 'rates'; readonly rates: Rates }
  | { readonly kind: 'problems'; readonly problems: FileProblem[] };

/**
 * Reads a rates file: `{"as_of": "2026-05-01T00:00:00Z", "stale_after_hours": 48, "usd_per": {"EUR": "1.10"}}`. Every mistake
 * at once. A rate is decimal text, because it is money; a JSON number is refused.
 */
export function readRates(text: string): RatesReading {
  const problems: FileProblem[] = [];
  const fail = (path: string, message: string): void => {
    if (problems.length < problemCountMax) problems.push({ path, message });
  };
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch {
    return { kind: 'problems', problems: [{ path: '', message: 'is not JSON' }] };
  }
  if (!isRecord(file)) return { kind: 'problems', problems: [{ path: '', message: 'must be an object' }] };
  for (const name of Object.keys(file)) {
    if (!['as_of', 'stale_after_hours', 'usd_per'].includes(name)) fail(name, 'is not a field of this file');
  }
  const asOf = file['as_of'];
  const asOfMs = typeof asOf === 'string' ? Date.parse(asOf) : Number.NaN;
  if (Number.isNaN(asOfMs)) fail('as_of', 'must be a time such as 2026-05-01T00:00:00Z');
  const hours = file['stale_after_hours'] ?? staleAfterHoursDefault;
  if (typeof hours !== 'number' || !(hours > 0 && hours <= 24 * 366))
    fail('stale_after_hours', 'must be a number of hours from 0 to 8784');
  const rates = ratesOf(file['usd_per'], fail);
  if (problems.length > 0) return { kind: 'problems', problems };
  return { kind: 'rates', rates: new Rates(rates, asOfMs + Number(hours) * 3_600_000) };
}

function ratesOf(table: unknown, fail: (path: string, message: string) => void): Rate[] {
  if (!isRecord(table)) {
    fail('usd_per', 'must be an object of currency: decimal text');
    return [];
  }
  const entries = Object.entries(table);
  if (entries.length > currencyCountMax) fail('usd_per', `may hold ${currencyCountMax} currencies`);
  const rates: Rate[] = [];
  for (const [currency, value] of entries.slice(0, currencyCountMax)) {
    const path = `usd_per.${currency.slice(0, 16)}`;
    const rate = typeof value === 'string' ? rateOf(currency, value) : undefined;
    if (!/^[A-Z]{3}$/u.test(currency)) fail(path, 'is not an ISO 4217 code in capitals');
    else if (currency === catalogCurrency) fail(path, 'is the currency of the table itself');
    else if (rate === undefined) fail(path, 'must be positive decimal text with up to 15 digits, such as "1.10"');
    else rates.push(rate);
  }
  return rates;
}

function rateOf(currency: string, text: string): Rate | undefined {
  const match = /^(\d{1,15})(?:\.(\d{1,14}))?$/u.exec(text);
  if (match === null) return undefined;
  const fraction = match[2] ?? '';
  const numerator = Number(match[1]! + fraction);
  if (numerator === 0 || !Number.isSafeInteger(numerator)) return undefined;
  return { currency, numerator, denominator: 10 ** fraction.length };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

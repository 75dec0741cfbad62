import type { Leniency, RequestFault, RequestFaultCode } from './bid-request.ts';

export type JsonObject = { readonly [key: string]: unknown };

const noTexts: readonly string[] = [];

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Decimal digits only: "100", not "1e2", " 100" or "0x64". */
const integerText = /^-?\d{1,15}$/u;

/**
 * Reads the values of one request, notes the first fault and counts every leniency. It never throws: after a fault it goes
 * on with defaults, which costs less than an exception and keeps one way through the code. `null` counts as absent.
 *
 * What decides what may be sold or must be kept out (required fields, sizes, money, block lists) is a fault when it is
 * wrong; what only describes is dropped and counted.
 */
export class FieldReader {
  fault: RequestFault | undefined = undefined;
  readonly leniency: Leniency = { coercions: 0, conflicts: 0, ignored: 0 };
  /** Set while an impression is read, so that paths are written only when something is wrong; −1 outside. */
  impIndex = -1;

  fail(code: RequestFaultCode, field: string, message: string): void {
    if (this.fault !== undefined) return;
    const path = this.impIndex < 0 ? field : `imp[${this.impIndex}]${field === '' ? '' : '.'}${field}`;
    this.fault = { kind: 'fault', code, path, message };
  }

  /** An optional object; anything else that is present is dropped and counted. */
  object(value: unknown): JsonObject | undefined {
    if (value === undefined || value === null) return undefined;
    if (isObject(value)) return value;
    this.leniency.ignored++;
    return undefined;
  }

  /** An object whose wrong type is a fault. */
  strictObject(value: unknown, field: string): JsonObject | undefined {
    if (value === undefined || value === null) return undefined;
    if (isObject(value)) return value;
    this.fail('FIELD_TYPE', field, 'must be an object');
    return undefined;
  }

  /** A required id. Whole numbers are taken as text and counted: several callers number their impressions. */
  id(value: unknown, field: string, charsMax: number): string {
    if (typeof value === 'string') {
      if (value === '') this.fail('FIELD_MISSING', field, 'must not be empty');
      else if (value.length > charsMax) this.fail('FIELD_RANGE', field, `may have ${charsMax} characters`);
      return value;
    }
    if (value === undefined || value === null) this.fail('FIELD_MISSING', field, 'is required');
    else if (typeof value === 'number' && Number.isSafeInteger(value)) {
      this.leniency.coercions++;
      return String(value);
    } else this.fail('FIELD_TYPE', field, 'must be a string');
    return '';
  }

  /** An optional descriptive text; '' when absent, of another type or longer than the limit (both counted). */
  text(value: unknown, charsMax: number): string {
    if (value === undefined || value === null) return '';
    if (typeof value === 'string') {
      if (value.length <= charsMax) return value;
      this.leniency.ignored++;
      return '';
    }
    if (typeof value === 'number' && Number.isSafeInteger(value)) {
      this.leniency.coercions++;
      return String(value);
    }
    this.leniency.ignored++;
    return '';
  }

  /** An optional whole number where a wrong one is a fault (sizes, durations, times). 0 stays 0; `absent` when absent. */
  count(value: unknown, field: string, absent: number): number {
    if (value === undefined || value === null) return absent;
    let number = value;
    if (typeof value === 'string' && integerText.test(value)) {
      this.leniency.coercions++;
      number = Number(value);
    }
    if (typeof number !== 'number') {
      this.fail('FIELD_TYPE', field, 'must be a number');
      return absent;
    }
    if (!(number >= 0)) this.fail('FIELD_RANGE', field, 'must not be negative');
    else if (!Number.isInteger(number)) this.fail('FIELD_RANGE', field, 'must be a whole number');
    return number;
  }

  /** An optional whole number that only describes; anything unusable is `absent` and counted. */
  number(value: unknown, absent: number): number {
    if (value === undefined || value === null) return absent;
    if (typeof value === 'number' && Number.isInteger(value)) return value;
    if (typeof value === 'string' && integerText.test(value)) {
      this.leniency.coercions++;
      return Number(value);
    }
    this.leniency.ignored++;
    return absent;
  }

  /** 0, 1 or undefined: what is not said is not 0. Takes booleans and "0"/"1", counted; anything else is not said, counted. */
  flag(value: unknown): 0 | 1 | undefined {
    if (value === undefined || value === null) return undefined;
    if (value === 0 || value === 1) return value;
    if (value === true || value === '1' || value === 'true') {
      this.leniency.coercions++;
      return 1;
    }
    if (value === false || value === '0' || value === 'false') {
      this.leniency.coercions++;
      return 0;
    }
    this.leniency.ignored++;
    return undefined;
  }

  /** A list of texts that restricts what may be served: a wrong type is a fault. A single text is a list by commas, counted. */
  restriction(value: unknown, field: string): readonly string[] {
    if (value === undefined || value === null) return noTexts;
    if (typeof value === 'string') {
      this.leniency.coercions++;
      return value
        .split(',')
        .map((each) => each.trim())
        .filter((each) => each !== '');
    }
    if (Array.isArray(value)) return this.#textsOf(value);
    this.fail('FIELD_TYPE', field, 'must be a list of strings');
    return noTexts;
  }

  /** A list of texts that only describes. */
  texts(value: unknown): readonly string[] {
    if (value === undefined || value === null) return noTexts;
    if (typeof value === 'string') {
      this.leniency.coercions++;
      return [value];
    }
    if (Array.isArray(value)) return this.#textsOf(value);
    this.leniency.ignored++;
    return noTexts;
  }

  #textsOf(list: readonly unknown[]): readonly string[] {
    let isClean = true;
    for (let index = 0; index < list.length; index++) if (typeof list[index] !== 'string') isClean = false;
    // The parsed list itself is handed on: nobody else holds it.
    if (isClean) return list as readonly string[];
    const texts = list.filter((each): each is string => typeof each === 'string');
    this.leniency.ignored += list.length - texts.length;
    return texts;
  }

  /** A list of whole numbers; elements of another kind are dropped and counted, numeric texts are taken and counted. */
  numbers(value: unknown): readonly number[] {
    if (value === undefined || value === null) return [];
    if (!Array.isArray(value)) {
      this.leniency.ignored++;
      return [];
    }
    let isClean = true;
    for (let index = 0; index < value.length; index++) if (!Number.isInteger(value[index])) isClean = false;
    if (isClean) return value as readonly number[];
    const numbers: number[] = [];
    for (const each of value) {
      const number = this.number(each, Number.NaN);
      if (!Number.isNaN(number)) numbers.push(number);
    }
    return numbers;
  }
}

import type { CatalogFault, ProblemList } from './catalog-problems.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Ids go into URLs, logs and metrics: printable ASCII without spaces. */
const idForm = /^[!-~]+$/u;
export const idCharsMax = 64;
/** Escape, tab and their kin have no business in a catalog, and two of them are placeholders in our own texts. */
// eslint-disable-next-line no-control-regex
const controlCharacters = /[\u0000-\u001f\u007f]/u;

/**
 * Reads one entry of the catalog field by field. A mistake goes to the list of problems with its path, and a harmless value
 * is returned in its place, so that one pass finds them all.
 */
export class EntryReader {
  readonly #problems: ProblemList;
  readonly #list: string;
  #index = -1;
  #entry: JsonObject = {};

  /** `list` is the path of the list, or of the object itself when `openAt` is used. */
  constructor(problems: ProblemList, list: string) {
    this.#problems = problems;
    this.#list = list;
  }

  /** false: not an object. Fields that are not `known` are ignored, with a warning. */
  open(value: unknown, index: number, known: ReadonlySet<string>): boolean {
    this.#index = index;
    if (!isJsonObject(value)) {
      this.#entry = {};
      this.fail('FIELD_TYPE', '', 'must be an object');
      return false;
    }
    this.#entry = value;
    for (const field in value) {
      if (!known.has(field))
        this.#problems.warn(
          `${this.#list.replaceAll(/\[\d+\]/gu, '')}.${field}`,
          this.path(field),
          'is not a field of the catalog: ignored',
        );
    }
    return true;
  }

  path(field: string): string {
    const entry = this.#index < 0 ? this.#list : `${this.#list}[${this.#index}]`;
    return field === '' ? entry : `${entry}.${field}`;
  }

  fail(code: CatalogFault, field: string, message: string): void {
    this.#problems.add(code, this.path(field), message);
  }

  /** null counts as absent. */
  has(field: string): boolean {
    return this.#entry[field] !== undefined && this.#entry[field] !== null;
  }

  /** The value, or undefined with a problem when it is absent. */
  #required(field: string): unknown {
    if (this.has(field)) return this.#entry[field];
    this.fail('FIELD_MISSING', field, 'is required');
    return undefined;
  }

  text(field: string, charsMax: number): string {
    const value = this.#required(field);
    if (value === undefined) return '';
    return this.#checkedText(field, value, charsMax);
  }

  #checkedText(field: string, value: unknown, charsMax: number): string {
    if (typeof value !== 'string') this.fail('FIELD_TYPE', field, 'must be a text');
    else if (value.length === 0 || value.length > charsMax)
      this.fail('FIELD_RANGE', field, `must have 1 to ${charsMax} characters, has ${value.length}`);
    else if (controlCharacters.test(value) || !value.isWellFormed())
      this.fail('FIELD_VALUE', field, 'must not hold control characters or halves of surrogate pairs');
    else return value;
    return '';
  }

  id(field: string): string {
    const id = this.text(field, idCharsMax);
    if (id !== '' && !idForm.test(id)) this.fail('FIELD_VALUE', field, 'must be printable ASCII without spaces');
    return id;
  }

  /** A text of a given form; `form` completes "must be …". */
  textOf(field: string, charsMax: number, isGood: (text: string) => boolean, form: string): string {
    const text = this.text(field, charsMax);
    if (text !== '' && !isGood(text)) this.fail('FIELD_VALUE', field, `must be ${form}, is "${shown(text)}"`);
    return text;
  }

  integer(field: string, min: number, max: number): number {
    const value = this.#required(field);
    if (value === undefined) return min;
    if (typeof value !== 'number' || !Number.isInteger(value)) this.fail('FIELD_TYPE', field, 'must be a whole number');
    else if (value < min || value > max) this.fail('FIELD_RANGE', field, `must be ${min} to ${max}, is ${value}`);
    else return value;
    return min;
  }

  /** A number above 0 and below 1, or up to 1. */
  share(field: string, isOneAllowed: boolean): number {
    const value = this.#required(field);
    if (value === undefined) return 0.5;
    if (typeof value !== 'number') this.fail('FIELD_TYPE', field, 'must be a number');
    else if (!(value > 0 && (value < 1 || (isOneAllowed && value === 1))))
      this.fail('FIELD_RANGE', field, `must be above 0 and ${isOneAllowed ? 'at most' : 'below'} 1, is ${value}`);
    else return value;
    return 0.5;
  }

  flag(field: string): boolean {
    const value = this.#required(field);
    if (value !== undefined && typeof value !== 'boolean') this.fail('FIELD_TYPE', field, 'must be true or false');
    return value === true;
  }

  word<Word extends string>(field: string, allowed: readonly Word[]): Word {
    const value = this.#required(field);
    if (value === undefined) return allowed[0]!;
    if (allowed.includes(value as Word)) return value as Word;
    this.fail('FIELD_VALUE', field, `must be one of ${allowed.join(', ')}`);
    return allowed[0]!;
  }

  /** A list of 1 to `countMax` items; each goes through `read`, which reports by the field name it is given. */
  list<Item>(field: string, countMax: number, read: (item: unknown, field: string) => Item): Item[] {
    const value = this.#required(field);
    if (value === undefined) return [];
    if (!Array.isArray(value)) {
      this.fail('FIELD_TYPE', field, 'must be a list');
      return [];
    }
    if (value.length === 0 || value.length > countMax) {
      const hint = value.length === 0 ? '; leave the field out for "no condition"' : '';
      this.fail('FIELD_RANGE', field, `must have 1 to ${countMax} items, has ${value.length}${hint}`);
      return [];
    }
    const seen = new Set<unknown>();
    return value.map((item: unknown, place) => {
      const path = `${field}[${place}]`;
      if (seen.has(item)) this.fail('DUPLICATE_ID', path, 'is listed twice');
      seen.add(item);
      return read(item, path);
    });
  }

  texts(field: string, countMax: number, charsMax: number, isGood: (text: string) => boolean, form: string): string[] {
    return this.list(field, countMax, (item, path) => {
      const text = this.#checkedText(path, item, charsMax);
      if (text !== '' && !isGood(text)) this.fail('FIELD_VALUE', path, `must be ${form}, is "${shown(text)}"`);
      return text;
    });
  }

  integers(field: string, countMax: number, min: number, max: number): number[] {
    return this.list(field, countMax, (item, path) => {
      if (typeof item === 'number' && Number.isInteger(item) && item >= min && item <= max) return item;
      this.fail('FIELD_RANGE', path, `must be a whole number from ${min} to ${max}`);
      return min;
    });
  }

  /** A reader of an object inside this one. */
  object(field: string, known: ReadonlySet<string>): EntryReader {
    const inner = new EntryReader(this.#problems, this.path(field));
    inner.open(this.#entry[field], -1, known);
    return inner;
  }
}

/** What is repeated in a message: short. */
function shown(text: string): string {
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
}

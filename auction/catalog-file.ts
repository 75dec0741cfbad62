import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { type CatalogProblem, type CatalogWarning, ProblemList } from './catalog-problems.ts';
import { checkReferences } from './catalog-references.ts';
import type { AdvertiserSpec, CatalogSpec, CreativeSpec, LineItemSpec } from './catalog-spec.ts';
import {
  advertiserFields,
  creativeFields,
  lineItemFields,
  readAdvertiser,
  readCreative,
  readLineItem,
} from './catalog-validation.ts';
import { EntryReader } from './entry-reader.ts';
import { JsonSplitter } from './json-splitter.ts';

/** `problems` are the first ones; `total` says how many there are. */
export type ReadCatalog =
  | { readonly kind: 'catalog'; readonly spec: CatalogSpec; readonly warnings: readonly CatalogWarning[] }
  | {
      readonly kind: 'problems';
      readonly problems: readonly CatalogProblem[];
      readonly total: number;
      readonly warnings: readonly CatalogWarning[];
    };
export type ReadProgress = (bytesDone: number, bytesTotal: number) => void;

/** Large enough that the work between two reads outweighs the call, small enough to be no matter for memory. */
const pieceBytes = 1 << 20;
const knownVersion = 1;
const knownCurrency = 'USD';

/** Reads and checks a catalog file of any size: every mistake at once, by JSON path. Synchronous: for the start. */
export function readCatalogFile(path: string, onProgress: ReadProgress = () => {}): ReadCatalog {
  const collector = new CatalogCollector();
  const splitter = new JsonSplitter(collector);
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    return unreadable(path, error);
  }
  try {
    const total = fstatSync(file).size;
    const piece = Buffer.allocUnsafe(pieceBytes);
    let done = 0;
    for (;;) {
      const count = readSync(file, piece, 0, pieceBytes, null);
      if (count === 0) break;
      splitter.push(withoutByteOrderMark(piece.subarray(0, count), done));
      done += count;
      onProgress(done, total);
    }
  } catch (error) {
    return unreadable(path, error);
  } finally {
    closeSync(file);
  }
  splitter.end();
  return collector.finish(splitter);
}

/** The same for a text that is there already. */
export function readCatalogText(text: string): ReadCatalog {
  const collector = new CatalogCollector();
  const splitter = new JsonSplitter(collector);
  splitter.push(withoutByteOrderMark(Buffer.from(text), 0));
  splitter.end();
  return collector.finish(splitter);
}

function unreadable(path: string, error: unknown): ReadCatalog {
  const message = `${path}: ${error instanceof Error ? error.message : String(error)}`;
  return { kind: 'problems', problems: [{ code: 'CATALOG_UNREADABLE', path: '', message }], total: 1, warnings: [] };
}

function withoutByteOrderMark(bytes: Buffer, at: number): Buffer {
  return at === 0 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes;
}

const listNames = ['advertisers', 'line_items', 'creatives'] as const;
type ListName = (typeof listNames)[number];
const fieldsOf: Readonly<Record<ListName, ReadonlySet<string>>> = {
  advertisers: advertiserFields,
  line_items: lineItemFields,
  creatives: creativeFields,
};

/** Takes entries as the splitter finds them and keeps what is left of them once checked. */
class CatalogCollector {
  readonly #problems = new ProblemList();
  readonly #advertisers: AdvertiserSpec[] = [];
  readonly #lineItems: LineItemSpec[] = [];
  readonly #creatives: CreativeSpec[] = [];
  readonly #seen = new Set<string>();
  #leftOut = 0;
  readonly #interned = new Map<string, unknown>();
  readonly #readers: Readonly<Record<ListName, EntryReader>> = {
    advertisers: new EntryReader(this.#problems, 'advertisers'),
    line_items: new EntryReader(this.#problems, 'line_items'),
    creatives: new EntryReader(this.#problems, 'creatives'),
  };

  isList(key: string): boolean {
    return (listNames as readonly string[]).includes(key);
  }

  list(key: string): void {
    this.#noteKey(key);
  }

  value(key: string, index: number, text: string): void {
    if (index < 0) {
      this.#scalar(key, text);
      return;
    }
    let entry: unknown;
    try {
      entry = JSON.parse(text);
    } catch (error) {
      this.#leftOut++;
      this.#problems.add('CATALOG_NOT_JSON', `${key}[${index}]`, `is not JSON: ${(error as Error).message}`);
      return;
    }
    this.#take(key as ListName, index, entry);
  }

  #take(key: ListName, index: number, entry: unknown): void {
    const reader = this.#readers[key];
    if (!reader.open(entry, index, fieldsOf[key])) this.#leftOut++;
    else if (key === 'advertisers') this.#advertisers.push(readAdvertiser(reader));
    else if (key === 'line_items') this.#lineItems.push(this.#slimLineItem(readLineItem(reader)));
    else this.#creatives.push(this.#slimCreative(readCreative(reader)));
  }

  #scalar(key: string, text: string): void {
    this.#noteKey(key);
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      this.#problems.add('CATALOG_NOT_JSON', key, `is not JSON: ${(error as Error).message}`);
      return;
    }
    if (key === 'version') this.#expect(key, value, knownVersion);
    else if (key === 'currency') this.#expect(key, value, knownCurrency);
    else if (this.isList(key)) this.#problems.add('FIELD_TYPE', key, 'must be a list');
    else this.#problems.warn(key, key, 'is not a field of the catalog: ignored');
  }

  #expect(key: string, value: unknown, known: unknown): void {
    if (value !== known)
      this.#problems.add('CATALOG_UNSUPPORTED', key, `must be ${JSON.stringify(known)}, is ${JSON.stringify(value)}`);
  }

  #noteKey(key: string): void {
    if (this.#seen.has(key)) this.#problems.add('CONFLICT', key, 'is there twice');
    this.#seen.add(key);
  }

  /** What many entries say in the same words is kept once: a million creatives are then some 400 MB for the time of a start. */
  #slimLineItem(item: LineItemSpec): LineItemSpec {
    return Object.assign(item, {
      advertiserId: this.#once(item.advertiserId),
      campaignId: this.#once(item.campaignId),
    });
  }

  #slimCreative(creative: CreativeSpec): CreativeSpec {
    return Object.assign(creative, {
      domain: this.#once(creative.domain),
      categories: this.#onceList(creative.categories),
      mimes: this.#onceList(creative.mimes),
      protocols: this.#onceList(creative.protocols),
      attributes: this.#onceList(creative.attributes),
    });
  }

  #once(text: string): string {
    const known = this.#interned.get(text);
    if (known !== undefined) return known as string;
    this.#interned.set(text, text);
    return text;
  }

  #onceList<Item extends string | number>(list: readonly Item[]): readonly Item[] {
    // No id nor domain holds a line feed.
    const key = `\n${list.join('\n')}`;
    const known = this.#interned.get(key);
    if (known !== undefined && typeof (known as Item[])[0] === typeof list[0]) return known as readonly Item[];
    this.#interned.set(key, list);
    return list;
  }

  finish(splitter: JsonSplitter): ReadCatalog {
    const problems = this.#problems;
    const { fault } = splitter;
    if (fault !== undefined) problems.add('CATALOG_NOT_JSON', fault.path, fault.message);
    else {
      for (const name of ['version', 'currency', ...listNames])
        if (!this.#seen.has(name)) problems.add('FIELD_MISSING', name, 'is required');
    }
    const spec = { advertisers: this.#advertisers, lineItems: this.#lineItems, creatives: this.#creatives };
    // In a file that was not read to its end, or of which entries were left out, every other reference would seem unknown.
    if (fault === undefined && this.#leftOut === 0) checkReferences(spec, undefined, problems);
    const { warnings } = problems;
    if (problems.total === 0) return { kind: 'catalog', spec, warnings };
    return { kind: 'problems', problems: problems.problems, total: problems.total, warnings };
  }
}

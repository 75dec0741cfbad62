import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fdatasyncSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import type { CatalogProblem } from '#auction/catalog-problems.ts';
import type { ChangeResult } from '#auction/catalog-change.ts';
import type { CatalogWriter } from '#auction/catalog-writer.ts';

export const catalogJournalFaults = {
  CATALOG_JOURNAL_FULL: 'The journal of catalog changes is full: write them into the catalog file.',
  CATALOG_JOURNAL_WRITE_FAILED: 'The change could not be written down, so it was not made.',
  CATALOG_JOURNAL_DAMAGED: 'The journal of catalog changes cannot be read.',
} as const;
export type CatalogJournalFault = keyof typeof catalogJournalFaults;

export class CatalogJournalError extends Error {
  override readonly name = 'CatalogJournalError';
  readonly code: CatalogJournalFault;

  constructor(code: CatalogJournalFault, options?: ErrorOptions & { detail?: string }) {
    const text = catalogJournalFaults[code];
    super(options?.detail === undefined ? text : `${text} ${options.detail}`, options);
    this.code = code;
  }
}

/** One change as the admin API took it: `body` in the words of the request. */
export type JournaledChange =
  | { readonly kind: 'change'; readonly body: unknown }
  | { readonly kind: 'patch'; readonly line_item: string; readonly body: unknown };

export type CatalogJournalLimits = {
  /** More than this is refused. The largest body that the admin API takes has 32 MiB. */
  readonly bytesMax: number;
  /** From here on, and then at each doubling, patches of the same line item are folded into one. */
  readonly foldBytesMin: number;
};
export const catalogJournalLimits: CatalogJournalLimits = { bytesMax: 64 << 20, foldBytesMin: 1 << 20 };

const journalVersion = 1;
type Head = { readonly catalog_changes: number; readonly catalog: string };

/**
 * Changes made through the admin API, one JSON line each, so that a restart finds them again. They belong to one catalog file,
 * known by its hash: beside another one the journal begins anew. Main thread only, synchronous: a change is written and synced
 * before it is made, in one turn of the event loop. One process per data folder (the event log's lock).
 */
export class CatalogJournal {
  /** What was in it when it was opened, oldest first. */
  readonly changes: readonly JournaledChange[];
  /** Changes that belonged to another catalog file; they are kept beside, in `PATH.before`. */
  readonly forgottenCount: number;
  readonly #path: string;
  readonly #catalog: string;
  readonly #limits: CatalogJournalLimits;
  #file: number;
  /** Behind the last change that counts; whatever lies there is cut off before the next one. */
  #end: number;
  /** Where each change of the last `append` begins. */
  #starts: number[] = [];
  #foldAt: number;

  /** `catalog`: see `hashOfCatalog`. Throws CATALOG_JOURNAL_DAMAGED when a line cannot be read that once was whole. */
  static open(path: string, catalog: string, limits = catalogJournalLimits): CatalogJournal {
    const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
    // Behind the last line end lies what was never finished, so never answered.
    const lines = text
      .slice(0, text.lastIndexOf('\n') + 1)
      .split('\n')
      .slice(0, -1);
    const [head, ...changes] = lines.map((line, index) => parsed(line, index, path));
    if (head === undefined) return new CatalogJournal(path, catalog, limits, [], 0);
    const { catalog_changes: version, catalog: owner } = head as Head;
    if (version !== journalVersion) throw new CatalogJournalError('CATALOG_JOURNAL_DAMAGED', { detail: `${path}:1` });
    if (owner === catalog) return new CatalogJournal(path, catalog, limits, changes as JournaledChange[], 0);
    renameSync(path, `${path}.before`);
    return new CatalogJournal(path, catalog, limits, [], changes.length);
  }

  private constructor(
    path: string,
    catalog: string,
    limits: CatalogJournalLimits,
    changes: readonly JournaledChange[],
    forgottenCount: number,
  ) {
    this.#path = path;
    this.#catalog = catalog;
    this.#limits = limits;
    this.changes = changes;
    this.forgottenCount = forgottenCount;
    this.#file = -1;
    this.#end = 0;
    this.#foldAt = 0;
    this.keep(changes);
  }

  /** Makes these the whole journal. */
  keep(changes: readonly JournaledChange[]): void {
    const head: Head = { catalog_changes: journalVersion, catalog: this.#catalog };
    const bytes = Buffer.from([head, ...changes].map((each) => `${JSON.stringify(each)}\n`).join(''));
    const making = `${this.#path}.making`;
    const file = openSync(making, 'w+', 0o600);
    try {
      writeAll(file, bytes, 0);
      fsyncSync(file);
      renameSync(making, this.#path);
      syncFolder(dirname(this.#path));
    } catch (error) {
      closeSync(file);
      throw error;
    }
    if (this.#file >= 0) closeSync(this.#file);
    this.#file = file;
    this.#end = bytes.length;
    this.#starts = [];
    this.#foldAt = Math.max(this.#limits.foldBytesMin, 2 * this.#end);
  }

  /**
   * On disk when this returns, all of them by one sync, or none. Call it before they are made, and `undoFrom` when one is refused
   * after all.
   */
  append(changes: readonly JournaledChange[]): void {
    const lines = changes.map((change) => Buffer.from(`${JSON.stringify(change)}\n`));
    const bytes = Buffer.concat(lines);
    try {
      if (this.#end + bytes.length > Math.min(this.#foldAt, this.#limits.bytesMax)) this.#fold();
      if (this.#end + bytes.length > this.#limits.bytesMax) throw new CatalogJournalError('CATALOG_JOURNAL_FULL');
      ftruncateSync(this.#file, this.#end);
      writeAll(this.#file, bytes, this.#end);
      fdatasyncSync(this.#file);
    } catch (error) {
      if (error instanceof CatalogJournalError) throw error;
      throw new CatalogJournalError('CATALOG_JOURNAL_WRITE_FAILED', { cause: error, detail: String(error) });
    }
    this.#starts = [];
    for (const line of lines) {
      this.#starts.push(this.#end);
      this.#end += line.length;
    }
  }

  /**
   * Takes changes of the last `append` back, from the `index`-th on. Should the process die before the disk knows, the next start
   * refuses the same change again.
   */
  undoFrom(index: number): void {
    this.#end = this.#starts[index] ?? this.#end;
    this.#starts.length = Math.min(index, this.#starts.length);
    ftruncateSync(this.#file, this.#end);
  }

  #fold(): void {
    const bytes = Buffer.alloc(this.#end);
    readAll(this.#file, bytes);
    const lines = bytes.toString('utf8').split('\n').slice(1, -1);
    this.keep(foldChanges(lines.map((line) => JSON.parse(line) as JournaledChange)));
  }

  close(): void {
    closeSync(this.#file);
  }
}

/**
 * The same outcome in fewer changes: between two changes of the catalog a line item needs one patch, with the latest word on each
 * term; a creative or an advertiser that was replaced is put in its latest words where it first came, since what else was said of it
 * (size, category) cannot change.
 */
export function foldChanges(changes: readonly JournaledChange[]): JournaledChange[] {
  const folded: JournaledChange[] = [];
  const patches = new Map<string, JournaledChange>();
  const flush = (): void => {
    folded.push(...patches.values());
    patches.clear();
  };
  for (const change of foldEntries(changes)) {
    if (change.kind === 'change') {
      flush();
      folded.push(change);
      continue;
    }
    const before = patches.get(change.line_item);
    const body = { ...(before?.body as object | undefined), ...(change.body as object) };
    patches.set(change.line_item, { ...change, body });
  }
  flush();
  return folded;
}

/** Lists of a change whose entries are replaced whole, and depend on nothing that a change could bring. */
const replacedLists = ['advertisers', 'creatives'] as const;

function foldEntries(changes: readonly JournaledChange[]): JournaledChange[] {
  type Entry = { readonly id: string };
  type Lists = { readonly [Name in (typeof replacedLists)[number]]?: readonly Entry[] | null };
  const latest = new Map<string, Entry>();
  for (const { kind, body } of changes)
    if (kind === 'change')
      for (const name of replacedLists)
        for (const entry of (body as Lists)[name] ?? []) latest.set(`${name} ${entry.id}`, entry);
  return changes.flatMap((change): JournaledChange[] => {
    if (change.kind !== 'change') return [change];
    const body: Record<string, unknown> = { ...(change.body as object) };
    for (const name of replacedLists) {
      const kept = ((change.body as Lists)[name] ?? []).flatMap(({ id }) => {
        const entry = latest.get(`${name} ${id}`);
        latest.delete(`${name} ${id}`);
        return entry === undefined ? [] : [entry];
      });
      if (kept.length > 0) body[name] = kept;
      else delete body[name];
    }
    return Object.keys(body).length > 0 ? [{ ...change, body }] : [];
  });
}

/** Asks the writer for one change. */
export function applyChange(writer: CatalogWriter, change: JournaledChange): ChangeResult {
  return change.kind === 'change' ? writer.apply(change.body) : writer.patchLineItem(change.line_item, change.body);
}

export type SkippedChange = { readonly change: JournaledChange; readonly problems: readonly CatalogProblem[] };

/** Makes the changes again on a catalog that nobody reads yet. Those that no longer apply change nothing and are returned. */
export function replayChanges(writer: CatalogWriter, changes: readonly JournaledChange[]): SkippedChange[] {
  const skipped: SkippedChange[] = [];
  for (const change of changes) {
    const result = applyChange(writer, change);
    if (result.kind === 'problems') {
      skipped.push({ change, problems: result.problems });
      continue;
    }
    writer.publish(result.addedRows);
    // Nobody can still see what was withdrawn, and there must be no less room than there was then.
    writer.reclaim(0, 0);
  }
  return skipped;
}

/** Of a change that is reported in the log. */
const loggedCharsMax = 500;

/** The journal of a catalog file, after its changes have been made again on the catalog that was read from it. */
export function restoreChanges(
  path: string,
  catalogPath: string,
  writer: CatalogWriter,
  log: (line: string) => void,
): CatalogJournal {
  const journal = CatalogJournal.open(path, hashOfCatalog(catalogPath));
  const { changes, forgottenCount } = journal;
  if (forgottenCount > 0)
    log(
      `catalog: this is another file, so ${forgottenCount} changes made to the one before are in ${path}.before only`,
    );
  const skipped = replayChanges(writer, changes);
  for (const { change, problems } of skipped) {
    const why = problems.map((problem) => `${problem.path} ${problem.message}`).join('; ');
    log(`catalog: a change made earlier no longer applies: ${why}: ${JSON.stringify(change).slice(0, loggedCharsMax)}`);
  }
  if (skipped.length > 0) {
    const refused = new Set(skipped.map(({ change }) => change));
    journal.keep(changes.filter((change) => !refused.has(change)));
  }
  if (changes.length > 0) log(`catalog: ${changes.length - skipped.length} changes made earlier are in effect again`);
  return journal;
}

const hashChunkBytes = 4 << 20;

/** What a journal knows its catalog file by: the content, so a file that was only copied or touched keeps its changes. */
export function hashOfCatalog(path: string): string {
  const hash = createHash('sha256');
  const chunk = Buffer.alloc(hashChunkBytes);
  const file = openSync(path, 'r');
  try {
    for (let count = readSync(file, chunk); count > 0; count = readSync(file, chunk))
      hash.update(chunk.subarray(0, count));
  } finally {
    closeSync(file);
  }
  return hash.digest('hex');
}

function parsed(line: string, index: number, path: string): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw new CatalogJournalError('CATALOG_JOURNAL_DAMAGED', { cause: error, detail: `${path}:${index + 1}` });
  }
}

function writeAll(file: number, bytes: Uint8Array, at: number): void {
  for (let done = 0; done < bytes.length;) done += writeSync(file, bytes, done, bytes.length - done, at + done);
}

function readAll(file: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) {
    const count = readSync(file, bytes, done, bytes.length - done, done);
    if (count === 0) throw new Error('The journal is shorter than it was.');
    done += count;
  }
}

function syncFolder(folder: string): void {
  const handle = openSync(folder, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

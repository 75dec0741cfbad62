/** What can be wrong with a catalog file or a change of the catalog. Each is described in the README of this folder. */
export const catalogFaults = {
  CATALOG_UNREADABLE: 'The file cannot be opened or read.',
  CATALOG_NOT_JSON: 'The text is not JSON of the expected form.',
  CATALOG_UNSUPPORTED: 'A version or currency that this program does not know.',
  CATALOG_FULL: 'The room that was set aside for new entries at start is used up.',
  FIELD_MISSING: 'A required field is absent.',
  FIELD_TYPE: 'A field has the wrong type.',
  FIELD_RANGE: 'A number or a length is outside its range.',
  FIELD_VALUE: 'A word that is not one of those allowed, or not of the form asked for.',
  DUPLICATE_ID: 'Two entries of one list have the same id.',
  UNKNOWN_REFERENCE: 'An id that no entry has.',
  CONFLICT: 'Two fields, or a field and what the catalog holds, exclude each other.',
} as const;
export type CatalogFault = keyof typeof catalogFaults;

/** `path` is a JSON path such as `line_items[3].targeting.hours[0]`. */
export type CatalogProblem = { readonly code: CatalogFault; readonly path: string; readonly message: string };
/** Something ignored: `count` entries have it, the first one at `path`. */
export type CatalogWarning = { readonly path: string; readonly message: string; readonly count: number };

/** Enough to mend a file in a few rounds, few enough to read. The total is always told. */
export const problemCountMax = 100;
const warningCountMax = 50;

/** Collects every mistake instead of stopping at the first; keeps the first `problemCountMax` and counts the rest. */
export class ProblemList {
  readonly problems: CatalogProblem[] = [];
  total = 0;
  readonly #warnings = new Map<string, { path: string; message: string; count: number }>();

  add(code: CatalogFault, path: string, message: string): void {
    this.total += 1;
    if (this.problems.length < problemCountMax) this.problems.push({ code, path, message });
  }

  /** `kind` says which warnings are the same one. */
  warn(kind: string, path: string, message: string): void {
    const known = this.#warnings.get(kind);
    if (known !== undefined) known.count += 1;
    else if (this.#warnings.size < warningCountMax) this.#warnings.set(kind, { path, message, count: 1 });
  }

  get warnings(): readonly CatalogWarning[] {
    return [...this.#warnings.values()];
  }
}

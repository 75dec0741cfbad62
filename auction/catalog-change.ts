import { type CatalogWarning, type CatalogProblem, ProblemList } from './catalog-problems.ts';
import type { CatalogSpec, LineItemTerms } from './catalog-spec.ts';
import {
  advertiserFields,
  creativeFields,
  lineItemFields,
  readAdvertiser,
  readCreative,
  readLineItem,
  readTerms,
  termFields,
} from './catalog-validation.ts';
import { EntryReader, idCharsMax, isJsonObject } from './entry-reader.ts';

/** A change of a running catalog, read but not yet checked against it. Entries with a known id replace what is there. */
export type CatalogChange = CatalogSpec & { readonly removeLineItems: readonly string[] };

/** What became of a change. New ads are not shown before `publish(addedRows)`. */
export type ChangeResult =
  | {
      readonly kind: 'applied';
      readonly version: number;
      readonly addedRows: readonly number[];
      /** Their terms may have changed: budgets, caps and pacing follow them. Removed ones are among them. */
      readonly changedLineItems: readonly number[];
      readonly warnings: readonly CatalogWarning[];
    }
  | { readonly kind: 'problems'; readonly problems: readonly CatalogProblem[]; readonly total: number };

const changeFields: ReadonlySet<string> = new Set(['advertisers', 'line_items', 'creatives', 'remove_line_items']);
/** A change goes through the main thread in one piece; what is larger belongs into the catalog file. */
export const changedEntryCountMax = 100_000;

/** `{"advertisers":[…],"line_items":[…],"creatives":[…],"remove_line_items":["ID"]}`, each optional, in the words of the file. */
export function readChange(value: unknown, problems: ProblemList): CatalogChange {
  const whole = new EntryReader(problems, 'change');
  if (!whole.open(value, -1, changeFields))
    return { advertisers: [], lineItems: [], creatives: [], removeLineItems: [] };
  const change = value as Readonly<Record<string, unknown>>;
  const entries = <Entry>(name: string, fields: ReadonlySet<string>, read: (reader: EntryReader) => Entry): Entry[] => {
    const list = change[name];
    if (list === undefined || list === null) return [];
    if (!Array.isArray(list) || list.length > changedEntryCountMax) {
      problems.add('FIELD_TYPE', name, `must be a list of at most ${changedEntryCountMax} entries`);
      return [];
    }
    const reader = new EntryReader(problems, name);
    return list.flatMap((entry: unknown, index) => (reader.open(entry, index, fields) ? [read(reader)] : []));
  };
  return {
    advertisers: entries('advertisers', advertiserFields, readAdvertiser),
    lineItems: entries('line_items', lineItemFields, readLineItem),
    creatives: entries('creatives', creativeFields, readCreative),
    removeLineItems: whole.has('remove_line_items') ? readRemovals(change['remove_line_items'], problems) : [],
  };
}

function readRemovals(list: unknown, problems: ProblemList): string[] {
  const holder = new EntryReader(problems, 'change');
  holder.open({ remove_line_items: list }, -1, changeFields);
  return holder.texts('remove_line_items', changedEntryCountMax, idCharsMax, () => true, '');
}

/** What a patch of one line item holds: some of its terms. */
export function readPatch(value: unknown, problems: ProblemList): Partial<LineItemTerms> {
  const reader = new EntryReader(problems, 'line_item');
  if (!isJsonObject(value)) {
    reader.open(value, -1, termFields);
    return {};
  }
  for (const field of Object.keys(value)) {
    if (termFields.has(field)) continue;
    const why = lineItemFields.has(field)
      ? 'cannot be patched: send the whole line item'
      : 'is not a field of a line item';
    problems.add('FIELD_VALUE', `line_item.${field}`, why);
  }
  reader.open(value, -1, new Set(Object.keys(value)));
  return readTerms(reader, value);
}

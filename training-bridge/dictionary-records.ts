import { decodeEvent, encodeDictionary } from './event-codec.ts';
import type { DictionaryRow } from './event-records.ts';

/** A dictionary smaller than this is not worth folding. */
const foldRowsMin = 10_000;

/**
 * What the head of a segment says about ad rows: sealed records, 26 bytes a row where objects would take 200. Rows are told anew
 * when they change; at twice the rows of the last folding only the latest word on each stays, so changes for ever cost at
 * most one dictionary more.
 */
export class DictionaryRecords {
  #records: Uint8Array[] = [];
  #rowCount = 0;
  #foldAt = foldRowsMin;

  /** Returns the records of just these rows. */
  add(rows: readonly DictionaryRow[]): readonly Uint8Array[] {
    const records = encodeDictionary(rows);
    for (const record of records) this.#records.push(record);
    this.#rowCount += rows.length;
    if (this.#rowCount > this.#foldAt) this.#fold();
    return records;
  }

  get records(): readonly Uint8Array[] {
    return this.#records;
  }

  /** Rows in the records, repeated ones too. */
  get rowCount(): number {
    return this.#rowCount;
  }

  #fold(): void {
    const latest = new Map<number, DictionaryRow>();
    for (const record of this.#records) {
      const event = decodeEvent(record);
      if (event?.kind === 'dictionary') for (const row of event.rows) latest.set(row.adRow, row);
    }
    this.#records = encodeDictionary([...latest.values()].toSorted((left, right) => left.adRow - right.adRow));
    this.#rowCount = latest.size;
    this.#foldAt = Math.max(foldRowsMin, 2 * latest.size);
  }
}

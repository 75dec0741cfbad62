import type { ChangeResult } from '#auction/catalog-change.ts';
import type { CatalogWriter } from '#auction/catalog-writer.ts';
import { applyChange, type CatalogJournal, type JournaledChange } from './catalog-journal.ts';

export type CatalogChangesContext = {
  readonly journal: Pick<CatalogJournal, 'append' | 'undoFrom'>;
  readonly writer: CatalogWriter;
  /** Names and budgets of line items that have changed. */
  readonly noteLineItems: (lineItems: Iterable<number>) => void;
  /** What the new rows mean, for the event log. */
  readonly noteRows: (rows: readonly number[]) => void;
  /** Gives new ads what models keep about them. */
  readonly addAds: (rows: readonly number[]) => Promise<void>;
};

type Waiting = {
  readonly change: JournaledChange;
  readonly resolve: (result: ChangeResult) => void;
  readonly reject: (error: unknown) => void;
};
type Unsold = {
  readonly rows: readonly number[];
  readonly done: () => void;
  readonly failed: (error: unknown) => void;
};

/** Changes that one sync of the journal covers. How many can wait is the admin server's limit on connections. */
const batchCountMax = 256;

/**
 * Makes changes of the catalog, on the main thread, while it is served. Those that come while others are being written to disk go
 * together: one write and one sync of the journal, then one after another into the catalog; new ads get their vectors together, too,
 * and are put on sale. A change is on disk before it is made, and no longer there when it is refused.
 */
export class CatalogChanges {
  readonly #context: CatalogChangesContext;
  readonly #waiting: Waiting[] = [];
  readonly #unsold: Unsold[] = [];
  #isScheduled = false;
  #isSelling = false;

  constructor(context: CatalogChangesContext) {
    this.#context = context;
  }

  /**
   * Resolves when the change is on disk and in force and its new ads are on sale in all threads, or with everything that is wrong
   * with it. Rejects with a CatalogJournalError when it cannot be kept; nothing has changed then.
   */
  make(change: JournaledChange): Promise<ChangeResult> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ change, resolve, reject });
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#isScheduled || this.#waiting.length === 0) return;
    this.#isScheduled = true;
    // Behind the sockets' turn: whatever has arrived by now is in the same batch.
    setImmediate(() => {
      this.#isScheduled = false;
      this.#makeBatch(this.#waiting.splice(0, batchCountMax));
      void this.#sellAll();
      this.#schedule();
    });
  }

  #makeBatch(batch: readonly Waiting[]): void {
    for (let from = 0; from < batch.length;) {
      const rest = batch.slice(from);
      const isWritten = this.#writeDown(rest);
      if (isWritten) from += this.#apply(rest);
      else if (rest.length === 1) from++;
      else {
        // Together they do not fit, or the disk is failing: each for itself.
        for (const each of rest) this.#makeBatch([each]);
        return;
      }
    }
  }

  /** A single change that cannot be kept is told so. */
  #writeDown(batch: readonly Waiting[]): boolean {
    try {
      this.#context.journal.append(batch.map(({ change }) => change));
      return true;
    } catch (error) {
      if (batch.length === 1) batch[0]!.reject(error);
      return false;
    }
  }

  /** Makes changes that are on disk, up to one that is refused: it and what follows leaves the journal. Returns how many are done with. */
  #apply(batch: readonly Waiting[]): number {
    const { journal, writer, noteLineItems } = this.#context;
    for (const [index, { change, resolve, reject }] of batch.entries()) {
      let result: ChangeResult | undefined;
      try {
        result = applyChange(writer, change);
        if (result.kind === 'applied') {
          noteLineItems(result.changedLineItems);
          this.#sell(result, resolve, reject);
          continue;
        }
      } catch (error) {
        reject(error);
      }
      try {
        journal.undoFrom(index);
        if (result !== undefined) resolve(result);
      } catch (error) {
        reject(error);
      }
      return index + 1;
    }
    return batch.length;
  }

  #sell(
    result: Extract<ChangeResult, { kind: 'applied' }>,
    resolve: (result: ChangeResult) => void,
    failed: (error: unknown) => void,
  ): void {
    const { addedRows } = result;
    if (addedRows.length === 0) {
      resolve(result);
      return;
    }
    this.#unsold.push({ rows: addedRows, done: () => resolve(result), failed });
  }

  /** Never rejects: whoever waits is told. */
  async #sellAll(): Promise<void> {
    if (this.#isSelling) return;
    this.#isSelling = true;
    while (this.#unsold.length > 0) {
      const taken = this.#unsold.splice(0);
      const rows = taken.flatMap((each) => each.rows);
      try {
        this.#context.noteRows(rows);
        await this.#context.addAds(rows);
        this.#context.writer.publish(rows);
        for (const { done } of taken) done();
      } catch (error) {
        for (const { failed } of taken) failed(error);
      }
    }
    this.#isSelling = false;
  }
}

import { expect, vi } from 'vitest';
import { Lookup, type LookupOptions } from '#embeddings/lookup/lookup.ts';
import { LookupTicket, outcomeNumbers, sourceNumbers } from '#embeddings/lookup/lookup-table.ts';

export const startMs = 1_790_000_000_000;

/** Time goes on only when the test says so. */
export function fakeTime(): void {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setImmediate', 'clearImmediate', 'Date'], now: startMs });
}

export function lookupOf(options: Omit<LookupOptions, 'now'>): Lookup {
  return new Lookup({ now: () => Date.now(), ...options });
}

/** Asks and waits until it is done; keys are `table:key`. */
export function ask(
  lookup: Lookup,
  keys: readonly (readonly [table: number, key: string])[],
  waitMs = 10,
): { ticket: LookupTicket; isDone: () => boolean; doneCount: () => number; isSync: boolean } {
  const ticket = new LookupTicket();
  for (const [table, key] of keys) ticket.ask(table, Buffer.from(key, 'latin1'));
  let count = 0;
  const isSync = lookup.begin(ticket, Date.now() + waitMs, (told) => {
    expect(told).toBe(ticket);
    count += 1;
  });
  return { ticket, isDone: () => isSync || count > 0, doneCount: () => count, isSync };
}

export function told(ticket: LookupTicket): { value: string | undefined; outcome: string; source: string }[] {
  const nameOf = (names: Readonly<Record<string, number>>, number: number) =>
    Object.keys(names).find((name) => names[name] === number)!;
  return Array.from({ length: ticket.count }, (_, place) => ({
    value: ticket.values[place]?.toString('latin1'),
    outcome: nameOf(outcomeNumbers, ticket.outcomes[place]!),
    source: nameOf(sourceNumbers, ticket.sources[place]!),
  }));
}

/** Lets promises and what hangs on them run, without time going on. */
export async function settle(): Promise<void> {
  await vi.advanceTimersByTimeAsync(0);
}

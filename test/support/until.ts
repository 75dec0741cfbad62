import { setTimeout as pause } from 'node:timers/promises';

/** Far beyond what any of it takes: only what never happens gets there. */
const patienceMs = 20_000;
const everyMs = 20;

/** Asks again and again until it holds; fails, saying what, when it never does. */
export async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const startedMs = performance.now();
  while (!(await holds())) {
    if (performance.now() - startedMs > patienceMs) throw new Error(`after ${patienceMs} ms still not: ${what}`);
    await pause(everyMs);
  }
}

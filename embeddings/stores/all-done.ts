/** Waits for all, then throws the first fault: none rejects unheard, and nothing is under way when it is told. */
export async function allDone(calls: readonly Promise<void>[]): Promise<void> {
  for (const outcome of await Promise.allSettled(calls)) if (outcome.status === 'rejected') throw outcome.reason;
}

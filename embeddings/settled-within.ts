import { setTimeout as pause } from 'node:timers/promises';

/** Whether the promise settled in time; what it rejects with is passed on. One that is late goes on, and no timer of ours does. */
export async function settledWithin(promise: Promise<unknown>, waitMsMax: number): Promise<boolean> {
  const waiting = new AbortController();
  try {
    return await Promise.race([promise.then(() => true), pause(waitMsMax, false, { signal: waiting.signal })]);
  } finally {
    waiting.abort();
  }
}

import { setTimeout as sleep } from 'node:timers/promises';
import type { ListeningHttp } from './http-listener.ts';

/** Balancers look about once a second; whoever looks more rarely finds a closed port, which says the same. */
const unreadyMsMax = 1000;

/**
 * Ends a listener so that nobody is turned away: first it is not ready but serves as before, at most a second and a quarter of
 * `graceMs`, so that a balancer sees the 503 of `/readyz` and sends new connections elsewhere; then it takes none and answers
 * what is owed, for the rest of `graceMs`.
 */
export async function drainListener(
  listening: Pick<ListeningHttp, 'close'>,
  graceMs: number,
  beUnready: () => void,
): Promise<void> {
  beUnready();
  const unreadyMs = Math.min(unreadyMsMax, graceMs / 4);
  await sleep(unreadyMs);
  await listening.close(graceMs - unreadyMs);
}

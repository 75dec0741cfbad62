import { parentPort } from 'node:worker_threads';
import type { FromServingThread } from './serving-threads.ts';

// The serving thread itself; what it cannot start with rejects here and ends it.
await import('./serving-thread.ts');

const tell = (message: FromServingThread): void => parentPort?.postMessage(message);
/**
 * From here on a bug that nobody caught ends the process, but in order: a thread that simply died would tear uWebSockets.js from under
 * its event loop, which aborts the whole process at once, owed answers and all. So it goes on, says so, and waits to be drained.
 */
process.on('uncaughtException', (error: unknown) => {
  tell({ kind: 'failed', reason: error instanceof Error ? (error.stack ?? error.message) : String(error) });
});

import { spawn, spawnSync } from 'node:child_process';
import { closeSync, fstatSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { StoreError } from './store-errors.ts';

/** Pages of 8 KiB: keys of 4 KiB take only half of one, and lmdb refuses ours of 2,048 bytes with its usual 4 KiB. */
export const pageBytes = 8192;
/** A file of 4 GiB is walked through in seconds; one that takes this long is on a disk that is as good as broken. */
const checkMsMax = 120_000;
const checkMain = fileURLToPath(new URL('lmdb-check-main.ts', import.meta.url));
/** With it the walking process ends where the folder cannot be opened at all. */
export const unreachableStatus = 2;
const whatToDo = 'Restore it, or move it away to begin with an empty store.';

/**
 * Before the file is opened, because lmdb ends the process where pages are damaged: by SIGBUS when the file was cut short, by an assertion
 * when a page makes no sense. So its length is compared with what it says itself, and when it was not closed in order a process of its
 * own walks through all of it first, if `walks`. Throws STORE_FAULTY, or STORE_UNREACHABLE where it cannot be read.
 */
export function checkFile(folder: string, walks: boolean): void {
  const file = join(folder, 'data.mdb');
  const transaction = newestTransaction(file);
  if (!walks || transaction === undefined || transaction === closedTransaction(folder)) return;
  const { status, signal, error } = spawnSync(process.execPath, [checkMain, folder], {
    stdio: 'ignore',
    timeout: checkMsMax,
    killSignal: 'SIGKILL',
  });
  if (status !== 0) throw checkFault(file, status, error?.message ?? signal);
}

/** The same off the event loop: not a byte is read here, since the disk may hang, and the file is walked through in any case. */
export function checkFileBehind(folder: string, ended: AbortSignal): Promise<void> {
  const file = join(folder, 'data.mdb');
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [checkMain, folder], {
      stdio: 'ignore',
      timeout: checkMsMax,
      killSignal: 'SIGKILL',
      signal: ended,
    });
    child.unref();
    child.once('error', (error) => reject(checkFault(file, unreachableStatus, error.message)));
    child.once('exit', (status, signal) => {
      if (status === 0) resolve();
      else reject(checkFault(file, status, signal));
    });
  });
}

/** In the process that walks. Throws STORE_FAULTY, or STORE_UNREACHABLE where the file cannot be read. */
export function checkLength(folder: string): void {
  newestTransaction(join(folder, 'data.mdb'));
}

function checkFault(file: string, status: number | null, reason: string | null): StoreError {
  const why = reason ?? `exit status ${status}`;
  return status === unreachableStatus
    ? new StoreError('STORE_UNREACHABLE', `${file} cannot be read or written: ${why}.`)
    : new StoreError('STORE_FAULTY', `${file} is damaged: reading through it ended with ${why}. ${whatToDo}`);
}

/** After closing: what is there now needs no walk when it is opened the next time. */
export function rememberClosed(folder: string): void {
  try {
    const transaction = newestTransaction(join(folder, 'data.mdb'));
    if (transaction !== undefined) writeFileSync(closedFile(folder), String(transaction));
  } catch {
    // Then it is walked through.
  }
}

function closedTransaction(folder: string): bigint | undefined {
  try {
    return BigInt(readFileSync(closedFile(folder), 'utf8'));
  } catch {
    return undefined;
  }
}

function closedFile(folder: string): string {
  return join(folder, 'closed');
}

/** Both meta pages hold: magic at 24, page size at 48, last page at 144, transaction at 152; the newer one counts. Undefined: no file yet. */
function newestTransaction(file: string): bigint | undefined {
  let handle: number;
  try {
    handle = openSync(file, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new StoreError('STORE_UNREACHABLE', `${file}: ${(error as Error).message}`, { cause: error });
  }
  try {
    const { size } = fstatSync(handle);
    if (size === 0) return undefined;
    const metas = Buffer.alloc(2 * pageBytes);
    readSync(handle, metas, 0, metas.length, 0);
    let newest = -1n;
    let neededBytes = 0;
    for (const at of [0, pageBytes]) {
      if (metas.readUInt32LE(at + 24) !== 0xbeef_c0de || metas.readUInt32LE(at + 48) !== pageBytes) continue;
      const transaction = metas.readBigUInt64LE(at + 152);
      if (transaction < newest) continue;
      newest = transaction;
      neededBytes = (Number(metas.readBigUInt64LE(at + 144)) + 1) * pageBytes;
    }
    if (newest < 0n) throw new StoreError('STORE_FAULTY', `${file} is no database of ours. ${whatToDo}`);
    if (size < neededBytes)
      throw new StoreError(
        'STORE_FAULTY',
        `${file} has ${size} bytes of ${neededBytes}: it was cut short. ${whatToDo}`,
      );
    return newest;
  } finally {
    closeSync(handle);
  }
}

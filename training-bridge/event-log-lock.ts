import { closeSync, openSync, readFileSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { EventLogError } from './errors.ts';

/** A take-over lasts microseconds: its marker is left over when it is older than this. */
const takeOverMsMax = 10_000;

type Holder = { readonly pid: number; readonly startTicks: string };

/**
 * Makes this process the only writer of the folder. The lock names a process by id and start time, so that a dead one's is
 * taken over even when its id has been given out again (in a container it nearly always has).
 * Throws EVENT_LOG_LOCKED. Returns what gives the lock back.
 */
export function lockEventLog(dir: string, nowMs: number): () => void {
  const path = join(dir, 'lock');
  if (!create(path, textOf(self()))) takeOver(dir, path, nowMs);
  let isHeld = true;
  return () => {
    if (isHeld) rmSync(path, { force: true });
    isHeld = false;
  };
}

function takeOver(dir: string, path: string, nowMs: number): void {
  const marker = join(dir, 'lock.takeover');
  // Two processes may find the same dead holder: only one at a time may judge and replace it.
  if (!create(marker, textOf(self()))) {
    if (ageMs(marker, nowMs) < takeOverMsMax) throw new EventLogError('EVENT_LOG_LOCKED');
    rmSync(marker, { force: true });
    if (!create(marker, textOf(self()))) throw new EventLogError('EVENT_LOG_LOCKED');
  }
  try {
    const holder = readHolder(path);
    if (holder !== undefined && isAlive(holder)) {
      throw new EventLogError('EVENT_LOG_LOCKED', { detail: `Process ${holder.pid} holds it.` });
    }
    writeFileSync(path, textOf(self()));
  } finally {
    rmSync(marker, { force: true });
  }
}

/** False when the file is there already. */
function create(path: string, text: string): boolean {
  let fd: number;
  try {
    fd = openSync(path, 'wx');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
  writeSync(fd, text);
  closeSync(fd);
  return true;
}

function self(): Holder {
  return { pid: process.pid, startTicks: startTicksOf(process.pid) };
}

function textOf({ pid, startTicks }: Holder): string {
  return `${pid} ${startTicks}\n`;
}

function readHolder(path: string): Holder | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
  const match = /^(\d+) (\d*)\n$/u.exec(text);
  // Its writer died between creating and filling it.
  return match === null ? undefined : { pid: Number(match[1]), startTicks: match[2]! };
}

function isAlive({ pid, startTicks }: Holder): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: it lives, under another user.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  const now = startTicksOf(pid);
  return now === '' || startTicks === '' || now === startTicks;
}

/** When a process began, in clock ticks since boot; '' where there is no /proc to tell (then the id alone decides). */
function startTicksOf(pid: number): string {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return '';
  }
  // The command in parentheses may hold anything. Behind it: the state, and as the 20th field the start.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' ? 'dead' : (fields[19] ?? '');
}

function ageMs(path: string, nowMs: number): number {
  try {
    return nowMs - statSync(path).mtimeMs;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

import type { Dirent } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { StreamKind } from './event-log-types.ts';
import { SegmentCursor } from './segment-cursor.ts';
import type { LogDisk, LogFile } from './event-log-disk.ts';

export type SegmentInfo = { readonly number: number; readonly path: string; bytes: number; lastWrittenMs: number };

const namePattern = /^(\d{8})\.(auctions|notices)\.log$/u;

/** `00000017.auctions.log`, `00000003.notices.log`: each stream counts for itself, from 1. */
export function segmentPath(dir: string, kind: StreamKind, number: number): string {
  return join(dir, `${String(number).padStart(8, '0')}.${kind}.log`);
}

/** Segments of one stream, oldest first. A folder that is not there has none. */
export async function listSegments(dir: string, kind: StreamKind): Promise<SegmentInfo[]> {
  let entries: Dirent[];
  try {
    entries = await readdir(dir, { withFileTypes: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  const segments: SegmentInfo[] = [];
  for (const entry of entries) {
    const match = namePattern.exec(entry.name);
    if (match === null || match[2] !== kind || !entry.isFile()) continue;
    const path = join(dir, entry.name);
    try {
      const { size, mtimeMs } = await stat(path);
      segments.push({ number: Number(match[1]), path, bytes: size, lastWrittenMs: mtimeMs });
    } catch {
      // Retention was quicker.
    }
  }
  return segments.toSorted((left, right) => left.number - right.number);
}

/** Where the last whole record of a segment ends: what lies behind it was never finished. */
export async function wholeEndOf(path: string): Promise<number> {
  const handle = await open(path, 'r');
  try {
    const cursor = new SegmentCursor(handle);
    let end = 0;
    while (await cursor.next()) end = cursor.position + cursor.length;
    return end;
  } finally {
    await handle.close();
  }
}

export type LogStreamOptions = {
  readonly dir: string;
  readonly kind: StreamKind;
  readonly disk: LogDisk;
  readonly segmentBytesMax: number;
  readonly now: () => number;
  /** What every segment begins with, so that it can be read alone. */
  readonly head: () => Uint8Array[];
};

/** The appending end of one stream: the last segment, continued, and those before it. One caller at a time. */
export class LogStream {
  readonly #options: LogStreamOptions;
  readonly #segments: SegmentInfo[];
  #file: LogFile;
  /** Bytes of the last segment that are known to be written; a write that failed is repeated from here. */
  #end: number;
  #isDirty = false;
  readonly tornBytes: number;

  private constructor(
    options: LogStreamOptions,
    segments: SegmentInfo[],
    file: LogFile,
    end: number,
    tornBytes: number,
  ) {
    this.#options = options;
    this.#segments = segments;
    this.#file = file;
    this.#end = end;
    this.tornBytes = tornBytes;
  }

  static async open(options: LogStreamOptions): Promise<LogStream> {
    const { dir, kind, disk } = options;
    const segments = await listSegments(dir, kind);
    const last = segments.at(-1);
    if (last === undefined) {
      const path = segmentPath(dir, kind, 1);
      const file = await disk.open(path, 'begin');
      await disk.syncFolder(dir);
      segments.push({ number: 1, path, bytes: 0, lastWrittenMs: options.now() });
      return new LogStream(options, segments, file, 0, 0);
    }
    const end = await wholeEndOf(last.path);
    const tornBytes = last.bytes - end;
    const file = await disk.open(last.path, 'continue');
    if (tornBytes > 0) {
      await file.truncate(end);
      await file.sync();
    }
    last.bytes = end;
    return new LogStream(options, segments, file, end, tornBytes);
  }

  get segments(): readonly SegmentInfo[] {
    return this.#segments;
  }

  get bytes(): number {
    let bytes = 0;
    for (const segment of this.#segments) bytes += segment.bytes;
    return bytes;
  }

  /** Writes sealed records behind the last ones, in a new segment when the last is full. After a failure the caller repeats the same call. */
  async append(records: readonly Uint8Array[]): Promise<void> {
    if (this.#end >= this.#options.segmentBytesMax) await this.#begin();
    let at = this.#end;
    if (this.#isDirty) await this.#file.truncate(at);
    this.#isDirty = true;
    for (const bytes of records) {
      await this.#file.write(bytes, at);
      at += bytes.length;
    }
    this.#isDirty = false;
    this.#end = at;
    const last = this.#segments.at(-1)!;
    last.bytes = at;
    last.lastWrittenMs = this.#options.now();
  }

  sync(): Promise<void> {
    return this.#file.sync();
  }

  /** After a failed sync nobody knows what is on the disk: the next append writes from `bytes` before the end again. */
  rewind(bytes: number): void {
    this.#end -= bytes;
    this.#isDirty = true;
  }

  async #begin(): Promise<void> {
    const { dir, kind, disk, head, now } = this.#options;
    const number = this.#segments.at(-1)!.number + 1;
    const path = segmentPath(dir, kind, number);
    // A failed attempt left this name behind at worst: it begins anew.
    const file = await disk.open(path, 'begin');
    let at = 0;
    try {
      for (const bytes of head()) {
        await file.write(bytes, at);
        at += bytes.length;
      }
      await disk.syncFolder(dir);
      // What the old one still holds back must not be younger on disk than what the new one says.
      if (kind === 'notices') await this.#file.sync();
    } catch (error) {
      await file.close();
      throw error;
    }
    const old = this.#file;
    this.#file = file;
    this.#end = at;
    this.#isDirty = false;
    this.#segments.push({ number, path, bytes: at, lastWrittenMs: now() });
    await old.close();
  }

  /** Deletes the oldest segment but never the one in use; bytes freed, 0 when there was none to take. */
  async retireOldest(olderThanMs: number): Promise<number> {
    const oldest = this.#segments[0]!;
    if (this.#segments.length < 2 || oldest.lastWrittenMs >= olderThanMs) return 0;
    await this.#options.disk.remove(oldest.path);
    this.#segments.shift();
    return oldest.bytes;
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

import { createHash } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import type { ClickRates } from '#auction/click-rates.ts';

/** "GVRATES1": the last character is the version. */
const magic = Buffer.from('GVRATES1');
const timeBytes = 8;
const hashBytes = 32;
const headBytes = magic.length + timeBytes + hashBytes;
/** A million ads and a quarter of a million pairs, 20 bytes each, are 40 MB. */
const fileBytesMax = 2 ** 28;

/**
 * Click rates across restarts: a file beside the event log, written whole every minute and at the end, in place in one step. What was
 * counted since the last time is lost with a process that is killed: a minute in a week, which moves no rate. Not from the event
 * log, whose records of notices hold no site, and which would have to be read for a week back.
 */
export class ClickRatesFile {
  readonly #path: string;
  readonly #rates: ClickRates;

  constructor(path: string, rates: ClickRates) {
    this.#path = path;
    this.#rates = rates;
  }

  /** Adds what the file holds, decayed by its age. 'damaged': it is not one of ours, or not whole, and is left out. */
  restore(nowMs: number): 'restored' | 'absent' | 'damaged' {
    if (!existsSync(this.#path)) return 'absent';
    const bytes = readFileSync(this.#path);
    if (bytes.length < headBytes || bytes.length > fileBytesMax || !bytes.subarray(0, magic.length).equals(magic))
      return 'damaged';
    const counts = bytes.subarray(headBytes);
    const timeMs = bytes.readDoubleLE(magic.length);
    const isWhole = hashOf(timeMs, counts).equals(bytes.subarray(magic.length + timeBytes, headBytes));
    if (!isWhole || !this.#rates.merge(counts)) return 'damaged';
    this.#rates.decay(Math.max(0, nowMs - timeMs));
    return 'restored';
  }

  /** Throws what the disk says. */
  save(nowMs: number): void {
    const counts = this.#rates.export();
    const time = Buffer.alloc(timeBytes);
    time.writeDoubleLE(nowMs);
    const bytes = Buffer.concat([magic, time, hashOf(nowMs, counts), counts]);
    if (bytes.length > fileBytesMax) throw new RangeError(`${bytes.length} bytes of click counts are too many.`);
    const making = `${this.#path}.making`;
    const file = openSync(making, 'w');
    try {
      for (let done = 0; done < bytes.length;) done += writeSync(file, bytes, done);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(making, this.#path);
  }
}

function hashOf(timeMs: number, counts: Buffer): Buffer {
  const time = Buffer.alloc(timeBytes);
  time.writeDoubleLE(timeMs);
  return createHash('sha256').update(time).update(counts).digest();
}

import type { FileHandle } from 'node:fs/promises';
import { schemaIds } from './event-records.ts';
import { frameBytesMax, frameHeaderBytes, mayContinue, schemaIdAt, viewOf, wholeRecordBytes } from './record-frame.ts';

/** Read at once; a record is at most `frameBytesMax`, so one is always whole after a fill. */
const chunkBytes = 2 * frameBytesMax;

/**
 * Walks the whole records of one segment, front to back. Damage is stepped over to the next whole record and counted; an
 * unfinished record at the end ends the walk, and `next` may be asked again when the file has grown.
 */
export class SegmentCursor {
  readonly #handle: FileHandle;
  #bytes = Buffer.allocUnsafeSlow(chunkBytes);
  view = viewOf(this.#bytes);
  /** File position of the buffer's first byte. */
  #base = 0;
  #filled = 0;
  /** Where in the buffer to look next. */
  #scanAt = 0;
  #isInDamage = false;
  /** Of the record that `next` found, in `bytes`. Valid until the next call. */
  at = 0;
  length = 0;
  schemaId = 0;
  skippedBytes = 0;
  damagedPlaces = 0;
  /** Bytes behind the last whole record when the walk ended. */
  unfinishedBytes = 0;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  get bytes(): Buffer {
    return this.#bytes;
  }

  /** File position of the record. */
  get position(): number {
    return this.#base + this.at;
  }

  /** When the record happened; undefined for those that carry no time. */
  get timeMs(): number | undefined {
    if (this.schemaId === schemaIds.auction) return this.length >= 40 ? this.view.getFloat64(this.at + 24, true) : 0;
    if (this.schemaId >= schemaIds.win && this.schemaId <= schemaIds.conversion) {
      return this.length >= 40 ? this.view.getFloat64(this.at + 28, true) : 0;
    }
    if (this.schemaId === schemaIds.processStart || this.schemaId === schemaIds.ledgerCheckpoint) {
      return this.length >= 20 ? this.view.getFloat64(this.at + frameHeaderBytes, true) : 0;
    }
    return undefined;
  }

  /** Moves to the next whole record; false at the end of what is there now. Never throws for what a file holds. */
  async next(): Promise<boolean> {
    for (;;) {
      if (this.#scan(false)) return true;
      if (await this.#fill()) continue;
      // Nothing more to read, so the rest of the file is in the buffer. A record that claims to go on behind the end may be
      // one whose length is damaged: whole ones after it show that, otherwise it is unfinished.
      const scanAt = this.#scanAt;
      const { skippedBytes, damagedPlaces } = this;
      if (this.#scan(true)) return true;
      this.#scanAt = scanAt;
      this.skippedBytes = skippedBytes;
      this.damagedPlaces = damagedPlaces;
      this.unfinishedBytes = this.#filled - scanAt;
      return false;
    }
  }

  /** As `next` while the buffer lasts, without a promise. */
  nextBuffered(): boolean {
    return this.#scan(false);
  }

  #scan(isAtEnd: boolean): boolean {
    const bytes = this.#bytes;
    const { view } = this;
    const filled = this.#filled;
    let at = this.#scanAt;
    let isInDamage = this.#isInDamage;
    while (at < filled) {
      const length = wholeRecordBytes(bytes, view, at, filled);
      if (length > 0) {
        this.at = at;
        this.length = length;
        this.schemaId = schemaIdAt(view, at);
        this.#scanAt = at + length;
        this.#isInDamage = false;
        return true;
      }
      if (!isAtEnd && mayContinue(bytes, view, at, filled)) break;
      if (!isInDamage) this.damagedPlaces++;
      isInDamage = true;
      // Records are multiples of 4 bytes, and so are the places where they begin.
      const step = Math.min(4, filled - at);
      this.skippedBytes += step;
      at += step;
    }
    this.#scanAt = at;
    this.#isInDamage = isInDamage && !isAtEnd;
    return false;
  }

  async #fill(): Promise<boolean> {
    this.#bytes.copyWithin(0, this.#scanAt, this.#filled);
    this.#base += this.#scanAt;
    this.#filled -= this.#scanAt;
    this.#scanAt = 0;
    const room = this.#bytes.length - this.#filled;
    const { bytesRead } = await this.#handle.read(this.#bytes, this.#filled, room, this.#base + this.#filled);
    this.#filled += bytesRead;
    return bytesRead > 0;
  }
}

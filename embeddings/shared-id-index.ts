import { EmbeddingError } from './errors.ts';

/** Crosses threads by workerData or postMessage. */
export type IdIndexShared = {
  readonly capacity: number;
  readonly slots: SharedArrayBuffer;
  readonly blocks: SharedArrayBuffer;
  readonly state: SharedArrayBuffer;
};

/** Longest id in UTF-8. Longer ones are refused when set, and unknown when asked for, without being read. */
export const idBytesMax = 4096;

/** Two thirds full at most: a known id is found after 1.5 slots on average, an unknown one is missed after 4. */
const slotsPerId = 1.5;
/** A slot is the place of a block (in words, never 0) above this many bits of the hash; 0 = empty. */
const tagBits = 5;
const tagMask = (1 << tagBits) - 1;
/** 512 MiB of blocks: what a place can reach. 13 million ids of 32 bytes. */
const blockWordsMax = 2 ** (32 - tagBits);
/** A block: the row, the length of the id in bytes, the id filled up with zeros to whole words. */
const rowWord = 0;
const lengthWord = 1;
const idWord = 2;
/** Row, length, and up to three bytes of filling. */
const blockBytesBesideId = 11;
const countWord = 0;
const usedWord = 1;

/**
 * Text id → row number in shared memory: one writer, many readers in other threads, nothing allocated by `get`.
 *
 * Open addressing with linear probing over words of four bytes, 16 to a cache line; five bits of the hash in each let a probe look
 * at an id in vain once in 32 times. So a known id costs two cache misses, whatever the number of ids. 4 bytes a slot at 1.5 slots
 * an id, row and length, 1.5 bytes of filling: 15.5 bytes an id beside its text. A block is complete before its slot is stored, so
 * a reader sees all of it or nothing. Ids are never taken out; set the row to −1 for one that means nothing any more.
 */
export class SharedIdIndex {
  readonly #capacity: number;
  readonly #slotCount: number;
  readonly #slots: Int32Array;
  readonly #blocks: Int32Array;
  readonly #state: Int32Array;
  /** The id being looked for, in UTF-8, and what `#encode` found out about it. */
  readonly #key = new Uint8Array(idBytesMax + 8);
  readonly #keyWords = new Int32Array(this.#key.buffer);
  #keyLength = 0;
  #hash = 0;

  /** `textBytes`: sum of the ids' lengths in UTF-8. */
  static allocate(capacity: number, textBytes: number): IdIndexShared {
    const blockWords = 1 + Math.ceil((textBytes + capacity * blockBytesBesideId) / 4);
    if (blockWords > blockWordsMax) throw new RangeError(`Ids of ${textBytes} bytes are more than an index reaches.`);
    const state = new SharedArrayBuffer(8);
    new Int32Array(state)[usedWord] = 1;
    return {
      capacity,
      slots: new SharedArrayBuffer(slotCountOf(capacity) * 4),
      blocks: new SharedArrayBuffer(blockWords * 4),
      state,
    };
  }

  constructor(shared: IdIndexShared) {
    this.#capacity = shared.capacity;
    this.#slotCount = slotCountOf(shared.capacity);
    this.#slots = new Int32Array(shared.slots);
    this.#blocks = new Int32Array(shared.blocks);
    this.#state = new Int32Array(shared.state);
  }

  get count(): number {
    return Atomics.load(this.#state, countWord);
  }

  /** The row last set for this id; −1 when it is unknown. */
  get(id: string): number {
    if (!this.#encode(id)) return -1;
    const slot = this.#find();
    return slot < 0 ? -1 : Atomics.load(this.#blocks, this.#blockOf(slot) + rowWord);
  }

  /** The one writer. A known id gets another row; a new one takes room and throws `ID_INDEX_FULL` when there is none. */
  set(id: string, row: number): void {
    if (!this.#encode(id)) throw new EmbeddingError('ID_TOO_LONG', `${id.slice(0, 32)}…`);
    const found = this.#find();
    if (found >= 0) {
      Atomics.store(this.#blocks, this.#blockOf(found) + rowWord, row);
      return;
    }
    const words = (this.#keyLength + 3) >> 2;
    const block = this.#state[usedWord]!;
    if (this.count >= this.#capacity || block + idWord + words > this.#blocks.length)
      throw new EmbeddingError('ID_INDEX_FULL', `${this.count} ids in ${block * 4} bytes`);
    this.#blocks[block + rowWord] = row;
    this.#blocks[block + lengthWord] = this.#keyLength;
    for (let index = 0; index < words; index++) this.#blocks[block + idWord + index] = this.#keyWords[index]!;
    this.#state[usedWord] = block + idWord + words;
    Atomics.store(this.#slots, -1 - found, (block << tagBits) | (this.#hash & tagMask));
    Atomics.add(this.#state, countWord, 1);
  }

  /** Slot of the encoded key, or −1 − the empty slot where it would go. */
  #find(): number {
    const slots = this.#slots;
    const slotCount = this.#slotCount;
    const tag = this.#hash & tagMask;
    // The place comes from the high bits of the hash, the tag from the low ones.
    let slot = Math.floor((this.#hash * slotCount) / 4_294_967_296);
    for (;;) {
      const seen = Atomics.load(slots, slot);
      if (seen === 0) return -1 - slot;
      if ((seen & tagMask) === tag && this.#isKeyAt(seen >>> tagBits)) return slot;
      if (++slot === slotCount) slot = 0;
    }
  }

  #blockOf(slot: number): number {
    return Atomics.load(this.#slots, slot) >>> tagBits;
  }

  #isKeyAt(block: number): boolean {
    const blocks = this.#blocks;
    const keyWords = this.#keyWords;
    const length = this.#keyLength;
    if (blocks[block + lengthWord] !== length) return false;
    const words = (length + 3) >> 2;
    for (let index = 0; index < words; index++) if (blocks[block + idWord + index] !== keyWords[index]) return false;
    return true;
  }

  /**
   * UTF-8 and hash. A surrogate without its other half becomes three bytes of its own, so that different texts never encode
   * alike. False when the id is too long. Hashed and compared by words of four bytes: a third of the time of going by bytes.
   */
  #encode(id: string): boolean {
    const key = this.#key;
    if (id.length > idBytesMax) return false;
    let length = 0;
    for (; length < id.length; length++) {
      const unit = id.charCodeAt(length);
      if (unit >= 0x80) break;
      key[length] = unit;
    }
    if (length < id.length) {
      length = this.#encodeRest(id, length);
      if (length > idBytesMax) return false;
    }
    // The last word is filled up with zeros; the length tells an id from one that ends in zeros itself.
    key[length] = 0;
    key[length + 1] = 0;
    key[length + 2] = 0;
    const words = (length + 3) >> 2;
    let hash = length;
    for (let index = 0; index < words; index++) {
      hash = Math.imul(hash ^ this.#keyWords[index]!, 0x9e37_79b1);
      hash ^= hash >>> 15;
    }
    hash = Math.imul(hash, 0x85eb_ca6b);
    hash ^= hash >>> 13;
    hash = Math.imul(hash, 0xc2b2_ae35);
    this.#hash = (hash ^ (hash >>> 16)) >>> 0;
    this.#keyLength = length;
    return true;
  }

  /** From the first character that is not ASCII; `index` characters are `index` bytes so far. Returns the length in bytes. */
  #encodeRest(id: string, from: number): number {
    const key = this.#key;
    let length = from;
    for (let index = from; index < id.length && length <= idBytesMax; index++) {
      let unit = id.charCodeAt(index);
      if (unit < 0x80) {
        key[length++] = unit;
        continue;
      }
      const low = id.charCodeAt(index + 1);
      if (unit >= 0xd800 && unit < 0xdc00 && low >= 0xdc00 && low < 0xe000) {
        unit = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        index++;
      }
      if (unit < 0x800) key[length++] = 0xc0 | (unit >> 6);
      else {
        if (unit < 0x1_0000) key[length++] = 0xe0 | (unit >> 12);
        else {
          key[length++] = 0xf0 | (unit >> 18);
          key[length++] = 0x80 | ((unit >> 12) & 0x3f);
        }
        key[length++] = 0x80 | ((unit >> 6) & 0x3f);
      }
      key[length++] = 0x80 | (unit & 0x3f);
    }
    return length;
  }
}

/** Never full, so that every search ends. */
function slotCountOf(capacity: number): number {
  return Math.ceil(capacity * slotsPerId) + 1;
}

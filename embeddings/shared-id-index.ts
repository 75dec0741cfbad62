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

/** Keys of `getMany` that are looked for side by side: as many cache misses as a core has under way at once, and some to spare. */
const batchCount = 32;
/** Encoded keys of a batch, in words; a batch is cut where the longest id might not fit any more. */
const batchWords = 4096;
const keyWordsMax = (idBytesMax + 8) / 4;

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
  /** Ids being looked for, in UTF-8, and what `#encode` found out about the last one. */
  readonly #keyWords = new Int32Array(batchWords);
  readonly #keyBytes = new Uint8Array(this.#keyWords.buffer);
  #keyAt = 0;
  #keyLength = 0;
  #hash = 0;
  readonly #batchAt = new Int32Array(batchCount);
  readonly #batchLength = new Int32Array(batchCount);
  readonly #batchHash = new Uint32Array(batchCount);
  readonly #batchSlot = new Int32Array(batchCount);
  readonly #batchSeen = new Int32Array(batchCount);
  /** What was read only to have it in the cache; kept, so that reading it is not left out. */
  readonly #touched = new Int32Array(1);

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
    if (!this.#encode(id, 0)) return -1;
    const slot = this.#find();
    return slot < 0 ? -1 : Atomics.load(this.#blocks, this.#blockOf(slot) + rowWord);
  }

  /**
   * The rows of the first `count` ids into `rows`, −1 for unknown ones. Ids go in batches, step by step, so that their cache misses
   * overlap: of ids that are not in the cache, several are found in the time of one.
   */
  getMany(ids: readonly string[], count: number, rows: Int32Array): void {
    for (let from = 0; from < count;) from = this.#getBatch(ids, from, Math.min(count, from + batchCount), rows);
  }

  #getBatch(ids: readonly string[], from: number, to: number, rows: Int32Array): number {
    const slots = this.#slots;
    const blocks = this.#blocks;
    const batchSlot = this.#batchSlot;
    let end = from;
    for (let at = 0; end < to && at + keyWordsMax <= batchWords; end++) {
      const place = end - from;
      if (!this.#encode(ids[end]!, at)) {
        this.#batchLength[place] = -1;
        batchSlot[place] = 0;
        continue;
      }
      this.#batchAt[place] = at;
      this.#batchLength[place] = this.#keyLength;
      this.#batchHash[place] = this.#hash;
      batchSlot[place] = this.#firstSlot(this.#hash);
      at += (this.#keyLength + 3) >> 2;
    }
    const placeCount = end - from;
    for (let place = 0; place < placeCount; place++) this.#batchSeen[place] = Atomics.load(slots, batchSlot[place]!);
    let touched = 0;
    for (let place = 0; place < placeCount; place++) touched += blocks[this.#batchSeen[place]! >>> tagBits]!;
    this.#touched[0] = touched;
    for (let place = 0; place < placeCount; place++) {
      if (this.#batchLength[place]! < 0) {
        rows[from + place] = -1;
        continue;
      }
      this.#keyAt = this.#batchAt[place]!;
      this.#keyLength = this.#batchLength[place]!;
      this.#hash = this.#batchHash[place]!;
      const slot = this.#find();
      rows[from + place] = slot < 0 ? -1 : Atomics.load(blocks, this.#blockOf(slot) + rowWord);
    }
    return end;
  }

  /** The one writer. A known id gets another row; a new one takes room and throws `ID_INDEX_FULL` when there is none. */
  set(id: string, row: number): void {
    if (!this.#encode(id, 0)) throw new EmbeddingError('ID_TOO_LONG', `${id.slice(0, 32)}…`);
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
    let slot = this.#firstSlot(this.#hash);
    for (;;) {
      const seen = Atomics.load(slots, slot);
      if (seen === 0) return -1 - slot;
      if ((seen & tagMask) === tag && this.#isKeyAt(seen >>> tagBits)) return slot;
      if (++slot === slotCount) slot = 0;
    }
  }

  /** The place comes from the high bits of the hash, the tag from the low ones. */
  #firstSlot(hash: number): number {
    return Math.floor((hash * this.#slotCount) / 4_294_967_296);
  }

  #blockOf(slot: number): number {
    return Atomics.load(this.#slots, slot) >>> tagBits;
  }

  #isKeyAt(block: number): boolean {
    const blocks = this.#blocks;
    const keyWords = this.#keyWords;
    const keyAt = this.#keyAt;
    const length = this.#keyLength;
    if (blocks[block + lengthWord] !== length) return false;
    const words = (length + 3) >> 2;
    for (let index = 0; index < words; index++)
      if (blocks[block + idWord + index] !== keyWords[keyAt + index]) return false;
    return true;
  }

  /**
   * UTF-8 and hash, from the `at`-th word on. A surrogate without its other half becomes three bytes of its own, so that different
   * texts never encode alike. False when the id is too long. Written, hashed and compared by words of four bytes.
   */
  #encode(id: string, at: number): boolean {
    const { length } = id;
    if (length > idBytesMax) return false;
    const keyWords = this.#keyWords;
    const whole = length & ~3;
    let units = 0;
    let hash = length;
    let place = at;
    let index = 0;
    for (; index < whole; index += 4) {
      const first = id.charCodeAt(index);
      const second = id.charCodeAt(index + 1);
      const third = id.charCodeAt(index + 2);
      const fourth = id.charCodeAt(index + 3);
      units |= first | second | third | fourth;
      const word = first | (second << 8) | (third << 16) | (fourth << 24);
      keyWords[place++] = word;
      hash = Math.imul(hash ^ word, hashFactor);
      hash ^= hash >>> 15;
    }
    if (index < length) {
      // The last word is filled up with zeros; the length tells an id from one that ends in zeros itself.
      let word = 0;
      for (let shift = 0; index < length; index++, shift += 8) {
        const unit = id.charCodeAt(index);
        units |= unit;
        word |= unit << shift;
      }
      keyWords[place] = word;
      hash = Math.imul(hash ^ word, hashFactor);
      hash ^= hash >>> 15;
    }
    if (units >= 0x80) return this.#encodeAny(id, at);
    this.#keyAt = at;
    this.#keyLength = length;
    this.#hash = mixed(hash);
    return true;
  }

  /** As `#encode`, for ids that are not ASCII. */
  #encodeAny(id: string, at: number): boolean {
    const bytes = this.#keyBytes;
    const start = at * 4;
    const length = this.#encodeRest(id, start) - start;
    if (length > idBytesMax) return false;
    bytes.fill(0, start + length, start + length + 3);
    const words = (length + 3) >> 2;
    let hash = length;
    for (let index = 0; index < words; index++) {
      hash = Math.imul(hash ^ this.#keyWords[at + index]!, hashFactor);
      hash ^= hash >>> 15;
    }
    this.#keyAt = at;
    this.#keyLength = length;
    this.#hash = mixed(hash);
    return true;
  }

  /** Returns where the bytes end: at most a few behind the longest id, where it stops. */
  #encodeRest(id: string, start: number): number {
    const key = this.#keyBytes;
    const endMax = start + idBytesMax;
    let length = start;
    for (let index = 0; index < id.length && length <= endMax; index++) {
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

const hashFactor = 0x9e37_79b1;

/** The last step of MurmurHash3: every bit of the hash depends on all of the text. */
function mixed(hash: number): number {
  let mixture = Math.imul(hash, 0x85eb_ca6b);
  mixture ^= mixture >>> 13;
  mixture = Math.imul(mixture, 0xc2b2_ae35);
  return (mixture ^ (mixture >>> 16)) >>> 0;
}

/** Never full, so that every search ends. */
function slotCountOf(capacity: number): number {
  return Math.ceil(capacity * slotsPerId) + 1;
}

import { EmbeddingError } from './errors.ts';
import { finishedHash } from './hash-finish.ts';

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

/** Keys of `getMany` that are looked for side by side: more than the cache misses that a core has under way at once. */
const batchCount = 64;
/** Texts of a batch. A key takes 24 bytes or so; a batch is cut where they do not fit. */
const batchBytes = 8192;
/** A last word is read past the end of its text, and a text that is not ASCII must not end where an ASCII one might. */
const batchSpareBytes = 8;

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
  readonly #keyWords = new Int32Array((idBytesMax + 8) / 4);
  readonly #keyBytes = new Uint8Array(this.#keyWords.buffer);
  #keyLength = 0;
  #hash = 0;
  /** The ids of a batch, one after another. */
  readonly #texts = Buffer.alloc(batchBytes + batchSpareBytes);
  readonly #textWords = new DataView(this.#texts.buffer, this.#texts.byteOffset, this.#texts.length);
  readonly #batchLength = new Int32Array(batchCount);
  readonly #batchHash = new Uint32Array(batchCount);
  readonly #batchSlot = new Int32Array(batchCount);
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
    if (!this.#encode(id)) return -1;
    const block = this.#find();
    return block < 0 ? -1 : this.#blocks[block + rowWord]!;
  }

  /**
   * The rows of the first `count` ids into `rows`, −1 for unknown ones; two thirds of the time of asking for one after another. The
   * ids of a batch are joined and encoded by one call, and looked for step by step, so that their cache misses overlap.
   */
  getMany(ids: readonly string[], count: number, rows: Int32Array): void {
    for (let from = 0; from < count;) from = this.#getBatch(ids, from, Math.min(count, from + batchCount), rows);
  }

  /** Returns where the next batch begins. */
  #getBatch(ids: readonly string[], from: number, to: number, rows: Int32Array): number {
    const lengths = this.#batchLength;
    let joined = '';
    let total = 0;
    let end = from;
    for (; end < to; end++) {
      const id = ids[end]!;
      const { length } = id;
      lengths[end - from] = length;
      if (length > idBytesMax) continue;
      if (total + length > batchBytes) break;
      joined += id;
      total += length;
    }
    // As many bytes as characters: all of it is ASCII.
    if (this.#texts.write(joined, 'utf8') === total) this.#findBatch(from, end - from, rows);
    else for (let index = from; index < end; index++) rows[index] = this.get(ids[index]!);
    return end;
  }

  #findBatch(from: number, count: number, rows: Int32Array): void {
    const slots = this.#slots;
    const blocks = this.#blocks;
    const lengths = this.#batchLength;
    const hashes = this.#batchHash;
    const candidates = this.#batchSlot;
    for (let index = 0, at = 0; index < count; index++) {
      const length = lengths[index]!;
      if (length > idBytesMax) continue;
      hashes[index] = this.#hashAt(at, length);
      at += length;
    }
    let touched = 0;
    for (let index = 0; index < count; index++) touched ^= slots[this.#firstSlot(hashes[index]!)]!;
    for (let index = 0; index < count; index++) {
      const slot = this.#slotOfTag(this.#firstSlot(hashes[index]!), hashes[index]!);
      candidates[index] = slot;
      // The id may reach into the next line of the cache.
      const block = slots[slot]! >>> tagBits;
      touched ^= blocks[block]! ^ blocks[block + idWord + (lengths[index]! >> 2)]!;
    }
    this.#touched[0] = touched;
    for (let index = 0, at = 0; index < count; index++) {
      const length = lengths[index]!;
      rows[from + index] = length > idBytesMax ? -1 : this.#rowOfText(at, length, hashes[index]!, candidates[index]!);
      if (length <= idBytesMax) at += length;
    }
  }

  /** The hash that `#encode` would find, of the text at this byte of the batch. */
  #hashAt(start: number, length: number): number {
    const words = this.#textWords;
    const end = start + (length & ~3);
    let hash = length;
    let at = start;
    for (; at < end; at += 4) {
      hash = Math.imul(hash ^ words.getInt32(at, true), hashFactor);
      hash ^= hash >>> 15;
    }
    if ((length & 3) !== 0) {
      hash = Math.imul(hash ^ (words.getInt32(at, true) & lastWordMask(length)), hashFactor);
      hash ^= hash >>> 15;
    }
    return finishedHash(hash) >>> 0;
  }

  /** The first slot from here on that is empty, or may hold an id of this hash. */
  #slotOfTag(from: number, hash: number): number {
    const slots = this.#slots;
    const slotCount = this.#slotCount;
    const tag = hash & tagMask;
    let slot = from;
    for (;;) {
      const seen = slots[slot]!;
      if (seen === 0 || (seen & tagMask) === tag) return slot;
      if (++slot === slotCount) slot = 0;
    }
  }

  #rowOfText(at: number, length: number, hash: number, candidate: number): number {
    for (let slot = candidate; ; slot = this.#slotOfTag(slot + 1 === this.#slotCount ? 0 : slot + 1, hash)) {
      const seen = this.#slots[slot]!;
      if (seen === 0) return -1;
      const block = seen >>> tagBits;
      if (this.#isTextAt(block, at, length)) return this.#blocks[block + rowWord]!;
    }
  }

  #isTextAt(block: number, start: number, length: number): boolean {
    const blocks = this.#blocks;
    const words = this.#textWords;
    if (blocks[block + lengthWord] !== length) return false;
    const end = start + (length & ~3);
    let word = block + idWord;
    let at = start;
    for (; at < end; at += 4) if (words.getInt32(at, true) !== blocks[word++]) return false;
    return (length & 3) === 0 || (words.getInt32(at, true) & lastWordMask(length)) === blocks[word];
  }

  /** The one writer. A known id gets another row; a new one takes room and throws `ID_INDEX_FULL` when there is none. */
  set(id: string, row: number): void {
    if (!this.#encode(id)) throw new EmbeddingError('ID_TOO_LONG', `${id.slice(0, 32)}…`);
    const found = this.#find();
    if (found >= 0) {
      Atomics.store(this.#blocks, found + rowWord, row);
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

  /** Block of the encoded key, or −1 − the empty slot where it would go. */
  #find(): number {
    const slots = this.#slots;
    const slotCount = this.#slotCount;
    const tag = this.#hash & tagMask;
    let slot = this.#firstSlot(this.#hash);
    for (;;) {
      // Plainly: `Atomics.load` is a call of 15 ns in V8, a third of a search. What a block holds is read through the place that its
      // slot gave, and neither x86 nor ARM reads through an address before it has it.
      const seen = slots[slot]!;
      if (seen === 0) return -1 - slot;
      if ((seen & tagMask) === tag && this.#isKeyAt(seen >>> tagBits)) return seen >>> tagBits;
      if (++slot === slotCount) slot = 0;
    }
  }

  /** The place comes from the high bits of the hash, the tag from the low ones. */
  #firstSlot(hash: number): number {
    return Math.floor((hash * this.#slotCount) / 4_294_967_296);
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
   * UTF-8 and hash. A surrogate without its other half becomes three bytes of its own, so that different
   * texts never encode alike. False when the id is too long. Written, hashed and compared by words of four bytes.
   */
  #encode(id: string): boolean {
    const { length } = id;
    if (length > idBytesMax) return false;
    const keyWords = this.#keyWords;
    const whole = length & ~3;
    let units = 0;
    let hash = length;
    let place = 0;
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
    if (units >= 0x80) return this.#encodeAny(id);
    this.#keyLength = length;
    this.#hash = finishedHash(hash) >>> 0;
    return true;
  }

  /** As `#encode`, for ids that are not ASCII. */
  #encodeAny(id: string): boolean {
    const length = this.#encodeBytes(id);
    if (length > idBytesMax) return false;
    this.#keyBytes.fill(0, length, length + 3);
    const words = (length + 3) >> 2;
    let hash = length;
    for (let index = 0; index < words; index++) {
      hash = Math.imul(hash ^ this.#keyWords[index]!, hashFactor);
      hash ^= hash >>> 15;
    }
    this.#keyLength = length;
    this.#hash = finishedHash(hash) >>> 0;
    return true;
  }

  /** Returns the length in bytes; a few more than the longest id may have, where it stops. */
  #encodeBytes(id: string): number {
    const key = this.#keyBytes;
    let length = 0;
    for (let index = 0; index < id.length && length <= idBytesMax; index++) {
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

/** The bytes of a last word that is not whole. */
function lastWordMask(length: number): number {
  return (1 << ((length & 3) << 3)) - 1;
}

/** Never full, so that every search ends. */
function slotCountOf(capacity: number): number {
  return Math.ceil(capacity * slotsPerId) + 1;
}

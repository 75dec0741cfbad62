const noSlot = -1;
const slotsAtFirst = 1024;
/** Keys and values lie in slabs: an allocation of their own each would cost 1 µs, and a view of a reply would keep 64 KiB of it. */
const slabBytes = 16_384;
/** Longest chain of one hash bucket: nobody who picks their keys makes a thread walk further. */
const chainMax = 32;

type Slab = { readonly bytes: Buffer; used: number; live: number };

/**
 * What one thread keeps of what it read: (table, key) → value or the knowledge that there is none, each until its own time, the
 * least recently used one going first when entries or bytes run out. Past its time an entry may stay for a while, to be found by
 * `findStale` alone. Bytes are counted by slab, and a slab goes with its last entry,
 * so the limit is what is truly held. Finding allocates nothing; slots are good until the next `put` or `drop`.
 */
export class ValueCache {
  readonly #entriesMax: number;
  readonly #bytesMax: number;
  readonly #seed: number;
  /** Buckets hold a slot each (−1: none), slots of one bucket are chained by `#chain`. */
  #heads = new Int32Array(slotsAtFirst).fill(noSlot);
  #chain = new Int32Array(slotsAtFirst);
  #older = new Int32Array(slotsAtFirst);
  #newer = new Int32Array(slotsAtFirst);
  #hashes = new Int32Array(slotsAtFirst);
  #tables = new Uint8Array(slotsAtFirst);
  #tableAges = new Uint32Array(slotsAtFirst);
  #keyStarts = new Uint32Array(slotsAtFirst);
  #keyLengths = new Uint16Array(slotsAtFirst);
  #expiresMs = new Float64Array(slotsAtFirst);
  #goneMs = new Float64Array(slotsAtFirst);
  #writtenMs = new Float64Array(slotsAtFirst);
  readonly #values: (Buffer | undefined)[] = [];
  readonly #slabs: (Slab | undefined)[] = [];
  readonly #free: number[] = [];
  /** An entry of an older age of its table is as good as gone. */
  readonly #ages = new Uint32Array(256);
  #slotCount = 0;
  #newest = noSlot;
  #oldest = noSlot;
  #entries = 0;
  #bytes = 0;
  #evicted = 0;
  #slab: Slab | undefined;

  /** `seed`: so that nobody outside knows which keys meet in a bucket. */
  constructor(entriesMax: number, bytesMax: number, seed: number) {
    this.#entriesMax = entriesMax;
    this.#bytesMax = bytesMax;
    this.#seed = seed | 0;
  }

  get entries(): number {
    return this.#entries;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get evicted(): number {
    return this.#evicted;
  }

  /** Hash of a key from `start` on: compute it once, and hand it to the others. */
  hashOf(table: number, key: Buffer, start = 0): number {
    const { length } = key;
    const whole = start + ((length - start) & ~3);
    let hash = this.#seed ^ Math.imul(table + 1, 0x9e37_79b1);
    let at = start;
    for (; at < whole; at += 4) {
      const word = key[at]! | (key[at + 1]! << 8) | (key[at + 2]! << 16) | (key[at + 3]! << 24);
      hash = Math.imul(hash ^ word, 0x85eb_ca6b);
      hash ^= hash >>> 15;
    }
    for (; at < length; at++) hash = Math.imul(hash ^ key[at]!, 0x0100_0193);
    hash = Math.imul(hash ^ (hash >>> 16), 0xc2b2_ae35);
    return hash ^ (hash >>> 13);
  }

  /** The slot of a live entry, −1 when there is none. */
  find(table: number, hash: number, key: Buffer, nowMs: number): number {
    const slot = this.#keptSlot(table, hash, key, 0, nowMs);
    if (slot < 0 || nowMs >= this.#expiresMs[slot]!) return noSlot;
    this.#use(slot);
    return slot;
  }

  /** The slot of an entry that may be past its time, for whoever could not get another; `key` is compared from `start` on. */
  findStale(table: number, hash: number, key: Buffer, start: number, nowMs: number): number {
    const slot = this.#keptSlot(table, hash, key, start, nowMs);
    if (slot >= 0) this.#use(slot);
    return slot;
  }

  /** Undefined: it is known that there is no value. */
  valueAt(slot: number): Buffer | undefined {
    return this.#values[slot];
  }

  writtenMsAt(slot: number): number {
    return this.#writtenMs[slot]!;
  }

  /**
   * Keeps a copy of the value (undefined: there is none) under the key's bytes from `start` on. Found until `expiresMs`, found as stale
   * until `goneMs`.
   */
  put(
    table: number,
    hash: number,
    key: Buffer,
    start: number,
    value: Buffer | undefined,
    writtenMs: number,
    expiresMs: number,
    goneMs: number = expiresMs,
  ): void {
    const keyLength = key.length - start;
    const bytes = keyLength + (value?.length ?? 0);
    const known = this.#slotOf(table, hash, key, start);
    if (known >= 0) this.#remove(known);
    if (bytes > this.#bytesMax || this.#entriesMax === 0) return;
    if (this.#chainLength(hash) >= chainMax) return;
    while (this.#entries >= this.#entriesMax) this.#evict();
    const slab = this.#room(bytes);
    const slot = this.#free.pop() ?? this.#newSlot();
    const keyStart = slab.used;
    key.copy(slab.bytes, keyStart, start);
    if (value !== undefined) slab.bytes.set(value, keyStart + keyLength);
    slab.used += bytes;
    slab.live += 1;
    this.#slabs[slot] = slab;
    this.#values[slot] = value === undefined ? undefined : slab.bytes.subarray(keyStart + keyLength, keyStart + bytes);
    this.#keyStarts[slot] = keyStart;
    this.#keyLengths[slot] = keyLength;
    this.#hashes[slot] = hash;
    this.#tables[slot] = table;
    this.#tableAges[slot] = this.#ages[table]!;
    this.#expiresMs[slot] = expiresMs;
    this.#goneMs[slot] = goneMs;
    this.#writtenMs[slot] = writtenMs;
    const bucket = hash & (this.#heads.length - 1);
    this.#chain[slot] = this.#heads[bucket]!;
    this.#heads[bucket] = slot;
    this.#linkNewest(slot);
    this.#entries += 1;
  }

  drop(table: number, hash: number, key: Buffer, start = 0): void {
    const slot = this.#slotOf(table, hash, key, start);
    if (slot >= 0) this.#remove(slot);
  }

  /** Costs nothing now: its entries go when they are met, or as the oldest. */
  dropTable(table: number): void {
    this.#ages[table]! += 1;
  }

  clear(): void {
    while (this.#oldest >= 0) this.#remove(this.#oldest);
    this.#slab = undefined;
    this.#bytes = 0;
  }

  #slotOf(table: number, hash: number, key: Buffer, start: number): number {
    let slot = this.#heads[hash & (this.#heads.length - 1)]!;
    for (; slot >= 0; slot = this.#chain[slot]!) {
      if (this.#hashes[slot] === hash && this.#tables[slot] === table && this.#isKey(slot, key, start)) return slot;
    }
    return noSlot;
  }

  /** As `#slotOf`, without what is good for nothing any more: that goes. */
  #keptSlot(table: number, hash: number, key: Buffer, start: number, nowMs: number): number {
    const slot = this.#slotOf(table, hash, key, start);
    if (slot < 0) return noSlot;
    if (nowMs < this.#goneMs[slot]! && this.#tableAges[slot] === this.#ages[table]) return slot;
    this.#remove(slot);
    return noSlot;
  }

  /** Makes it the newest. */
  #use(slot: number): void {
    if (slot === this.#newest) return;
    this.#unlink(slot);
    this.#linkNewest(slot);
  }

  #isKey(slot: number, key: Buffer, start: number): boolean {
    const length = this.#keyLengths[slot]!;
    if (length !== key.length - start) return false;
    const { bytes } = this.#slabs[slot]!;
    const from = this.#keyStarts[slot]!;
    for (let at = 0; at < length; at++) if (bytes[from + at] !== key[start + at]) return false;
    return true;
  }

  #chainLength(hash: number): number {
    let length = 0;
    for (let slot = this.#heads[hash & (this.#heads.length - 1)]!; slot >= 0; slot = this.#chain[slot]!) length += 1;
    return length;
  }

  /** A slab with room for so many bytes, within the limit. */
  #room(bytes: number): Slab {
    const current = this.#slab;
    if (current !== undefined && current.bytes.length - current.used >= bytes) return current;
    this.#retire(current);
    this.#slab = undefined;
    const size = Math.max(bytes, Math.min(slabBytes, this.#bytesMax));
    while (this.#bytes + size > this.#bytesMax && this.#oldest >= 0) this.#evict();
    const slab = { bytes: Buffer.allocUnsafeSlow(size), used: 0, live: 0 };
    this.#bytes += size;
    this.#slab = slab;
    return slab;
  }

  #retire(slab: Slab | undefined): void {
    if (slab !== undefined && slab.live === 0) this.#bytes -= slab.bytes.length;
  }

  #evict(): void {
    this.#remove(this.#oldest);
    this.#evicted += 1;
  }

  #remove(slot: number): void {
    const bucket = this.#hashes[slot]! & (this.#heads.length - 1);
    let at = this.#heads[bucket]!;
    if (at === slot) this.#heads[bucket] = this.#chain[slot]!;
    else {
      while (this.#chain[at] !== slot) at = this.#chain[at]!;
      this.#chain[at] = this.#chain[slot]!;
    }
    this.#unlink(slot);
    const slab = this.#slabs[slot]!;
    slab.live -= 1;
    if (slab.live === 0 && slab !== this.#slab) this.#bytes -= slab.bytes.length;
    this.#slabs[slot] = undefined;
    this.#values[slot] = undefined;
    this.#free.push(slot);
    this.#entries -= 1;
  }

  #unlink(slot: number): void {
    const older = this.#older[slot]!;
    const newer = this.#newer[slot]!;
    if (older >= 0) this.#newer[older] = newer;
    else this.#oldest = newer;
    if (newer >= 0) this.#older[newer] = older;
    else this.#newest = older;
  }

  #linkNewest(slot: number): void {
    this.#older[slot] = this.#newest;
    this.#newer[slot] = noSlot;
    if (this.#newest >= 0) this.#newer[this.#newest] = slot;
    else this.#oldest = slot;
    this.#newest = slot;
  }

  #newSlot(): number {
    if (this.#slotCount === this.#chain.length) this.#grow();
    const slot = this.#slotCount;
    this.#slotCount += 1;
    this.#values.push(undefined);
    this.#slabs.push(undefined);
    return slot;
  }

  #grow(): void {
    const count = this.#chain.length * 2;
    this.#chain = grown(this.#chain, new Int32Array(count));
    this.#older = grown(this.#older, new Int32Array(count));
    this.#newer = grown(this.#newer, new Int32Array(count));
    this.#hashes = grown(this.#hashes, new Int32Array(count));
    this.#tables = grown(this.#tables, new Uint8Array(count));
    this.#tableAges = grown(this.#tableAges, new Uint32Array(count));
    this.#keyStarts = grown(this.#keyStarts, new Uint32Array(count));
    this.#keyLengths = grown(this.#keyLengths, new Uint16Array(count));
    this.#expiresMs = grown(this.#expiresMs, new Float64Array(count));
    this.#goneMs = grown(this.#goneMs, new Float64Array(count));
    this.#writtenMs = grown(this.#writtenMs, new Float64Array(count));
    this.#heads = new Int32Array(count).fill(noSlot);
    for (let slot = this.#oldest; slot >= 0; slot = this.#newer[slot]!) {
      const bucket = this.#hashes[slot]! & (count - 1);
      this.#chain[slot] = this.#heads[bucket]!;
      this.#heads[bucket] = slot;
    }
  }
}

function grown<Column extends { set(from: Column): void }>(from: Column, to: Column): Column {
  to.set(from);
  return to;
}

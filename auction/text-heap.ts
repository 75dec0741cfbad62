/** Texts in shared memory: UTF-8, each after its length. A reference is where it starts; 0 is the empty text. */
export type TextHeapShared = { readonly bytes: SharedArrayBuffer; readonly used: SharedArrayBuffer };

/** Longer texts are refused by whoever fills the heap: the longest field of the catalog is 2,048 characters, a targeting 1 MiB. */
const bytesOfLengthMax = 4;

/** Some 6 MB of the main thread; texts beyond that are kept twice rather than remembered. */
const internedCountMax = 65_536;

/** A reader's view: any thread. */
export class TextHeap {
  readonly #bytes: Buffer;

  constructor(shared: TextHeapShared) {
    this.#bytes = Buffer.from(shared.bytes);
  }

  read(reference: number): string {
    return readAt(this.#bytes, reference);
  }
}

function readAt(bytes: Buffer, reference: number): string {
  if (reference === 0) return '';
  let at = reference;
  let length = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++]!;
    length |= (byte & 0x7f) << shift;
    if (byte < 0x80) break;
  }
  return bytes.toString('utf8', at, at + length);
}

/** The one writer. It grows until `share`, then lives in the shared memory with the headroom given; nothing is ever moved or freed. */
export class TextHeapWriter {
  #bytes: Buffer = Buffer.alloc(1 << 16);
  #used = 1;
  #shared: TextHeapShared | undefined;
  readonly #interned = new Map<string, number>();

  get usedBytes(): number {
    return this.#used;
  }
  get freeBytes(): number {
    return this.#shared === undefined ? Number.POSITIVE_INFINITY : this.#bytes.length - this.#used;
  }

  /** What `append` would take at most. */
  static bytesFor(text: string): number {
    return text === '' ? 0 : Buffer.byteLength(text) + bytesOfLengthMax;
  }

  /** The caller has made sure of the room (`freeBytes`). */
  append(text: string): number {
    if (text === '') return 0;
    let length = Buffer.byteLength(text);
    const needed = length + bytesOfLengthMax;
    if (this.#used + needed > this.#bytes.length) this.#grow(needed);
    const reference = this.#used;
    let at = reference;
    const byteCount = length;
    for (; length >= 0x80; length >>>= 7) this.#bytes[at++] = (length & 0x7f) | 0x80;
    this.#bytes[at++] = length;
    this.#bytes.write(text, at, 'utf8');
    this.#used = at + byteCount;
    if (this.#shared !== undefined) Atomics.store(new Uint32Array(this.#shared.used), 0, this.#used);
    return reference;
  }

  /** The same reference for the same text, for texts that many entries share; as long as there are not too many of them. */
  intern(text: string): number {
    let reference = this.#interned.get(text);
    if (reference === undefined) {
      reference = this.append(text);
      if (this.#interned.size < internedCountMax) this.#interned.set(text, reference);
    }
    return reference;
  }

  read(reference: number): string {
    return readAt(this.#bytes, reference);
  }

  share(headroomBytes: number): TextHeapShared {
    const bytes = new SharedArrayBuffer(this.#used + headroomBytes);
    const used = new SharedArrayBuffer(4);
    Buffer.from(bytes).set(this.#bytes.subarray(0, this.#used));
    new Uint32Array(used)[0] = this.#used;
    this.#bytes = Buffer.from(bytes);
    this.#shared = { bytes, used };
    return this.#shared;
  }

  #grow(needed: number): void {
    if (this.#shared !== undefined) throw new RangeError('The text heap is full.');
    const larger = Buffer.alloc(Math.max(this.#bytes.length * 2, this.#used + needed));
    larger.set(this.#bytes.subarray(0, this.#used));
    this.#bytes = larger;
  }
}

import { EmbeddingError } from '../errors.ts';
import { VectorQuantiser, type VectorScale } from '../quantisation.ts';

/** Of a tower's version, in keys: 64 bits of its hash tell towers apart. */
const versionBytesInKey = 8;
const scaleBytesInKey = 2;
/** Version of the payload in its envelope. */
export const userEmbeddingVersion = 1;

/**
 * Users' embeddings as stores keep them: one byte a number, under (tower version, scale, user). A reader needs the scale that the rows
 * were written by, so its hash is part of their keys: rows of another scale are missing instead of being misread, and those of two
 * towers live side by side while one replaces the other.
 */
export class UserEmbeddingRows {
  readonly #keyHead: Buffer;
  /** Exactly this long, one byte a dimension; anything else is no such row. */
  readonly payloadBytes: number;
  readonly #quantiser: VectorQuantiser;

  constructor(towerVersion: string, scale: VectorScale) {
    this.#quantiser = new VectorQuantiser(scale);
    this.#keyHead = Buffer.alloc(versionBytesInKey + scaleBytesInKey);
    this.#keyHead.write(towerVersion.slice(0, 2 * versionBytesInKey), 'hex');
    this.#keyHead.writeUInt16LE(scaleHash(scale), versionBytesInKey);
    this.payloadBytes = scale.dimension;
  }

  get scale(): VectorScale {
    return this.#quantiser.scale;
  }

  /** Under which the row of a user lies, without the prefix of a table. */
  keyOf(userKey: string): Buffer {
    const head = this.#keyHead;
    const bytes = Buffer.allocUnsafe(head.length + Buffer.byteLength(userKey));
    bytes.set(head, 0);
    bytes.write(userKey, head.length);
    return bytes;
  }

  /** Throws `VALUE_NOT_FINITE`. */
  encode(vector: Float32Array): Buffer {
    if (vector.length !== this.payloadBytes)
      throw new EmbeddingError('SIZE_MISMATCH', `a vector of ${vector.length} instead of ${this.payloadBytes}`);
    const payload = Buffer.alloc(this.payloadBytes);
    this.#quantiser.encodeInto(payload, 0, vector, 0);
    return payload;
  }

  /** False when the payload is no row of this table; `target` is untouched then. Allocates nothing. */
  decodeInto(target: Float32Array, payload: Uint8Array): boolean {
    if (payload.length !== this.payloadBytes) return false;
    this.#quantiser.decodeInto(target, 0, payload, 0);
    return true;
  }
}

/** 16 bits over the bounds of all dimensions (FNV-1a over their float32 words, folded). The mean does not change what a byte means. */
export function scaleHash({ min, max }: VectorScale): number {
  let hash = 0x811c_9dc5;
  for (const values of [min, max]) {
    const words = new Uint32Array(values.slice().buffer);
    for (const word of words) {
      hash = Math.imul(hash ^ word, 0x0100_0193);
      hash ^= hash >>> 15;
    }
  }
  return (hash ^ (hash >>> 16)) & 0xffff;
}

/** Mixes three integers into 32 random-looking bits: a fact about (seed, kind, index) that needs no table. */
export function hash32(seed: number, kind: number, index: number): number {
  let mixed = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(kind + 0x7f4a7c15, 0xc2b2ae35);
  mixed ^= mixed >>> 15;
  mixed = Math.imul(mixed ^ Math.imul(index + 1, 0x27d4eb2f), 0x2c1b3c6d);
  mixed ^= mixed >>> 12;
  mixed = Math.imul(mixed, 0x297a2d39);
  mixed ^= mixed >>> 15;
  mixed = Math.imul(mixed ^ index, 0x165667b1);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

/** Uniform in [0, 1). */
export function hashUniform(seed: number, kind: number, index: number): number {
  return hash32(seed, kind, index) / 4_294_967_296;
}

const quarter = 1 / 65_536;
/** Close to a standard normal (the sum of four uniforms): no logarithm, so the same bits on every machine. */
export function hashNormal(seed: number, kind: number, index: number): number {
  const one = hash32(seed, kind, index);
  const two = hash32(seed ^ 0x5bd1e995, kind, index);
  const sum = (one >>> 16) + (one & 0xffff) + (two >>> 16) + (two & 0xffff);
  return (sum * quarter - 2) * 1.732_050_8;
}

/** Position in `weights` (which add up to `total`) where the share `uniform` falls. For a handful of weights. */
export function pick(weights: readonly number[], total: number, uniform: number): number {
  let left = uniform * total;
  for (let index = 0; index < weights.length; index += 1) {
    left -= weights[index]!;
    if (left < 0) return index;
  }
  return weights.length - 1;
}

export function sumOf(weights: readonly number[]): number {
  return weights.reduce((sum, each) => sum + each, 0);
}

/** Draws from any number of weights in constant time (Walker's alias method, built as Vose does). */
export class AliasTable {
  readonly #keep: Float64Array;
  readonly #other: Uint32Array;

  constructor(weights: Float64Array) {
    const count = weights.length;
    const total = weights.reduce((sum, each) => sum + each, 0);
    this.#keep = weights.map((weight) => (weight * count) / total);
    this.#other = new Uint32Array(count);
    const small: number[] = [];
    const large: number[] = [];
    for (let index = 0; index < count; index += 1) (this.#keep[index]! < 1 ? small : large).push(index);
    while (small.length > 0 && large.length > 0) {
      const low = small.pop()!;
      const high = large.at(-1)!;
      this.#other[low] = high;
      this.#keep[high]! -= 1 - this.#keep[low]!;
      if (this.#keep[high]! < 1) small.push(large.pop()!);
    }
    for (const rest of [...small, ...large]) this.#keep[rest] = 1;
  }

  draw(uniform: number): number {
    const scaled = uniform * this.#keep.length;
    const index = Math.floor(scaled);
    return scaled - index < this.#keep[index]! ? index : this.#other[index]!;
  }
}

/** Weights 1/1, 1/2, 1/3 … : Zipf with alpha 1. */
export function zipfWeights(count: number): Float64Array {
  return Float64Array.from({ length: count }, (_, rank) => 1 / (rank + 1));
}

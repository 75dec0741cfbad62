import { crossPlace } from './fit-light-ranker.ts';
import type { CalibrationRows } from './fit-calibration.ts';
import type { ImpressionSet } from './impression-set.ts';

export type HeadNumber = 0 | 1;

/** Rows that training did not see, with the logits that both rankers gave them. */
export class ScoredRows {
  readonly #set: ImpressionSet;
  readonly #rows: Uint32Array;
  /** Click and conversion, the deep model's and the light ranker's. */
  readonly #deep: readonly [Float32Array, Float32Array];
  readonly #light: readonly [Float32Array, Float32Array];
  #count = 0;

  constructor(set: ImpressionSet, capacity: number) {
    this.#set = set;
    this.#rows = new Uint32Array(capacity);
    this.#deep = [new Float32Array(capacity), new Float32Array(capacity)];
    this.#light = [new Float32Array(capacity), new Float32Array(capacity)];
  }

  /** Adds `count` rows of `order` with their cross features (which hold the light ranker's logits) and the head's logits. */
  add(order: Uint32Array, start: number, count: number, cross: Float32Array, logits: Float32Array): void {
    for (let index = 0; index < count; index++) {
      const at = this.#count++;
      this.#rows[at] = order[start + index]!;
      this.#deep[0][at] = logits[2 * index]!;
      this.#deep[1][at] = logits[2 * index + 1]!;
      this.#light[0][at] = cross[index * crossPlace.width + crossPlace.clickLogit]!;
      this.#light[1][at] = cross[index * crossPlace.width + crossPlace.conversionLogit]!;
    }
  }

  /** Logits, outcomes and weights of one head: every row for a click, the clicked ones for a conversion. */
  columns(ranker: 'deep' | 'light', head: HeadNumber): CalibrationRows {
    const set = this.#set;
    const logits = (ranker === 'deep' ? this.#deep : this.#light)[head];
    const outcome = head === 0 ? set.click : set.conversion;
    const places = Uint32Array.from({ length: this.#count }, (_, place) => place);
    const counted = head === 0 ? places : places.filter((place) => set.click[this.#rows[place]!] === 1);
    return {
      logits: Float32Array.from(counted, (place) => logits[place]!),
      outcomes: Uint8Array.from(counted, (place) => outcome[this.#rows[place]!]!),
      weights: Float32Array.from(counted, (place) => set.weight[this.#rows[place]!]!),
    };
  }
}

import type { ScoringPort } from '#server/pipeline-ports.ts';

const userDimension = 64;
const crossDimension = 16;

/** Slots of the ring, answered after a while with the probabilities that the test set. */
export class StandInScoring implements ScoringPort {
  readonly #click: (row: number) => number;
  readonly #delayMs: number;
  readonly #finish: (slot: number) => void;
  readonly #now: () => number;
  readonly #slots = new Map<number, { count: number; ids: Int32Array; claimedMs: number }>();
  readonly #user = new Float32Array(userDimension);
  readonly #cross = new Float32Array(1000 * crossDimension);
  #next = 0;

  readonly #isFull: () => boolean;

  constructor(
    click: (row: number) => number,
    delayMs: number,
    finish: (slot: number) => void,
    now: () => number,
    isFull: () => boolean = () => false,
  ) {
    this.#isFull = isFull;
    this.#click = click;
    this.#delayMs = delayMs;
    this.#finish = finish;
    this.#now = now;
  }

  begin(rowCount: number): number {
    if (this.#isFull()) return -1;
    const slot = this.#next++;
    this.#slots.set(slot, { count: rowCount, ids: new Int32Array(rowCount), claimedMs: this.#now() });
    return slot;
  }
  userOf(): Float32Array {
    return this.#user;
  }
  adIdsOf(slot: number): Int32Array {
    return this.#slots.get(slot)!.ids;
  }
  crossOf(): Float32Array {
    return this.#cross;
  }
  submit(slot: number): void {
    // Half of the time it waits, half of it is scored.
    this.#slots.get(slot)!.claimedMs = this.#now() + (Number.isFinite(this.#delayMs) ? this.#delayMs / 2 : 0);
    if (this.#delayMs === 0) setImmediate(() => this.#finish(slot));
    else if (Number.isFinite(this.#delayMs)) setTimeout(() => this.#finish(slot), this.#delayMs);
  }
  logitsOf(slot: number): Float32Array {
    const { ids, count } = this.#slots.get(slot)!;
    const logits = new Float32Array(count * 2);
    for (let index = 0; index < count; index++) {
      logits[index * 2] = this.#click(ids[index]!);
      logits[index * 2 + 1] = 0.1;
    }
    return logits;
  }
  claimedMsOf(slot: number): number {
    return this.#slots.get(slot)!.claimedMs;
  }
  release(slot: number): void {
    this.#slots.delete(slot);
  }
  predictedWaitMs(): number {
    return 0;
  }
}

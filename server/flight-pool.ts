import { Flight } from './flight.ts';

/** Made at start: enough for ordinary traffic, so that memory is touched when it is needed. */
const madeAtStart = 8;

/**
 * The flights of one serving thread. Those used last are used next, because their memory is still in the caches. Never more
 * than `countMax` exist; beyond a few they are made on first need and then kept.
 */
export class FlightPool {
  readonly #free: Flight[] = [];
  readonly #countMax: number;
  #madeCount = 0;

  constructor(countMax: number) {
    this.#countMax = countMax;
    for (let index = 0; index < Math.min(madeAtStart, countMax); index++) this.#free.push(this.#make());
  }

  #make(): Flight {
    this.#madeCount++;
    return new Flight();
  }

  get freeCount(): number {
    return this.#countMax - this.#madeCount + this.#free.length;
  }

  /** Ready to use, or undefined: all are under way. */
  take(): Flight | undefined {
    const flight = this.#free.pop() ?? (this.#madeCount < this.#countMax ? this.#make() : undefined);
    if (flight !== undefined) {
      flight.reset();
      flight.isOut = true;
    }
    return flight;
  }

  /** Giving back twice would hand one flight to two requests: a bug, and loud. */
  giveBack(flight: Flight): void {
    if (!flight.isOut) throw new Error('A flight was given back twice.');
    flight.isOut = false;
    flight.letGo();
    this.#free.push(flight);
  }
}

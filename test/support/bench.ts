/** `smoke` is what the suite runs (seconds at most); `full` is what a person runs for figures. */
export type BenchMode = 'smoke' | 'full';

/** `value` is the first figure the bench's table bounds; shares are fractions. `figures` holds the rest with spread and conditions. */
export type BenchReport = {
  readonly bench: string;
  readonly value: number;
  readonly unit: string;
  readonly better: 'higher' | 'lower';
  readonly figures: Readonly<
    Record<string, number | string | boolean | readonly number[] | Readonly<Record<string, number | string>>>
  >;
};

export type BenchProgress = (done: number, total: number, what: string) => void;

/** One file `test/bench/NAME.bench.ts` exports one of these as `bench`. */
export type Bench = {
  readonly name: string;
  /** One line: what is compared with what. */
  readonly about: string;
  run(mode: BenchMode, progress: BenchProgress): Promise<BenchReport>;
};

/** CPU-seconds of this process (all its threads), user and system. */
export function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

import { fitScale } from '#embeddings/quantisation.ts';
import { QuantisedTable } from '#embeddings/quantised-table.ts';
import { SharedIdIndex } from '#embeddings/shared-id-index.ts';
import { VectorTable } from '#embeddings/vector-table.ts';
import { seededRandom } from '#inference/seeded-random.ts';
import { type Bench, cpuSeconds, median } from '../support/bench.ts';
import { rounded } from '../support/server-bench.ts';

const dimension = 64;
const keyCount = 2000;
/** Of the power law of keys: the r-th most asked for comes r^−1.2 as often as the first. */
const alpha = 1.2;
const sizes = {
  smoke: { rows: 20_000, draws: 8, passes: 4 },
  full: { rows: 630_000, draws: 100, passes: 30 },
} as const;

const keyOf = (row: number): string => `user-${Math.imul(row + 1, 0x9e37_79b1) >>> 0}-${String(row).padStart(7, '0')}`;

/** One request's keys: texts that nobody has hashed or compared yet, as a parser makes them, and the rows that they stand for. */
type Draw = { readonly bytes: readonly Buffer[]; readonly rows: Uint32Array };

function drawsOf(rowCount: number, count: number): Draw[] {
  const random = seededRandom(12);
  const cumulated = new Float64Array(rowCount);
  let sum = 0;
  for (let rank = 0; rank < rowCount; rank++) cumulated[rank] = sum += (rank + 1) ** -alpha;
  // Which row is asked for how often has nothing to do with where it lies.
  const rowOfRank = Uint32Array.from({ length: rowCount }, (_, row) => row);
  for (let last = rowCount - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [rowOfRank[last], rowOfRank[other]] = [rowOfRank[other]!, rowOfRank[last]!];
  }
  const rankOf = (share: number): number => {
    let low = 0;
    let high = rowCount - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (cumulated[middle]! < share * sum) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  return Array.from({ length: count }, () => {
    const rows = Uint32Array.from({ length: keyCount }, () => rowOfRank[rankOf(random())]!);
    return { bytes: Array.from(rows, (row) => Buffer.from(keyOf(row))), rows };
  });
}

/** The bare copy: rows by known numbers, no checks. */
function copyRows(data: Float32Array, rows: Uint32Array, target: Float32Array): void {
  let at = 0;
  for (let index = 0; index < rows.length; index++) {
    const start = rows[index]! * dimension;
    for (let place = 0; place < dimension; place++) target[at++] = data[start + place]!;
  }
}

export const bench: Bench = {
  name: 'lookup-local',
  about:
    'ns per key in process: text → row → copy of 64 numbers, power-law keys (1.2) of 630 K rows ÷ a bare copy by row number',
  async run(mode, progress) {
    const { rows: rowCount, draws: drawCount, passes } = sizes[mode];
    const random = seededRandom(11);
    const floats = new VectorTable(VectorTable.allocate(rowCount, dimension));
    for (let at = 0; at < floats.data.length; at++) floats.data[at] = random() - 0.5;
    const bytes = new QuantisedTable(QuantisedTable.allocate(rowCount, fitScale(floats.data, dimension)));
    const index = new SharedIdIndex(SharedIdIndex.allocate(rowCount, rowCount * 24));
    for (let row = 0; row < rowCount; row++) {
      bytes.setRow(row, floats.data, row * dimension);
      index.set(keyOf(row), row);
    }
    const draws = drawsOf(rowCount, drawCount);
    const found = new Uint32Array(keyCount);
    const target = new Float32Array(keyCount * dimension);
    let keys: readonly string[] = [];
    const foundRows = new Int32Array(found.buffer);
    const search = (): void => index.getMany(keys, keyCount, foundRows);
    const ways: Readonly<Record<string, (draw: Draw) => void>> = {
      bareFloat32: ({ rows }) => copyRows(floats.data, rows, target),
      float32: () => {
        search();
        floats.gather(found, target);
      },
      gatherFloat32: ({ rows }) => floats.gather(rows, target),
      gatherInt8: ({ rows }) => bytes.gather(rows, target),
      int8: () => {
        search();
        bytes.gather(found, target);
      },
      search,
      searchOneByOne: () => {
        for (let place = 0; place < keyCount; place++) foundRows[place] = index.get(keys[place]!);
      },
    };
    const knowsRows = new Set(['bareFloat32', 'gatherFloat32', 'gatherInt8']);
    const nanos: Record<string, number[]> = Object.fromEntries(Object.keys(ways).map((name) => [name, []]));
    const wallNanos: Record<string, number[]> = Object.fromEntries(Object.keys(ways).map((name) => [name, []]));
    let checksum = 0;
    let wrongRows = 0;
    for (let pass = 0; pass < passes; pass++) {
      progress(pass, passes, 'pass');
      // Way by way through all draws, so that no way finds the rows in the cache that another has just brought there.
      for (const [name, way] of Object.entries(ways)) {
        let ms = 0;
        let cpu = 0;
        for (const draw of draws) {
          keys = draw.bytes.map((each) => each.toString('latin1'));
          const startMs = performance.now();
          const startCpu = cpuSeconds();
          way(draw);
          cpu += cpuSeconds() - startCpu;
          ms += performance.now() - startMs;
          checksum += target[(pass * 97) % target.length]!;
          if (!knowsRows.has(name))
            for (let place = 0; place < keyCount; place += 61) if (found[place] !== draw.rows[place]) wrongRows++;
        }
        nanos[name]!.push((cpu * 1e9) / (drawCount * keyCount));
        wallNanos[name]!.push((ms * 1e6) / (drawCount * keyCount));
      }
    }
    progress(passes, passes, 'done');
    if (wrongRows > 0) throw new Error(`${wrongRows} keys led to other rows`);
    // The first passes compile.
    const medians = (all: Readonly<Record<string, readonly number[]>>): Record<string, number> =>
      Object.fromEntries(Object.entries(all).map(([name, each]) => [name, median(each.slice(Math.floor(passes / 4)))]));
    const perKey = medians(nanos);
    const wallPerKey = medians(wallNanos);
    return {
      bench: 'lookup-local',
      value: rounded(perKey['float32']!),
      unit: 'ns of CPU per key, float32',
      better: 'lower',
      figures: {
        ...Object.fromEntries(Object.entries(perKey).map(([name, each]) => [`${name}Nanos`, rounded(each)])),
        float32WallNanos: rounded(wallPerKey['float32']!),
        int8WallNanos: rounded(wallPerKey['int8']!),
        float32DividedByBare: rounded(perKey['float32']! / perKey['bareFloat32']!),
        float32DividedByGather: rounded(perKey['float32']! / perKey['gatherFloat32']!),
        int8DividedByBare: rounded(perKey['int8']! / perKey['bareFloat32']!),
        int8DividedByGather: rounded(perKey['int8']! / perKey['gatherInt8']!),
        rows: rowCount,
        keysPerLookup: keyCount,
        alpha,
        checksum: rounded(checksum, 6),
      },
    };
  },
};

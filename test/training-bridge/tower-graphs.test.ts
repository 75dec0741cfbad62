import * as ort from 'onnxruntime-node';
import { expect, test } from 'vitest';
import { seededRandom } from '#inference/seeded-random.ts';
import { fillNormal } from '#training-bridge/embedding-optimizer.ts';
import { type TowerField, towerModel, towerParameterShapes } from '#training-bridge/tower-graphs.ts';

const shape = { input: 5, output: 4 };

function randomTower(seed: number) {
  const random = seededRandom(seed);
  const normals = (count: number): Float32Array => {
    const values = new Float32Array(count);
    fillNormal(values, 0.5, random);
    return values;
  };
  const fields: TowerField[] = [
    { field: { name: 'user', size: 6, width: 1 }, dimension: 2, table: normals(12) },
    { field: { name: 'segment', size: 5, width: 3 }, dimension: 3, table: normals(15).fill(0, 0, 3) },
  ];
  const parameters = new Map(
    towerParameterShapes('user', shape).map(({ name, rows, columns }) => [name, normals(rows * columns)]),
  );
  return { fields, parameters };
}

/** The same tower with plain loops. */
function expected({ fields, parameters }: ReturnType<typeof randomTower>, ids: readonly number[]): number[] {
  const input = [...fields[0]!.table.subarray(2 * ids[0]!, 2 * ids[0]! + 2)];
  const segments = ids.slice(1).filter((id) => id > 0);
  for (let d = 0; d < 3; d++) {
    const sum = segments.reduce((total, id) => total + fields[1]!.table[3 * id + d]!, 0);
    input.push(sum / Math.sqrt(Math.max(1, segments.length)));
  }
  const times = (x: readonly number[], name: string): number[] => {
    const matrix = parameters.get(name)!;
    const columns = matrix.length / x.length;
    return Array.from({ length: columns }, (_, column) =>
      x.reduce((total, value, row) => total + value * matrix[row * columns + column]!, 0),
    );
  };
  const hidden = times(input, 'user_in').map((value, d) => Math.max(0, value + parameters.get('user_in_bias')![d]!));
  const bent = times(hidden, 'user_out');
  return times(input, 'user_direct').map((value, d) => value + bent[d]! + parameters.get('user_bias')![d]!);
}

test('an exported tower turns ids into the vectors that training saw, empty places and strangers included', async () => {
  const tower = randomTower(3);
  const session = await ort.InferenceSession.create(towerModel('user', tower.fields, shape, tower.parameters));
  const people = [
    [1, 2, 0, 0],
    [5, 4, 3, 1],
    [0, 0, 0, 0],
    [3, 0, 2, 2],
  ];
  const { vector } = await session.run({ ids: new ort.Tensor('int32', Int32Array.from(people.flat()), [4, 4]) });
  const vectors = vector!.data as Float32Array;
  for (const [index, ids] of people.entries()) {
    for (const [d, value] of expected(tower, ids).entries()) expect(vectors[index * 4 + d]).toBeCloseTo(value, 5);
  }
});

test('a tower without one of its parameters is not written', () => {
  const { fields, parameters } = randomTower(4);
  parameters.delete('user_out');
  expect(() => towerModel('user', fields, shape, parameters)).toThrow('user_out');
});

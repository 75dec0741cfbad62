import fc from 'fast-check';
import { expect, test } from 'vitest';
import { clusterTopology, redirection } from '#embeddings/stores/redis-cluster-topology.ts';

const asked = { host: 'asked', port: 1 };
const node = (host: string | null, port: number) => [
  host === null ? null : Buffer.from(host),
  port,
  Buffer.from('id'),
  [],
];

test('masters by name, their replicas, and whose each slot is', () => {
  const found = clusterTopology(
    [
      [0, 99, node('b', 7000), node('d', 7000), node('c', 7000)],
      [100, 199, node('a', 7000)],
      [300, 399, node('b', 7000), node('d', 7000), node('c', 7000)],
    ],
    asked,
  )!;
  expect(found.masters.map((each) => each.node.host)).toEqual(['a', 'b']);
  expect(found.masters[1]!.replicas.map(({ host }) => host)).toEqual(['c', 'd']);
  expect([0, 99, 100, 199, 200, 300, 399, 400, 16_383].map((slot) => found.owners[slot])).toEqual([
    1, 1, 0, 0, -1, 1, 1, -1, -1,
  ]);
});

test('a node that does not know its own address is the one that was asked', () => {
  for (const empty of ['', '?', null]) {
    expect(clusterTopology([[0, 16_383, node(empty, 7000)]], asked)!.masters[0]!.node).toEqual({
      host: 'asked',
      port: 7000,
    });
  }
});

test('whatever else an answer is, it is no topology, and no error either', () => {
  const pieces = fc.letrec((tie) => ({
    any: fc.oneof(
      fc.integer({ min: -2, max: 20_000 }),
      fc.constant(null),
      fc.uint8Array({ maxLength: 3 }),
      fc.array(tie('any'), { maxLength: 4 }),
    ),
  })).any;
  fc.assert(
    fc.property(pieces, (reply) => {
      const found = clusterTopology(reply, asked);
      expect(found === undefined || found.owners.length === 16_384).toBe(true);
    }),
  );
  for (const bad of [
    undefined,
    'OK',
    [[0]],
    [[0, 1]],
    [[0, 1, 'x']],
    [[5, 16_384, node('a', 1)]],
    [[0, 1, node('a', 0)]],
    [[0, 1, node('a', 1), 7]],
  ]) {
    expect(clusterTopology(bad, asked)).toBeUndefined();
  }
});

test('MOVED and ASK say where to go', () => {
  expect(redirection('MOVED 3999 10.0.0.1:6381', asked)).toEqual({
    kind: 'MOVED',
    node: { host: '10.0.0.1', port: 6381 },
  });
  expect(redirection('ASK 3999 ::1:6381', asked)).toEqual({ kind: 'ASK', node: { host: '::1', port: 6381 } });
  expect(redirection('MOVED 3999 :6381', asked)).toEqual({ kind: 'MOVED', node: { host: 'asked', port: 6381 } });
  for (const other of ['ERR MOVED 1 a:1', 'MOVED', 'MOVED x a:1', 'ASK 1 a:', 'TRYAGAIN'])
    expect(redirection(other, asked)).toBeUndefined();
});

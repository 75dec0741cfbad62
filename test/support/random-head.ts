import { type HeadWeights, servedDims } from '#inference/head-weights.ts';
import { seededRandom } from '#inference/seeded-random.ts';

/** Normal numbers from a seed, scaled. */
export function normals(count: number, scale: number, random: () => number): Float32Array {
  return Float32Array.from(
    { length: count },
    () => scale * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()),
  );
}

/** A head of the served size with weights of the scale that training gives. */
export function randomHead(seed: number): HeadWeights {
  const random = seededRandom(seed);
  const { user, ad, cross, rank, hidden1, hidden2, heads } = servedDims;
  const width = user + ad + cross;
  const draw = (count: number, fanIn: number): Float32Array => normals(count, 1 / Math.sqrt(fanIn), random);
  return {
    dims: servedDims,
    v1: draw(width * rank, width),
    v2: draw(width * rank, width),
    u1: draw(rank * width, rank),
    u2: draw(rank * width, rank),
    b1: normals(width, 0.1, random),
    b2: normals(width, 0.1, random),
    w1: draw(width * hidden1, width),
    d1: normals(hidden1, 0.1, random),
    w2: draw(hidden1 * hidden2, hidden1),
    d2: normals(hidden2, 0.1, random),
    wx: draw(width * heads, width),
    wm: draw(hidden2 * heads, hidden2),
    g: draw(user * heads, user),
    bias: normals(heads, 0.1, random),
  };
}

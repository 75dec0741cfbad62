/** Adam (Kingma and Ba, ICLR 2015) over one dense parameter, in place, so that the graph's input tensor is the parameter itself. */
export class DenseParameter {
  readonly values: Float32Array;
  /** The graph writes the mean gradient of a batch here. */
  readonly gradient: Float32Array;
  readonly #first: Float32Array;
  readonly #second: Float32Array;

  constructor(values: Float32Array) {
    this.values = values;
    this.gradient = new Float32Array(values.length);
    this.#first = new Float32Array(values.length);
    this.#second = new Float32Array(values.length);
  }

  /** `step` counts from 1. */
  apply(learningRate: number, step: number): void {
    const { values, gradient } = this;
    const first = this.#first;
    const second = this.#second;
    const root = Math.sqrt(1 - secondDecay ** step);
    const rate = (learningRate * root) / (1 - firstDecay ** step);
    const epsilon = 1e-8 * root;
    for (let at = 0; at < values.length; at++) {
      const each = gradient[at]!;
      const mean = first[at]! + (1 - firstDecay) * (each - first[at]!);
      const square = second[at]! + (1 - secondDecay) * (each * each - second[at]!);
      first[at] = mean;
      second[at] = square;
      values[at] = values[at]! - (rate * mean) / (Math.sqrt(square) + epsilon);
    }
  }
}

const firstDecay = 0.9;
const secondDecay = 0.999;

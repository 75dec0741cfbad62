import { GraphBuilder } from '#inference/onnx-writer.ts';

/** A matrix of the graph: `rows` is 'N' (one per training row) or a number (a parameter). */
export type Matrix = { readonly name: string; readonly rows: 'N' | number; readonly columns: number };
export type GraphPrecision = 'float32' | 'float64';

/** Emits the nodes of one operator's backward pass: `upstream` is the name of ∂loss/∂output. */
type Backward = (upstream: string) => void;

/**
 * Reverse-mode differentiation that writes ONNX: operators are emitted forward as they are called, and `differentiate` walks the
 * tape back and emits the gradients beside them, so that one run of one graph is a whole training step but for the update.
 * Matrices only, in float32 to train and in float64 to check the gradients by finite differences.
 */
export class GradientGraph {
  readonly precision: GraphPrecision;
  readonly #builder: GraphBuilder;
  readonly #tape: { readonly output: Matrix; readonly backward: Backward }[] = [];
  /** Names of matrices that a gradient may be asked of, or that lie on the way to one. */
  readonly #wanted = new Set<string>();
  readonly #gradients = new Map<string, string>();
  readonly #integers = new Map<string, string>();

  constructor(name: string, precision: GraphPrecision = 'float32') {
    this.#builder = new GraphBuilder(name);
    this.precision = precision;
  }

  /** Numbers of the training rows, [N, columns]. `needsGradient`: embeddings do, labels do not. */
  input(name: string, columns: number, options: { readonly needsGradient: boolean }): Matrix {
    this.#builder.input(name, this.precision, ['N', columns]);
    if (options.needsGradient) this.#wanted.add(name);
    return { name, rows: 'N', columns };
  }

  /** A trained matrix, fed with every run so that whoever updates it does so in place. A bias is one row. */
  parameter(name: string, rows: number, columns: number): Matrix {
    this.#builder.input(name, this.precision, [rows, columns]);
    this.#wanted.add(name);
    return { name, rows, columns };
  }

  /** x·w, plus a bias of one row. */
  linear(x: Matrix, w: Matrix, bias?: Matrix): Matrix {
    const inputs = bias === undefined ? [x.name, w.name] : [x.name, w.name, bias.name];
    const output = this.#emit('Gemm', inputs, x.rows, w.columns, [x, w, ...(bias === undefined ? [] : [bias])]);
    return this.#record(output, (upstream) => {
      // Gemm adds what is already there in the same pass.
      this.#contribute(x, (before) => this.#gemm([upstream, w.name, before], { transB: 1 }));
      this.#contribute(w, (before) => this.#gemm([x.name, upstream, before], { transA: 1 }));
      if (bias !== undefined) this.#contribute(bias, (before) => this.#add(this.#sumOfRows(upstream), before));
    });
  }

  add(left: Matrix, right: Matrix): Matrix {
    const output = this.#emit('Add', [left.name, right.name], left.rows, left.columns, [left, right]);
    return this.#record(output, (upstream) => {
      for (const side of [left, right]) this.#contribute(side, (before) => this.#add(upstream, before));
    });
  }

  /** Element by element. */
  multiply(left: Matrix, right: Matrix): Matrix {
    const output = this.#emit('Mul', [left.name, right.name], left.rows, left.columns, [left, right]);
    return this.#record(output, (upstream) => {
      this.#contribute(left, (before) => this.#add(this.#builder.node('Mul', [upstream, right.name]), before));
      this.#contribute(right, (before) => this.#add(this.#builder.node('Mul', [upstream, left.name]), before));
    });
  }

  relu(x: Matrix): Matrix {
    const output = this.#emit('Relu', [x.name], x.rows, x.columns, [x]);
    return this.#record(output, (upstream) => {
      this.#contribute(x, (before) => {
        const isPositive = this.#builder.node('Sign', [output.name]);
        return this.#add(this.#builder.node('Mul', [upstream, isPositive]), before);
      });
    });
  }

  /** Columns side by side. */
  concat(parts: readonly Matrix[]): Matrix {
    const columns = parts.reduce((sum, part) => sum + part.columns, 0);
    const names = parts.map(({ name }) => name);
    const output = this.#emit('Concat', names, parts[0]!.rows, columns, parts, { axis: 1 });
    return this.#record(output, (upstream) => {
      const pieces = parts.map((part) => `d_${output.name}_${part.name}`);
      const widths = this.#integerConstant(parts.map((part) => part.columns));
      this.#builder.node('Split', [upstream, widths], { axis: 1 }, { outputs: pieces });
      for (const [index, part] of parts.entries())
        this.#contribute(part, (before) => this.#add(pieces[index]!, before));
    });
  }

  /**
   * Logistic loss, Σ over rows of weight × (softplus(logit) − label × logit), one sum per column, named `name` in the outputs.
   * A weight of 0 hides a row from a head. This is where the backward pass begins: once per graph.
   */
  logisticLoss(name: string, logits: Matrix, labels: Matrix, weights: Matrix): void {
    const each = this.#builder.node('Sub', [
      this.#softplus(logits.name),
      this.#builder.node('Mul', [labels.name, logits.name]),
    ]);
    const loss = this.#builder.node('Mul', [weights.name, each]);
    this.#builder.node('ReduceSum', [loss, this.#integerConstant([0])], { keepdims: 0 }, { outputs: [name] });
    this.#builder.output(name, this.precision, [logits.columns]);
    const miss = this.#builder.node('Sub', [this.#builder.node('Sigmoid', [logits.name]), labels.name]);
    this.#contribute(logits, (before) => this.#add(this.#builder.node('Mul', [weights.name, miss]), before));
  }

  /** Names a matrix in the outputs. */
  output(name: string, matrix: Matrix): void {
    this.#builder.node('Identity', [matrix.name], {}, { outputs: [name] });
    this.#builder.output(name, this.precision, [matrix.rows, matrix.columns]);
  }

  /** Emits the backward pass and returns the graph: outputs are losses, `output`s and `d_NAME` for every parameter and input that needs one. */
  differentiate(of: readonly Matrix[]): Uint8Array {
    for (const { output, backward } of this.#tape.toReversed()) {
      const upstream = this.#gradients.get(output.name);
      if (upstream !== undefined) backward(upstream);
    }
    for (const matrix of of) {
      const gradient = this.#gradients.get(matrix.name);
      if (gradient === undefined) throw new RangeError(`the loss does not depend on ${matrix.name}`);
      this.output(`d_${matrix.name}`, { ...matrix, name: gradient });
    }
    return this.#builder.toBytes();
  }

  #emit(
    operator: string,
    inputs: readonly string[],
    rows: 'N' | number,
    columns: number,
    from: readonly Matrix[],
    attributes: Readonly<Record<string, number>> = {},
  ): Matrix {
    const name = this.#builder.node(operator, inputs, attributes);
    if (from.some((each) => this.#wanted.has(each.name))) this.#wanted.add(name);
    return { name, rows, columns };
  }

  #record(output: Matrix, backward: Backward): Matrix {
    if (this.#wanted.has(output.name)) this.#tape.push({ output, backward });
    return output;
  }

  /** Replaces the gradient of a matrix by one that also holds a further part; `before` is what it was. */
  #contribute(matrix: Matrix, emit: (before: string | undefined) => string): void {
    if (!this.#wanted.has(matrix.name)) return;
    this.#gradients.set(matrix.name, emit(this.#gradients.get(matrix.name)));
  }

  #add(part: string, before: string | undefined): string {
    return before === undefined ? part : this.#builder.node('Add', [before, part]);
  }

  #gemm(inputs: readonly (string | undefined)[], attributes: Readonly<Record<string, number>>): string {
    return this.#builder.node(
      'Gemm',
      inputs.filter((input) => input !== undefined),
      attributes,
    );
  }

  /** max(x, 0) + ln(1 + e^−|x|): onnxruntime's own Softplus knows no float64. */
  #softplus(matrix: string): string {
    const one = this.#builder.constant(
      'one',
      [1],
      this.precision === 'float32' ? Float32Array.of(1) : Float64Array.of(1),
    );
    const small = this.#builder.node('Exp', [this.#builder.node('Neg', [this.#builder.node('Abs', [matrix])])]);
    const rest = this.#builder.node('Log', [this.#builder.node('Add', [small, one])]);
    return this.#builder.node('Add', [this.#builder.node('Relu', [matrix]), rest]);
  }

  #sumOfRows(matrix: string): string {
    return this.#builder.node('ReduceSum', [matrix, this.#integerConstant([0])], { keepdims: 1 });
  }

  #integerConstant(values: readonly number[]): string {
    const name = `int_${values.join('_')}`;
    if (!this.#integers.has(name)) {
      this.#builder.constant(name, [values.length], BigInt64Array.from(values.map(BigInt)));
      this.#integers.set(name, name);
    }
    return name;
  }
}

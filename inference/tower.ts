import * as ort from 'onnxruntime-node';
import { BundleError } from './bundle-errors.ts';

/** Towers and graphs that run outside the scoring threads: one thread each, and silent (the caller gets a BundleError). */
const sessionOptions = {
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  logSeverityLevel: 4,
  // These sessions are gone again in seconds: what their arena would keep is the server's.
  enableCpuMemArena: false,
} as const satisfies ort.InferenceSession.SessionOptions;

/** A graph with float32 outputs, run on the calling thread. `file` names it in errors. */
export class Graph {
  readonly #session: ort.InferenceSession;
  readonly #file: string;

  private constructor(session: ort.InferenceSession, file: string) {
    this.#session = session;
    this.#file = file;
  }

  static async open(bytes: Uint8Array, file: string): Promise<Graph> {
    try {
      return new Graph(await ort.InferenceSession.create(bytes, sessionOptions), file);
    } catch (cause) {
      throw new BundleError('BUNDLE_GRAPH_UNUSABLE', `${file} does not load`, { cause });
    }
  }

  /** `outputs`: names and how many numbers each must hold. */
  async run<Name extends string>(
    inputs: Readonly<Record<string, ort.Tensor>>,
    outputs: Readonly<Record<Name, number>>,
  ): Promise<Record<Name, Float32Array>> {
    let results: ort.InferenceSession.ReturnType;
    try {
      results = await this.#session.run(inputs);
    } catch (cause) {
      throw new BundleError('BUNDLE_GRAPH_UNUSABLE', `${this.#file} does not run on the agreed inputs`, { cause });
    }
    const data = {} as Record<Name, Float32Array>;
    for (const name of Object.keys(outputs) as Name[]) {
      const values = results[name]?.data;
      if (!(values instanceof Float32Array) || values.length !== outputs[name])
        throw new BundleError(
          'BUNDLE_GRAPH_UNUSABLE',
          `${this.#file}: output ${name} must hold ${outputs[name]} floats`,
        );
      data[name] = values;
    }
    return data;
  }

  async close(): Promise<void> {
    await this.#session.release();
  }
}

export function floats(data: Float32Array, ...dims: number[]): ort.Tensor {
  return new ort.Tensor('float32', data, dims);
}

export function integers(data: Int32Array, ...dims: number[]): ort.Tensor {
  return new ort.Tensor('int32', data, dims);
}

/** A tower: vocabulary ids of users or ads in, vectors out. */
export class Tower {
  readonly #graph: Graph;
  readonly #idsPerRow: number;
  readonly #dimension: number;

  private constructor(graph: Graph, idsPerRow: number, dimension: number) {
    this.#graph = graph;
    this.#idsPerRow = idsPerRow;
    this.#dimension = dimension;
  }

  static async open(bytes: Uint8Array, file: string, idsPerRow: number, dimension: number): Promise<Tower> {
    return new Tower(await Graph.open(bytes, file), idsPerRow, dimension);
  }

  /** [count × dimension], of [count × idsPerRow] ids. */
  async vectors(ids: Int32Array, count: number): Promise<Float32Array> {
    const { vector } = await this.#graph.run(
      { ids: integers(ids, count, this.#idsPerRow) },
      { vector: count * this.#dimension },
    );
    return vector;
  }

  async close(): Promise<void> {
    await this.#graph.close();
  }
}

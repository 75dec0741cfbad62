/**
 * Writes ONNX models (IR 10) without a protobuf library: the few messages that a graph needs, field numbers as in onnx.proto3.
 * Tests read the result back with `onnx-proto` and run it in onnxruntime.
 */

export type ElementType = 'float32' | 'float64' | 'float16' | 'int32' | 'int64' | 'uint8' | 'int8' | 'bool';
/** A number, or a name for a size that is known only at run time. */
export type Dimension = number | string;
export type AttributeValue =
  | number
  | string
  | readonly number[]
  | { readonly float: number }
  | { readonly floats: readonly number[] };

/** TensorProto.DataType. */
const elementTypeCode: Readonly<Record<ElementType, number>> = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
};

/** Protobuf wire format: varints, length-delimited fields, 32-bit floats. Grows as needed. */
class ProtoWriter {
  #bytes = new Uint8Array(1024);
  #length = 0;

  bytes(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  varint(field: number, value: number | bigint): void {
    this.#rawVarint(BigInt(field << 3));
    this.#rawVarint(BigInt.asUintN(64, BigInt(value)));
  }

  float(field: number, value: number): void {
    this.#rawVarint(BigInt((field << 3) | 5));
    this.#append(new Uint8Array(Float32Array.of(value).buffer));
  }

  delimited(field: number, content: Uint8Array): void {
    this.#rawVarint(BigInt((field << 3) | 2));
    this.#rawVarint(BigInt(content.length));
    this.#append(content);
  }

  text(field: number, content: string): void {
    this.delimited(field, new TextEncoder().encode(content));
  }

  message(field: number, write: (inner: ProtoWriter) => void): void {
    const inner = new ProtoWriter();
    write(inner);
    this.delimited(field, inner.bytes());
  }

  #rawVarint(value: bigint): void {
    let rest = value;
    const out: number[] = [];
    do {
      const low = Number(rest & 0x7fn);
      rest >>= 7n;
      out.push(rest === 0n ? low : low | 0x80);
    } while (rest !== 0n);
    this.#append(Uint8Array.from(out));
  }

  #append(content: Uint8Array): void {
    if (this.#length + content.length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + content.length));
      larger.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = larger;
    }
    this.#bytes.set(content, this.#length);
    this.#length += content.length;
  }
}

type TensorData = Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array | Int8Array | Uint16Array;

function elementTypeOf(data: TensorData): ElementType {
  if (data instanceof Float32Array) return 'float32';
  if (data instanceof Float64Array) return 'float64';
  if (data instanceof Int32Array) return 'int32';
  if (data instanceof BigInt64Array) return 'int64';
  if (data instanceof Int8Array) return 'int8';
  if (data instanceof Uint16Array) return 'float16';
  return 'uint8';
}

/** Builds one graph node by node; values are known by name. Shapes are checked by onnxruntime when the model is loaded. */
export class GraphBuilder {
  readonly #name: string;
  readonly #nodes: ((writer: ProtoWriter) => void)[] = [];
  readonly #constants: ((writer: ProtoWriter) => void)[] = [];
  readonly #inputs: ((writer: ProtoWriter) => void)[] = [];
  readonly #outputs: ((writer: ProtoWriter) => void)[] = [];
  #counter = 0;

  constructor(name: string) {
    this.#name = name;
  }

  input(name: string, type: ElementType, dims: readonly Dimension[]): string {
    this.#inputs.push((writer) => writeValueInfo(writer, name, type, dims));
    return name;
  }

  output(name: string, type: ElementType, dims: readonly Dimension[]): string {
    this.#outputs.push((writer) => writeValueInfo(writer, name, type, dims));
    return name;
  }

  /** An initializer; `Uint16Array` is taken as float16 bits. */
  constant(name: string, dims: readonly number[], data: TensorData): string {
    const count = dims.reduce((product, size) => product * size, 1);
    if (count !== data.length) throw new RangeError(`constant ${name}: ${data.length} values for [${dims.join(', ')}]`);
    this.#constants.push((writer) => {
      for (const size of dims) writer.varint(1, size);
      writer.varint(2, elementTypeCode[elementTypeOf(data)]);
      writer.text(8, name);
      writer.delimited(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    });
    return name;
  }

  /** Adds a node and returns the name of its first output; names are made up where none are given. */
  node(
    operator: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, AttributeValue>> = {},
    options: { readonly outputs?: readonly string[]; readonly domain?: string } = {},
  ): string {
    const outputs = options.outputs ?? [`${operator}_${this.#counter++}`];
    const nodeName = `n${this.#nodes.length}_${operator}`;
    this.#nodes.push((writer) => {
      for (const input of inputs) writer.text(1, input);
      for (const output of outputs) writer.text(2, output);
      writer.text(3, nodeName);
      writer.text(4, operator);
      for (const [name, value] of Object.entries(attributes))
        writer.message(5, (inner) => writeAttribute(inner, name, value));
      if (options.domain !== undefined) writer.text(7, options.domain);
    });
    return outputs[0]!;
  }

  /** The whole ModelProto: IR version 10, opset 21, com.microsoft 1. */
  toBytes(): Uint8Array {
    const writer = new ProtoWriter();
    writer.varint(1, 10);
    writer.text(2, 'gavelin');
    writer.message(7, (graph) => {
      for (const node of this.#nodes) graph.message(1, node);
      graph.text(2, this.#name);
      for (const constant of this.#constants) graph.message(5, constant);
      for (const input of this.#inputs) graph.message(11, input);
      for (const output of this.#outputs) graph.message(12, output);
    });
    writer.message(8, (opset) => {
      opset.text(1, '');
      opset.varint(2, 21);
    });
    writer.message(8, (opset) => {
      opset.text(1, 'com.microsoft');
      opset.varint(2, 1);
    });
    return writer.bytes();
  }
}

function writeValueInfo(writer: ProtoWriter, name: string, type: ElementType, dims: readonly Dimension[]): void {
  writer.text(1, name);
  writer.message(2, (typeProto) => {
    typeProto.message(1, (tensor) => {
      tensor.varint(1, elementTypeCode[type]);
      tensor.message(2, (shape) => {
        for (const size of dims) {
          shape.message(1, (dimension) => {
            if (typeof size === 'number') dimension.varint(1, size);
            else dimension.text(2, size);
          });
        }
      });
    });
  });
}

/** AttributeProto.type: FLOAT 1, INT 2, STRING 3, FLOATS 6, INTS 7. */
function writeAttribute(writer: ProtoWriter, name: string, value: AttributeValue): void {
  writer.text(1, name);
  if (typeof value === 'number') {
    writer.varint(3, value);
    writer.varint(20, 2);
  } else if (typeof value === 'string') {
    writer.text(4, value);
    writer.varint(20, 3);
  } else if ('float' in value) {
    writer.float(2, value.float);
    writer.varint(20, 1);
  } else if ('floats' in value) {
    for (const each of value.floats) writer.float(7, each);
    writer.varint(20, 6);
  } else {
    for (const each of value) writer.varint(8, each);
    writer.varint(20, 7);
  }
}

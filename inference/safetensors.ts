import { BundleError } from './bundle-errors.ts';

/**
 * The safetensors format: 8 bytes of header length (little endian), a JSON header `{name: {dtype, shape, data_offsets}}`
 * padded with spaces, then the data. Data holds nothing but the tensors, one after another, without holes.
 */
export type Tensor = { readonly shape: readonly number[]; readonly data: Float32Array | Float64Array };

/** As in the format's own reader: a header larger than this is an attack, not a model. */
const headerBytesMax = 100_000_000;
const lengthBytes = 8;
/** Data starts at a multiple of this, so that float64 arrays lie straight on the file's bytes. */
const alignment = 8;
const dtypes = { F32: 4, F64: 8 } as const;

export function writeSafetensors(tensors: ReadonlyMap<string, Tensor>): Uint8Array {
  const header: [string, unknown][] = [];
  // Wide elements first: then every tensor starts at a multiple of its own element.
  const ordered = [...tensors].toSorted(
    ([, left], [, right]) => right.data.BYTES_PER_ELEMENT - left.data.BYTES_PER_ELEMENT,
  );
  let end = 0;
  for (const [name, { shape, data }] of ordered) {
    if (shape.reduce((product, size) => product * size, 1) !== data.length)
      throw new RangeError(`tensor ${name}: ${data.length} values for [${shape.join(', ')}]`);
    const begin = end;
    end += data.byteLength;
    header.push([name, { dtype: data instanceof Float64Array ? 'F64' : 'F32', shape, data_offsets: [begin, end] }]);
  }
  const text = new TextEncoder().encode(JSON.stringify(Object.fromEntries(header)));
  const headerBytes = Math.ceil(text.length / alignment) * alignment;
  const file = new Uint8Array(lengthBytes + headerBytes + end);
  new DataView(file.buffer).setBigUint64(0, BigInt(headerBytes), true);
  file.fill(0x20, lengthBytes, lengthBytes + headerBytes);
  file.set(text, lengthBytes);
  let at = lengthBytes + headerBytes;
  for (const [, { data }] of ordered) {
    file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return file;
}

type Entry = { name: string; dtype: keyof typeof dtypes; shape: readonly number[]; begin: number; end: number };

/** Throws a BundleError that names `file` and the tensor. The arrays lie on `bytes` where alignment allows. */
export function readSafetensors(bytes: Uint8Array, file: string): ReadonlyMap<string, Tensor> {
  const refuse = (why: string): BundleError => new BundleError('BUNDLE_TENSORS_INVALID', `${file}: ${why}`);
  if (bytes.length < lengthBytes) throw refuse('shorter than its header length');
  const headerBytes = new DataView(bytes.buffer, bytes.byteOffset, lengthBytes).getBigUint64(0, true);
  if (headerBytes > BigInt(Math.min(headerBytesMax, bytes.length - lengthBytes)))
    throw refuse('the header is longer than the file or than it may be');
  const dataAt = lengthBytes + Number(headerBytes);
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(lengthBytes, dataAt)));
  } catch (cause) {
    throw new BundleError('BUNDLE_TENSORS_INVALID', `${file}: the header is not JSON`, { cause });
  }
  if (typeof header !== 'object' || header === null || Array.isArray(header))
    throw refuse('the header is not an object');
  const entries: Entry[] = [];
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    entries.push(readEntry(name, value, refuse));
  }
  entries.sort((left, right) => left.begin - right.begin || left.end - right.end);
  let next = 0;
  for (const { name, begin, end } of entries) {
    if (begin !== next) throw refuse(`${name}: data_offsets leave a hole or overlap`);
    next = end;
  }
  if (dataAt + next !== bytes.length) throw refuse('the data is not as long as the tensors');
  return new Map(
    entries.map(({ name, dtype, shape, begin, end }) => [
      name,
      { shape, data: view(bytes, dtype, dataAt + begin, dataAt + end) },
    ]),
  );
}

function readEntry(name: string, value: unknown, refuse: (why: string) => BundleError): Entry {
  const {
    dtype,
    shape,
    data_offsets: offsets,
  } = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  const isCount = (each: unknown): each is number => Number.isSafeInteger(each) && (each as number) >= 0;
  if (dtype !== 'F32' && dtype !== 'F64') throw refuse(`${name}: dtype must be F32 or F64`);
  if (!Array.isArray(shape) || !shape.every(isCount)) throw refuse(`${name}: shape must be a list of sizes`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount))
    throw refuse(`${name}: data_offsets must be two numbers`);
  const [begin, end] = offsets as [number, number];
  const bytes = shape.reduce((product: number, size: number) => product * size, dtypes[dtype]);
  if (end - begin !== bytes) throw refuse(`${name}: data_offsets do not fit the shape`);
  return { name, dtype, shape, begin, end };
}

function view(bytes: Uint8Array, dtype: keyof typeof dtypes, begin: number, end: number): Float32Array | Float64Array {
  const isAligned = (bytes.byteOffset + begin) % dtypes[dtype] === 0;
  const source = isAligned ? bytes.subarray(begin, end) : bytes.slice(begin, end);
  const count = (end - begin) / dtypes[dtype];
  return dtype === 'F32'
    ? new Float32Array(source.buffer, source.byteOffset, count)
    : new Float64Array(source.buffer, source.byteOffset, count);
}

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BundleError } from '#inference/bundle-errors.ts';
import { readSafetensors, type Tensor, writeSafetensors } from '#inference/safetensors.ts';

/** A file as anybody may write it: a header in any spelling, then bytes. */
function file(header: string, dataBytes: number, headerLength = header.length): Uint8Array {
  const bytes = new Uint8Array(8 + header.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(headerLength), true);
  bytes.set(new TextEncoder().encode(header), 8);
  return bytes;
}

const refused = expect.objectContaining({ code: 'BUNDLE_TENSORS_INVALID' });

describe('safetensors', () => {
  test('gives back what was written, floats and doubles, empty ones and scalars too', () => {
    const name = fc.string({ minLength: 1, maxLength: 12, unit: 'grapheme' }).filter((each) => each !== '__metadata__');
    const tensor = fc.oneof(
      fc.float32Array({ maxLength: 40 }).map((data): Tensor => ({ shape: [data.length], data })),
      fc.float64Array({ maxLength: 40 }).map((data): Tensor => ({ shape: [1, data.length, 1], data })),
      fc.double().map((value): Tensor => ({ shape: [], data: Float64Array.of(value) })),
    );
    fc.assert(
      fc.property(fc.uniqueArray(fc.tuple(name, tensor), { selector: ([each]) => each, maxLength: 8 }), (entries) => {
        const tensors = new Map(entries);
        const read = readSafetensors(writeSafetensors(tensors), 'x.safetensors');
        expect(read).toEqual(tensors);
      }),
    );
  });

  test('lays data down as the format says', () => {
    const bytes = writeSafetensors(new Map([['a', { shape: [2], data: Float32Array.of(1, -2) }]]));
    const headerLength = Number(new DataView(bytes.buffer).getBigUint64(0, true));
    expect(headerLength % 8).toBe(0);
    expect(JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerLength)))).toEqual({
      a: { dtype: 'F32', shape: [2], data_offsets: [0, 8] },
    });
    expect(new DataView(bytes.buffer).getFloat32(8 + headerLength + 4, true)).toBe(-2);
  });

  test('reads metadata and data that does not lie straight', () => {
    const header = '{"__metadata__":{"by":"others"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}} ';
    const bytes = file(header, 4);
    new DataView(bytes.buffer).setFloat32(bytes.length - 4, 0.5, true);
    expect(readSafetensors(bytes, 'x').get('a')?.data).toEqual(Float32Array.of(0.5));
  });

  const one = (entry: object): string => JSON.stringify({ a: entry });
  test.each([
    ['no header length', new Uint8Array(7)],
    ['a header beyond the file', file('{}', 0, 1000)],
    ['a header beyond all memory', file('{}', 0, Number.MAX_SAFE_INTEGER)],
    ['a header that is not JSON', file('{"a":', 0)],
    ['a header that is a list', file('[]', 0)],
    ['an unknown dtype', file(one({ dtype: 'BF16', shape: [1], data_offsets: [0, 2] }), 2)],
    ['a negative size', file(one({ dtype: 'F32', shape: [-1], data_offsets: [0, 4] }), 4)],
    ['a shape that does not fit', file(one({ dtype: 'F32', shape: [2], data_offsets: [0, 4] }), 4)],
    ['a size that overflows', file(one({ dtype: 'F32', shape: [2 ** 32, 2 ** 32], data_offsets: [0, 0] }), 0)],
    ['offsets beyond the file', file(one({ dtype: 'F32', shape: [2], data_offsets: [0, 8] }), 4)],
    ['offsets turned round', file(one({ dtype: 'F32', shape: [1], data_offsets: [4, 0] }), 4)],
    ['bytes that no tensor owns', file(one({ dtype: 'F32', shape: [1], data_offsets: [0, 4] }), 8)],
    ['a hole', file(one({ dtype: 'F32', shape: [1], data_offsets: [4, 8] }), 8)],
    [
      'tensors that overlap',
      file(
        JSON.stringify({
          a: { dtype: 'F32', shape: [2], data_offsets: [0, 8] },
          b: { dtype: 'F32', shape: [1], data_offsets: [4, 8] },
        }),
        8,
      ),
    ],
    ['an entry that is nothing', file('{"a":null}', 0)],
  ])('with %s are refused', (_, bytes) => {
    expect(() => readSafetensors(bytes, 'x.safetensors')).toThrow(refused);
  });

  test('any other bytes are refused or read, never a crash', () => {
    const whole = writeSafetensors(new Map([['ab', { shape: [2, 1], data: Float32Array.of(1, 2) }]]));
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
        const bytes = whole.slice();
        bytes[at] = bytes[at]! ^ mask;
        let fault: unknown;
        try {
          readSafetensors(bytes, 'x');
        } catch (error) {
          fault = error;
        }
        expect(fault === undefined || fault instanceof BundleError).toBe(true);
      }),
      { numRuns: 500 },
    );
  });
});

/** A TCF 2 consent string that allows every purpose to the first vendors: what a person who clicked "accept all" sends. */
export function acceptAllConsent(createdMs: number): string {
  const vendorCount = 1000;
  const deciseconds = Math.floor(createdMs / 100);
  // Fields in the order of the TCF 2 core string: [value, bits].
  const fields: readonly (readonly [number, number])[] = [
    [2, 6],
    [deciseconds, 36],
    [deciseconds, 36],
    [10, 12],
    [1, 12],
    [0, 6],
    [4, 6],
    [13, 6],
    [48, 12],
    [4, 6],
    [1, 1],
    [0, 1],
    [0, 12],
    // Ten purposes, then ten on legitimate interest.
    [0b1111111111 * 2 ** 14, 24],
    [0b0100111111 * 2 ** 14, 24],
    [0, 1],
    [3, 6],
    [4, 6],
    [vendorCount, 16],
    // One range: 1 to vendorCount.
    [1, 1],
    [1, 12],
    [1, 1],
    [1, 16],
    [vendorCount, 16],
    [0, 16],
    [0, 1],
    [0, 12],
  ];
  const bits = fields.map(([value, width]) => value.toString(2).padStart(width, '0')).join('');
  const bytes = Buffer.alloc(Math.ceil(bits.length / 8));
  for (let byte = 0; byte < bytes.length; byte += 1) {
    bytes[byte] = Number.parseInt(bits.slice(byte * 8, byte * 8 + 8).padEnd(8, '0'), 2);
  }
  return bytes.toString('base64url');
}

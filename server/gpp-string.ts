/** Bits of web-safe base64 text, most significant first, 6 to a character. */
class BitText {
  readonly #text: string;
  position = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** −1 where the text holds no base64 digit. */
  bits(count: number): number {
    let value = 0;
    for (let taken = 0; taken < count; taken++) {
      const digit = base64Digit(this.#text.charCodeAt(Math.floor(this.position / 6)));
      if (digit < 0) return -1;
      value = value * 2 + ((digit >> (5 - (this.position % 6))) & 1);
      this.position++;
    }
    return value;
  }

  /** A Fibonacci-coded whole number ≥ 1; −1 when the code does not end. */
  fibonacci(): number {
    let value = 0;
    let weight = 1;
    let nextWeight = 2;
    let previous = 0;
    for (let digit = 0; digit < 24; digit++) {
      const bit = this.bits(1);
      if (bit < 0) return -1;
      if (bit === 1 && previous === 1) return value;
      if (bit === 1) value += weight;
      previous = bit;
      [weight, nextWeight] = [nextWeight, weight + nextWeight];
    }
    return -1;
  }
}

/** Value of a character of web-safe base64; −1 for anything else, the end of the text included. */
export function base64Digit(code: number): number {
  if (code >= 0x41 && code <= 0x5a) return code - 0x41;
  if (code >= 0x61 && code <= 0x7a) return code - 0x61 + 26;
  if (code >= 0x30 && code <= 0x39) return code - 0x30 + 52;
  if (code === 0x2d) return 62;
  return code === 0x5f ? 63 : -1;
}

/** Sections that a header may name; the registry has fewer than 40. */
const sectionCountMax = 64;
const gppCharsMax = 8192;

/** Section ids of a GPP string in the order of its sections, from its header; undefined when malformed. */
function sectionIds(header: string): number[] | undefined {
  const bits = new BitText(header);
  if (bits.bits(6) !== 3 || bits.bits(6) < 1) return undefined;
  const itemCount = bits.bits(12);
  if (itemCount < 0 || itemCount > sectionCountMax) return undefined;
  const ids: number[] = [];
  let last = 0;
  for (let item = 0; item < itemCount; item++) {
    const isRange = bits.bits(1);
    const offset = bits.fibonacci();
    if (isRange < 0 || offset < 0) return undefined;
    const first = last + offset;
    const span = isRange === 1 ? bits.fibonacci() : 0;
    if (span < 0 || ids.length + span >= sectionCountMax) return undefined;
    last = first + span;
    for (let id = first; id <= last; id++) ids.push(id);
  }
  return ids;
}

/** Section texts of a GPP string by section id; undefined when it is malformed. */
export function gppSections(gpp: string): ReadonlyMap<number, string> | undefined {
  if (gpp.length > gppCharsMax) return undefined;
  const [header = '', ...texts] = gpp.split('~');
  const ids = sectionIds(header);
  if (ids === undefined || ids.length !== texts.length) return undefined;
  return new Map(ids.map((id, index) => [id, texts[index]!]));
}

/** GPP section of the IAB Europe consent string, and of the old US privacy string. */
export const gppEuropeSection = 2;
const uspSection = 6;
const usNationalSection = 7;
/** The US sections in force or announced; ids above belong to no US state yet. */
const usSectionMax = 27;

export function isUsSection(id: number): boolean {
  return id >= uspSection && id <= usSectionMax;
}

/**
 * Where the opt-outs (sale, sharing, targeted advertising: 2 bits each, 1 = opted out) lie in the core of a US section, in
 * bits. From the IAB's "GPP extension" tables: the national text has six notices before them, Utah and Iowa four, the others three.
 */
function optOutOffset(id: number): { firstBit: number; count: number } {
  if (id === usNationalSection) return { firstBit: 18, count: 3 };
  if (id === 11 || id === 18) return { firstBit: 14, count: 2 };
  return { firstBit: 12, count: 2 };
}

/** Whether a US section opts out of sale, sharing or targeted advertising. What cannot be read counts as opted out. */
export function optsOut(id: number, section: string): boolean {
  if (id === uspSection) return !/^1[YN-][N-][YN-]$/u.test(section);
  const { firstBit, count } = optOutOffset(id);
  const bits = new BitText(section);
  bits.position = firstBit;
  for (let index = 0; index < count; index++) {
    const choice = bits.bits(2);
    if (choice < 0 || choice === 1) return true;
  }
  return false;
}

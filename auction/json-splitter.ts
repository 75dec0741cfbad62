/** What the splitter finds: entries of top-level lists one by one, other top-level values whole. */
export type SplitSink = {
  /** Whether a top-level list is to be taken apart. */
  isList(key: string): boolean;
  /** `index` −1: the whole value of a key. `text` is JSON, not yet parsed. */
  value(key: string, index: number, text: string): void;
  /** A list began: an empty one has no values. */
  list(key: string): void;
};
/** `path` is where in the document; '' its top. */
export type SplitFault = { readonly path: string; readonly message: string };

/** One entry: the largest targeting that validation accepts is some 5 MB. */
const valueBytesMax = 8 * 1024 * 1024;

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const colon = 0x3a;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;

type Expected =
  | 'start'
  | 'key or end'
  | 'key'
  | 'colon'
  | 'value'
  | 'entry or end'
  | 'entry'
  | 'after entry'
  | 'after value'
  | 'nothing';

/**
 * Takes a JSON object apart while it is being read, so that a document of hundreds of megabytes is never one string nor one
 * tree: memory is one piece plus one entry. What it hands out still has to be parsed; it looks only at the structure around it.
 */
export class JsonSplitter {
  readonly #sink: SplitSink;
  #expected: Expected = 'start';
  #key = '';
  #index = 0;
  /** Bytes of a value whose end has not come yet. */
  #rest: Buffer = Buffer.alloc(0);
  #fault: SplitFault | undefined;

  constructor(sink: SplitSink) {
    this.#sink = sink;
  }

  get fault(): SplitFault | undefined {
    return this.#fault;
  }

  /** Takes the next piece. After a fault, pieces are ignored. */
  push(piece: Uint8Array): void {
    if (this.#fault === undefined) this.#run(Buffer.concat([this.#rest, piece]), false);
  }

  end(): void {
    if (this.#fault !== undefined) return;
    this.#run(this.#rest, true);
    if (this.#fault === undefined && this.#expected !== 'nothing') this.#fail('the document ends too early');
  }

  #run(bytes: Buffer, isLast: boolean): void {
    let at = 0;
    while (this.#fault === undefined) {
      while (at < bytes.length && isSpace(bytes[at]!)) at++;
      if (at >= bytes.length) break;
      const next = this.#step(bytes, at, isLast);
      // A value that goes on in the next piece.
      if (next < 0) break;
      at = next;
    }
    this.#rest = bytes.subarray(at);
    if (this.#fault === undefined && this.#rest.length > valueBytesMax)
      this.#fail(`an entry is larger than ${valueBytesMax} bytes`);
  }

  /** Handles what begins at `at`; returns where it ends, −1 when that is not here yet. */
  #step(bytes: Buffer, at: number, isLast: boolean): number {
    const byte = bytes[at]!;
    switch (this.#expected) {
      case 'start':
        return this.#take(byte === openBrace, at, 'key or end', 'must be a JSON object');
      case 'key or end':
      case 'key': {
        if (byte === closeBrace && this.#expected === 'key or end') return this.#take(true, at, 'nothing', '');
        if (byte !== quote) return this.#take(false, at, 'key', 'a key in quotes is expected');
        return this.#value(bytes, at, isLast, (text) => {
          const key: unknown = JSON.parse(text);
          this.#key = String(key);
          this.#expected = 'colon';
        });
      }
      case 'colon':
        return this.#take(byte === colon, at, 'value', 'a colon is expected');
      case 'value':
        if (byte === openBracket && this.#sink.isList(this.#key)) {
          this.#index = 0;
          this.#sink.list(this.#key);
          return this.#take(true, at, 'entry or end', '');
        }
        return this.#value(bytes, at, isLast, (text) => {
          this.#sink.value(this.#key, -1, text);
          this.#expected = 'after value';
        });
      case 'entry or end':
      case 'entry':
        if (byte === closeBracket && this.#expected === 'entry or end') return this.#take(true, at, 'after value', '');
        return this.#value(bytes, at, isLast, (text) => {
          this.#sink.value(this.#key, this.#index++, text);
          this.#expected = 'after entry';
        });
      case 'after entry':
        return this.#take(
          byte === comma || byte === closeBracket,
          at,
          byte === comma ? 'entry' : 'after value',
          'a comma or the end of the list is expected',
        );
      case 'after value':
        return this.#take(
          byte === comma || byte === closeBrace,
          at,
          byte === comma ? 'key' : 'nothing',
          'a comma or the end of the object is expected',
        );
      case 'nothing':
        return this.#take(false, at, 'nothing', 'something follows the end of the document');
    }
  }

  #take(isRight: boolean, at: number, then: Expected, message: string): number {
    if (isRight) {
      this.#expected = then;
      if (then === 'nothing') this.#key = '';
    } else this.#fail(message);
    return at + 1;
  }

  #value(bytes: Buffer, at: number, isLast: boolean, use: (text: string) => void): number {
    const end = endOfValue(bytes, at);
    if (end === at) {
      this.#fail('a value is expected');
      return at;
    }
    // A number or a word that touches the end of the piece may go on in the next one.
    if (end < 0 || (end === bytes.length && !isLast && !isClosed(bytes[end - 1]!))) return -1;
    try {
      use(bytes.toString('utf8', at, end));
    } catch (error) {
      this.#fail(`cannot be read: ${error instanceof Error ? error.message : String(error)}`);
    }
    return end;
  }

  #fail(message: string): void {
    const isInList =
      this.#expected === 'entry' || this.#expected === 'entry or end' || this.#expected === 'after entry';
    this.#fault = { path: isInList ? `${this.#key}[${this.#index}]` : this.#key, message };
  }
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function isClosed(byte: number): boolean {
  return byte === quote || byte === closeBrace || byte === closeBracket;
}

/** Where the value that begins at `at` ends; −1 when it does not end here. Does not look at what is inside objects and lists. */
function endOfValue(bytes: Buffer, at: number): number {
  const first = bytes[at]!;
  if (first === quote) return endOfString(bytes, at);
  if (first !== openBrace && first !== openBracket) {
    let end = at;
    for (; end < bytes.length; end++) {
      const byte = bytes[end]!;
      if (isSpace(byte) || byte === comma || byte === closeBrace || byte === closeBracket || byte === colon) break;
    }
    return end;
  }
  let depth = 0;
  for (let end = at; end < bytes.length; end++) {
    const byte = bytes[end]!;
    if (byte === quote) {
      end = endOfString(bytes, end) - 1;
      if (end < 0) return -1;
    } else if (byte === openBrace || byte === openBracket) depth++;
    else if ((byte === closeBrace || byte === closeBracket) && --depth === 0) return end + 1;
  }
  return -1;
}

function endOfString(bytes: Buffer, at: number): number {
  for (let end = at + 1; end < bytes.length; end++) {
    const byte = bytes[end]!;
    if (byte === backslash) end++;
    else if (byte === quote) return end + 1;
  }
  return -1;
}

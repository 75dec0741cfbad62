import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  getRequest,
  isReplaced,
  memcachedKey,
  type MetaAnswers,
  MetaProtocolError,
  MetaReader,
  removeRequest,
  setRequest,
} from '#embeddings/stores/memcached-protocol.ts';

type Heard =
  | { readonly kind: 'value'; readonly opaque: number; readonly value: string }
  | { readonly kind: 'end' }
  | { readonly kind: 'refused'; readonly line: string };

class Listener implements MetaAnswers {
  readonly heard: Heard[] = [];

  value(opaque: number, bytes: Buffer, start: number, end: number): void {
    this.heard.push({ kind: 'value', opaque, value: bytes.toString('hex', start, end) });
  }

  batchEnd(): void {
    this.heard.push({ kind: 'end' });
  }

  refused(line: string): void {
    this.heard.push({ kind: 'refused', line });
  }
}

const answer: fc.Arbitrary<{ bytes: Buffer; heard: Heard | undefined }> = fc.oneof(
  fc.record({ opaque: fc.nat(2 ** 30), value: fc.uint8Array({ maxLength: 300 }) }).map(({ opaque, value }) => ({
    bytes: Buffer.concat([Buffer.from(`VA ${value.length} O${opaque}\r\n`), value, Buffer.from('\r\n')]),
    heard: { kind: 'value' as const, opaque, value: Buffer.from(value).toString('hex') },
  })),
  fc.constant({ bytes: Buffer.from('MN\r\n'), heard: { kind: 'end' as const } }),
  fc.constantFrom('EN', 'HD', 'NF').map((line) => ({ bytes: Buffer.from(`${line}\r\n`), heard: undefined })),
  fc
    .constantFrom('NS', 'SERVER_ERROR out of memory storing object')
    .map((line) => ({ bytes: Buffer.from(`${line}\r\n`), heard: { kind: 'refused' as const, line } })),
);

test('hears the same however the stream is cut into pieces', () => {
  fc.assert(
    fc.property(
      fc.array(answer, { maxLength: 30 }),
      fc.array(fc.integer({ min: 1, max: 90 }), { maxLength: 60 }),
      (answers, cuts) => {
        const stream = Buffer.concat(answers.map(({ bytes }) => bytes));
        const listener = new Listener();
        const reader = new MetaReader(listener);
        const received = Buffer.alloc(100_000);
        let at = 0;
        for (const cut of [...cuts, stream.length]) {
          const piece = stream.subarray(at, at + cut);
          received.fill(0xee);
          piece.copy(received);
          reader.take(received, piece.length);
          at += piece.length;
        }
        expect(listener.heard).toEqual(answers.flatMap(({ heard }) => heard ?? []));
      },
    ),
  );
});

test('garbage is a MetaProtocolError or waits for more, and never anything else', () => {
  const garbage = fc.oneof(
    fc.uint8Array({ maxLength: 400 }),
    fc
      .tuple(
        fc.constantFrom('VA ', 'VA 3 O1\r\nabc', 'MN', 'HD x', 'VA 5 ', 'EN\r', 'ERROR'),
        fc.uint8Array({ maxLength: 40 }),
      )
      .map(([start, tail]) => Buffer.concat([Buffer.from(start), tail])),
  );
  fc.assert(
    fc.property(garbage, (bytes) => {
      let fault: unknown;
      try {
        new MetaReader(new Listener()).take(Buffer.from(bytes), bytes.length);
      } catch (error) {
        fault = error;
      }
      expect(fault === undefined || fault instanceof MetaProtocolError).toBe(true);
    }),
    { numRuns: 1000 },
  );
});

test.each([
  'ERROR\r\n',
  'CLIENT_ERROR bad command line format\r\n',
  'HTTP/1.1 400 Bad Request\r\n',
  'VA -1 O1\r\n',
  'VA 2000000 O1\r\n',
  'VA 3 O1\r\nabcdef\r\n',
  'VA 3\r\nabc\r\n',
  'VA 3 O1 k\r\nabc\r\n',
  '\r\n',
  'x'.repeat(3000),
])('does not believe %j', (text) => {
  const bytes = Buffer.from(text);
  expect(() => new MetaReader(new Listener()).take(bytes, bytes.length)).toThrow(MetaProtocolError);
});

test('keys that Memcached cannot take are replaced, each by another, and none that it can take looks like one', () => {
  const key = fc
    .oneof(
      fc.uint8Array({ minLength: 1, maxLength: 40 }),
      fc.uint8Array({ minLength: 180, maxLength: 300 }),
      fc
        .tuple(fc.constant([0, 0x68]), fc.uint8Array({ minLength: 32, maxLength: 32 }))
        .map(([head, tail]) => [...head, ...tail]),
    )
    .map((bytes) => Buffer.from(bytes));
  fc.assert(
    fc.property(fc.uniqueArray(key, { maxLength: 20, selector: (each) => each.toString('latin1') }), (keys) => {
      const sent = keys.map(memcachedKey);
      expect(new Set(sent.map((each) => each.toString('latin1'))).size).toBe(keys.length);
      for (const [index, each] of sent.entries()) {
        expect(isReplaced(keys[index]!) || each.equals(keys[index]!)).toBe(true);
        const [, , text] = /^(md) (\S+)/u.exec(removeRequest([each]).toString('latin1'))!;
        expect(text!.length).toBeLessThanOrEqual(250);
      }
    }),
  );
});

test('what is sent', () => {
  const [plain, binary] = [Buffer.from('user:1'), Buffer.from([1, 2, 3])];
  expect(getRequest([plain, binary, plain], [0, 1], 99).toString()).toBe(
    'mg user:1 v q O99\r\nmg AQID b v q O100\r\nmn\r\n',
  );
  expect(
    setRequest([
      { key: plain, value: Buffer.from('a\r\nb'), expirySeconds: 7 },
      { key: binary, value: Buffer.alloc(0), expirySeconds: 0 },
    ]).toString(),
  ).toBe('ms user:1 4 q T7\r\na\r\nb\r\nms AQID 0 b q T0\r\n\r\nmn\r\n');
  expect(removeRequest([plain, binary]).toString()).toBe('md user:1 q\r\nmd AQID b q\r\nmn\r\n');
});

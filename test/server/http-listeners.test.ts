import { afterEach, describe, expect, test } from 'vitest';
import { ServerError } from '#server/errors.ts';
import {
  type HttpHandler,
  type HttpLimits,
  type HttpListener,
  type HttpRequest,
  type ListeningHttp,
  noHeaders,
  type Respond,
  type Route,
} from '#server/http-listener.ts';
import { freePort } from '#server/listen-address.ts';
import { nodeListener } from '#server/node-listener.ts';
import { addressText, uwsListener } from '#server/uws-listener.ts';
import { RawConnection } from '../support/raw-http.ts';

const listeners: readonly [string, HttpListener][] = [
  ['uWebSockets.js', uwsListener],
  ['node:http', nodeListener],
];

const echo: HttpHandler = (request, respond) => respond(200, [['x-path', request.path]], request.body);
const route = (path: string, methods: readonly string[], handle: HttpHandler): Route => ({ path, methods, handle });

describe.each(listeners)('%s', (_, listener) => {
  const open: ListeningHttp[] = [];
  const errors: unknown[] = [];
  afterEach(async () => {
    errors.length = 0;
    for (const each of open.splice(0)) await each.close(0);
  });

  async function listen(routes: readonly Route[], limits: Partial<HttpLimits> = {}): Promise<ListeningHttp> {
    const listening = await listener.listen({
      host: '127.0.0.1',
      port: 0,
      routes,
      limits,
      now: () => performance.timeOrigin + performance.now(),
      onError: (error) => errors.push(error),
    });
    open.push(listening);
    return listening;
  }
  const url = ({ port }: ListeningHttp, path: string): string => `http://127.0.0.1:${port}${path}`;

  test('hands over the whole body, the path as sent, the query, and the time of the head', async () => {
    let seen: HttpRequest | undefined;
    let remoteAddress = '';
    const server = await listen([
      route('/a/*', ['POST'], (request, respond) => {
        seen = request;
        remoteAddress = request.remoteAddress;
        echo(request, respond);
      }),
    ]);
    const before = performance.timeOrigin + performance.now();
    const body = 'x'.repeat(100_000);
    const answer = await fetch(url(server, '/a/b%20c?d=e&f'), { method: 'POST', body });
    expect(await answer.text()).toBe(body);
    expect(answer.headers.get('x-path')).toBe('/a/b%20c');
    expect(seen?.query).toBe('d=e&f');
    expect(seen?.method).toBe('POST');
    expect(remoteAddress).toBe('127.0.0.1');
    expect(seen?.arrivalMs).toBeGreaterThanOrEqual(before - 1);
    expect(seen?.arrivalMs).toBeLessThanOrEqual(performance.timeOrigin + performance.now());
    expect(seen?.isAborted).toBe(false);
  });

  test('a path without a question mark has an empty query', async () => {
    const queries: unknown[] = [];
    const server = await listen([
      route('/q', ['GET', 'POST'], (request, respond) => {
        queries.push(request.query);
        respond(204, noHeaders, '');
      }),
    ]);
    await fetch(url(server, '/q'));
    await fetch(url(server, '/q'), { method: 'POST', body: '{}' });
    await fetch(url(server, '/q?'));
    expect(queries).toEqual(['', '', '']);
  });

  test('copies the headers that handlers may ask for, usable after the handler returned', async () => {
    const server = await listen([
      route('/', ['POST'], (request, respond) => {
        setTimeout(() => {
          respond(200, noHeaders, `${request.header('x-gavelin-key')}|${request.header('origin')}`);
        }, 5);
      }),
    ]);
    const answer = await fetch(url(server, '/'), { method: 'POST', body: '{}', headers: { 'X-Gavelin-Key': 'Kk' } });
    expect(await answer.text()).toBe('Kk|');
  });

  test('keeps a connection for the next request, the body of one never in the other', async () => {
    const server = await listen([route('/e', ['POST'], echo)]);
    const connection = await RawConnection.open(server.port);
    for (const body of ['one', '', 'three']) {
      connection.send(`POST /e HTTP/1.1\r\nHost: h\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
      expect(await connection.answer()).toMatchObject({ status: 200, body });
    }
    connection.destroy();
  });

  test('answers HEAD like GET, without the body', async () => {
    const server = await listen([route('/g', ['GET'], (__, respond) => respond(200, noHeaders, 'hello'))]);
    const head = await fetch(url(server, '/g'), { method: 'HEAD' });
    expect(head.headers.get('content-length')).toBe('5');
    expect(await head.text()).toBe('');
  });

  test('knows the longest pattern, 404 and 405 with what is allowed', async () => {
    const say =
      (text: string): HttpHandler =>
      (__, respond) =>
        respond(200, noHeaders, text);
    const server = await listen([
      route('/a', ['GET', 'POST'], say('a')),
      route('/a/*', ['GET'], say('below a')),
      route('/a/b/*', ['GET'], say('below b')),
    ]);
    const get = async (path: string): Promise<string> => (await fetch(url(server, path))).text();
    expect(await get('/a')).toBe('a');
    expect(await get('/a/x')).toBe('below a');
    expect(await get('/a/b/x')).toBe('below b');
    expect((await fetch(url(server, '/b'))).status).toBe(404);
    const wrong = await fetch(url(server, '/a'), { method: 'DELETE' });
    expect(wrong.status).toBe(405);
    expect(wrong.headers.get('allow')).toBe('GET, POST, HEAD');
  });

  test('a 204 has no body and no length of one', async () => {
    const server = await listen([route('/n', ['POST'], (__, respond) => respond(204, [['x-a', 'b']], ''))]);
    const connection = await RawConnection.open(server.port);
    connection.send('POST /n HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}');
    const answer = await connection.answer();
    expect(answer?.status).toBe(204);
    expect(answer?.headers['x-a']).toBe('b');
    expect(answer?.headers['content-length']).toBeUndefined();
    connection.destroy();
  });

  test('refuses a body above the limit, announced or not', async () => {
    let handled = 0;
    const server = await listen(
      [
        route('/e', ['POST'], (request, respond) => {
          handled++;
          echo(request, respond);
        }),
      ],
      { bodyBytesMax: 1000 },
    );
    const exact = await fetch(url(server, '/e'), { method: 'POST', body: 'x'.repeat(1000) });
    expect(exact.status).toBe(200);
    const announced = await RawConnection.open(server.port);
    announced.send(`POST /e HTTP/1.1\r\nHost: h\r\nContent-Length: 10485760\r\n\r\n${'x'.repeat(2000)}`);
    expect((await announced.answer())?.status ?? 413).toBe(413);
    await announced.ended();
    const chunked = await RawConnection.open(server.port);
    chunked.send('POST /e HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n');
    for (let index = 0; index < 40; index++) chunked.send(`40\r\n${'y'.repeat(64)}\r\n`);
    expect((await chunked.answer())?.status ?? 413).toBe(413);
    await chunked.ended();
    expect(handled).toBe(1);
    await expect.poll(() => server.inFlightCount).toBe(0);
  });

  test('ends a request whose body does not come', async () => {
    const server = await listen([route('/e', ['POST'], echo)], { requestMsMax: 200 });
    const connection = await RawConnection.open(server.port);
    connection.send('POST /e HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc');
    expect((await connection.answer())?.status ?? 408).toBe(408);
    await connection.ended();
    await expect.poll(() => server.inFlightCount).toBe(0);
  });

  test('a caller who hangs up in his body is never handled', async () => {
    let handled = 0;
    const server = await listen([
      route('/e', ['POST'], (__, respond) => {
        handled++;
        respond(200, noHeaders, '');
      }),
    ]);
    const connection = await RawConnection.open(server.port);
    connection.send('POST /e HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc');
    await expect.poll(() => server.inFlightCount).toBe(1);
    connection.destroy();
    await expect.poll(() => server.inFlightCount).toBe(0);
    expect(handled).toBe(0);
  });

  test('a caller who hangs up before his answer is known to have left, and answering him does nothing', async () => {
    let held: { request: HttpRequest; respond: Respond } | undefined;
    const server = await listen([
      route('/e', ['POST'], (request, respond) => {
        held = { request, respond };
      }),
    ]);
    const connection = await RawConnection.open(server.port);
    connection.send('POST /e HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}');
    await expect.poll(() => held).toBeDefined();
    expect(server.inFlightCount).toBe(1);
    connection.destroy();
    await expect.poll(() => held?.request.isAborted).toBe(true);
    expect(server.inFlightCount).toBe(0);
    expect(() => held?.respond(200, noHeaders, 'late')).not.toThrow();
    expect(() => held?.respond(200, noHeaders, 'twice')).toThrow('twice');
    expect(errors).toEqual([]);
  });

  test('a handler that throws is answered 500 and told of once', async () => {
    const broken = new Error('broken');
    const server = await listen([
      route('/t', ['GET'], () => {
        throw broken;
      }),
      route('/u', ['GET'], (__, respond) => {
        respond(200, noHeaders, 'fine');
        throw broken;
      }),
    ]);
    const answer = await fetch(url(server, '/t'));
    expect([answer.status, await answer.text()]).toEqual([500, '']);
    expect(errors).toEqual([broken]);
    const second = await fetch(url(server, '/u'));
    expect([second.status, await second.text()]).toEqual([200, 'fine']);
    expect(errors).toEqual([broken, broken]);
  });

  test('answering twice is a bug that shows', async () => {
    let thrown: unknown;
    const server = await listen([
      route('/e', ['GET'], (__, respond) => {
        respond(200, noHeaders, 'once');
        try {
          respond(200, noHeaders, 'twice');
        } catch (error) {
          thrown = error;
        }
      }),
    ]);
    expect(await (await fetch(url(server, '/e'))).text()).toBe('once');
    expect(thrown).toBeInstanceOf(Error);
  });

  test('requests that come in a row on one connection are answered in their order, or the connection ends', async () => {
    const server = await listen([
      route('/now', ['GET'], (request, respond) => respond(200, noHeaders, request.query)),
      route('/later', ['GET'], (request, respond) => {
        setTimeout(() => respond(200, noHeaders, request.query), 20);
      }),
    ]);
    const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: h\r\n\r\n`;
    const prompt = await RawConnection.open(server.port);
    prompt.send(get('/now?1') + get('/now?2') + get('/now?3'));
    for (const body of ['1', '2', '3']) expect((await prompt.answer())?.body).toBe(body);
    prompt.destroy();
    const patient = await RawConnection.open(server.port);
    patient.send(get('/later?1') + get('/now?2'));
    const first = await patient.answer();
    const second = first === undefined ? undefined : await patient.answer();
    // uWebSockets.js ends the connection rather than hold the second; what must not happen is 2 before 1.
    expect([undefined, '1']).toContain(first?.body);
    expect([undefined, '2']).toContain(second?.body);
    patient.destroy();
    await expect.poll(() => server.inFlightCount).toBe(0);
  });

  test('what is not HTTP, or too much head, is 4xx or the end, and the next caller is served', async () => {
    const server = await listen([route('/e', ['GET'], (__, respond) => respond(200, noHeaders, 'ok'))]);
    const nonsense = [
      'hello\r\n\r\n',
      '\u0000\u0001\u0002\r\n\r\n',
      'GET /e HTTP/9.9\r\nHost: h\r\n\r\n',
      'GET\r\n\r\n',
      'POST /e HTTP/1.1\r\nHost: h\r\nContent-Length: minus\r\n\r\n',
      'POST /e HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc',
      `GET /e HTTP/1.1\r\nHost: h\r\nX-Long: ${'x'.repeat(100_000)}\r\n\r\n`,
    ];
    for (const text of nonsense) {
      const connection = await RawConnection.open(server.port);
      connection.send(text);
      // What may still become a head is waited for, up to the listener's own limit: not here.
      const waited = new Promise<undefined>((resolve) => {
        setTimeout(() => resolve(undefined), 150);
      });
      const answer = await Promise.race([connection.answer(), waited]);
      expect({ text: text.slice(0, 40), class: Math.floor((answer?.status ?? 400) / 100) }).toEqual({
        text: text.slice(0, 40),
        class: answer?.status === 505 ? 5 : 4,
      });
      connection.destroy();
    }
    expect(await (await fetch(url(server, '/e'))).text()).toBe('ok');
    await expect.poll(() => server.inFlightCount).toBe(0);
  });

  test('takes a head of 3.5 KiB', async () => {
    const server = await listen([
      route('/e', ['GET'], (request, respond) => respond(200, noHeaders, request.header('user-agent'))),
    ]);
    const agent = 'u'.repeat(1500);
    const answer = await fetch(url(server, '/e'), { headers: { 'user-agent': agent, 'x-other': 'o'.repeat(1500) } });
    expect(await answer.text()).toBe(agent);
  });

  test('stops accepting: open connections are answered and told to close, new ones are refused', async () => {
    const server = await listen([route('/e', ['POST'], echo)]);
    const connection = await RawConnection.open(server.port);
    connection.send('POST /e HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nab');
    await expect.poll(() => server.inFlightCount).toBe(1);
    server.stopAccepting();
    await expect(RawConnection.open(server.port)).rejects.toThrow('ECONNREFUSED');
    connection.send('c');
    const answer = await connection.answer();
    expect(answer).toMatchObject({ status: 200, body: 'abc' });
    expect(answer?.headers['connection']).toBe('close');
    await connection.ended();
  });

  test('close waits for the answers that are owed, as long as its grace lasts', async () => {
    let respond: Respond | undefined;
    const server = await listen([
      route('/e', ['POST'], (__, answer) => {
        respond = answer;
      }),
    ]);
    const request = 'POST /e HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n';
    const served = await RawConnection.open(server.port);
    served.send(request);
    await expect.poll(() => respond).toBeDefined();
    const closing = server.close(5000);
    setTimeout(() => respond!(200, noHeaders, 'owed'), 20);
    expect((await served.answer())?.body).toBe('owed');
    await closing;
    expect(server.inFlightCount).toBe(0);
  });

  test('close ends what is still owed after its grace', async () => {
    const server = await listen([route('/e', ['POST'], () => {})]);
    const connection = await RawConnection.open(server.port);
    connection.send('POST /e HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n');
    await expect.poll(() => server.inFlightCount).toBe(1);
    await server.close(30);
    expect(await connection.answer()).toBeUndefined();
    expect(server.inFlightCount).toBe(0);
  });

  test('says so when the address cannot be had', async () => {
    const options = { host: '192.0.2.1', port: 0, routes: [], now: () => 0, onError: () => {} };
    await expect(listener.listen(options)).rejects.toThrow(ServerError);
  });
});

const quiet = { host: '127.0.0.1', now: () => 0, onError: () => {} };

test('several threads may listen on one port with uWebSockets.js: each connection goes to one of them', async () => {
  const say = (text: string): Route[] => [route('/', ['GET'], (_, respond) => respond(200, noHeaders, text))];
  const first = await uwsListener.listen({ ...quiet, port: 0, routes: say('first') });
  const second = await uwsListener.listen({ ...quiet, port: first.port, routes: say('second') });
  const heard = new Set<string>();
  for (let call = 0; call < 64; call++) {
    const connection = await RawConnection.open(first.port);
    connection.send('GET / HTTP/1.1\r\nHost: h\r\n\r\n');
    heard.add((await connection.answer())?.body ?? '');
    connection.destroy();
  }
  expect([...heard].toSorted()).toEqual(['first', 'second']);
  await first.close(0);
  await second.close(0);
});

test('a port that somebody holds is not free, whichever listener holds it', async () => {
  for (const [, listener] of listeners) {
    const holder = await listener.listen({ ...quiet, port: 0, routes: [] });
    await expect(freePort('127.0.0.1', holder.port)).rejects.toMatchObject({ code: 'LISTEN_FAILED' });
    await holder.close(0);
    expect(await freePort('127.0.0.1', holder.port)).toBe(holder.port);
  }
  expect(await freePort('127.0.0.1', 0)).toBeGreaterThan(0);
});

test.each([
  [[127, 0, 0, 1], '127.0.0.1'],
  [[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], '::1'],
  [[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 1, 2, 3], '10.1.2.3'],
  [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9], '2001:db8::9'],
  [[1, 2, 3], ''],
])('address bytes %j are %s', (bytes, text) => {
  expect(addressText(Uint8Array.from(bytes))).toBe(text);
});

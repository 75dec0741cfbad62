import { once } from 'node:events';
import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { DelayProxy } from './delay-proxy.ts';
import { until } from './until.ts';

let echo: Server;
let proxy: DelayProxy;
const open: Socket[] = [];

beforeEach(async () => {
  echo = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.on('data', (piece) => socket.write(piece));
  });
  echo.listen(0, '127.0.0.1');
  await once(echo, 'listening');
  proxy = await DelayProxy.start({ host: '127.0.0.1', port: (echo.address() as AddressInfo).port });
});
afterEach(async () => {
  for (const socket of open.splice(0)) socket.destroy();
  await proxy.end();
  echo.close();
});

async function client(): Promise<{ socket: Socket; text: () => string; isClosed: () => boolean }> {
  const socket = connect({ host: '127.0.0.1', port: proxy.port });
  open.push(socket);
  let text = '';
  let isClosed = false;
  socket.on('data', (piece) => (text += piece.toString()));
  socket.on('error', () => socket.destroy());
  socket.on('close', () => (isClosed = true));
  await once(socket, 'connect');
  return { socket, text: () => text, isClosed: () => isClosed };
}

test('passes on what comes, in order, what is kept back holding up what is behind it', async () => {
  proxy.delayMsOf = (piece) => (piece.toString().startsWith('slow') ? 30 : 0);
  const { socket, text } = await client();
  for (const [index, word] of ['one ', 'slow ', 'two '].entries()) {
    socket.write(word);
    await until(() => proxy.pieceCount > index, 'it has come');
  }
  await until(() => text() === 'one slow two ', 'all of it is back');
  expect(proxy.delayedCount).toBeGreaterThan(0);
});

test('is silent, then is not', async () => {
  const { socket, text } = await client();
  proxy.isSilent = true;
  socket.write('lost');
  await new Promise((resolve) => setTimeout(resolve, 20));
  proxy.isSilent = false;
  socket.write('heard');
  await until(() => text() !== '', 'something is back');
  expect(text()).toBe('heard');
});

test('answers garbage once, cuts what stands, and refuses who comes', async () => {
  const { socket, text, isClosed } = await client();
  proxy.garbage = Buffer.from('garbage');
  socket.write('a');
  await until(() => text() === 'garbage', 'garbage');
  socket.write('b');
  await until(() => text() === 'garbageb', 'an answer');
  proxy.cut();
  await until(isClosed, 'closed');
  proxy.isRefusing = true;
  const next = connect({ host: '127.0.0.1', port: proxy.port });
  open.push(next);
  let isRefused = false;
  next.on('error', () => next.destroy());
  next.on('close', () => (isRefused = true));
  await until(() => isRefused, 'refused');
});

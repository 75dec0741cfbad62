import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type Bench, type BenchMode, type BenchProgress, type BenchReport, median } from '../support/bench.ts';

const child = join(import.meta.dirname, '../support/http-bench-child.ts');
const bodyBytes = 1000;
const connections = 16;
type ListenerName = 'uws' | 'node';

/** Requests of `connections` callers, each of whom waits for its answer, in so many seconds. */
async function requestsIn(port: number, seconds: number): Promise<number> {
  const request = `POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${bodyBytes}\r\n\r\n${'y'.repeat(bodyBytes)}`;
  let answers = 0;
  let isOver = false;
  const callers = Array.from({ length: connections }, async () => {
    const socket = connect(port, '127.0.0.1').setNoDelay(true);
    await once(socket, 'connect');
    // An answer is one segment on the loopback: its head tells that it is here.
    socket.on('data', (chunk: Buffer) => {
      if (chunk[0] !== 0x48) return;
      answers++;
      if (!isOver) socket.write(request);
    });
    socket.write(request);
    return socket;
  });
  const sockets = await Promise.all(callers);
  await new Promise((resolve) => {
    setTimeout(resolve, seconds * 1000);
  });
  isOver = true;
  for (const socket of sockets) socket.destroy();
  return answers;
}

async function told(server: ChildProcess, key: 'port' | 'cpu'): Promise<number> {
  for (;;) {
    const [message] = (await once(server, 'message')) as [{ port?: number; cpu?: number }];
    const value = message[key];
    if (value !== undefined) return value;
  }
}

/** Requests per CPU-second of a server process that does nothing but HTTP. */
async function perCpuSecond(name: ListenerName, seconds: number): Promise<number> {
  const server = fork(child, [name]);
  try {
    const port = await told(server, 'port');
    await requestsIn(port, seconds / 4);
    const cpu = async (): Promise<number> => {
      const answer = told(server, 'cpu');
      server.send('cpu');
      return answer;
    };
    const before = await cpu();
    const answers = await requestsIn(port, seconds);
    return answers / ((await cpu()) - before);
  } finally {
    server.kill('SIGKILL');
  }
}

async function runBench(mode: BenchMode, progress: BenchProgress): Promise<BenchReport> {
  const rounds = mode === 'full' ? 5 : 1;
  const seconds = mode === 'full' ? 3 : 0.3;
  const rates: Record<ListenerName, number[]> = { uws: [], node: [] };
  for (let round = 0; round < rounds; round++) {
    for (const name of ['uws', 'node'] as const) {
      progress(round, rounds, name);
      rates[name].push(await perCpuSecond(name, seconds));
    }
  }
  const uws = median(rates.uws);
  const node = median(rates.node);
  return {
    bench: 'http',
    value: Number((uws / node).toPrecision(3)),
    unit: 'requests per CPU-second, uWebSockets.js ÷ node:http',
    better: 'higher',
    figures: {
      uwsPerCpuSecond: Math.round(uws),
      nodePerCpuSecond: Math.round(node),
      uwsRounds: rates.uws.map(Math.round),
      nodeRounds: rates.node.map(Math.round),
      connections,
      bodyBytes,
      seconds,
    },
  };
}

export const bench: Bench = {
  name: 'http',
  about: 'POST requests per CPU-second of the server: uWebSockets.js against node:http',
  run: runBench,
};

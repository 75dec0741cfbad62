import { answersLine, freePort, ServerProcess } from './server-process.ts';

const host = '127.0.0.1';

export type MemcachedProcess = {
  readonly host: string;
  readonly port: number;
  readonly process: ServerProcess;
  end(): Promise<void>;
};

/** A Memcached of its own, empty, on a free loopback port. `command` is `memcachedPath()`. */
export async function startMemcached(command: string, args: readonly string[] = []): Promise<MemcachedProcess> {
  const port = await freePort();
  // As root it wants to be told whom to run as; threads: the machines have 2 cores.
  const words = ['-l', host, '-p', String(port), '-U', '0', '-t', '1', '-m', '64', ...args];
  if (process.getuid?.() === 0) words.push('-u', 'root');
  const server = await ServerProcess.start(command, words, () => answers(port));
  return {
    host,
    port,
    process: server,
    end: async () => {
      server.resume();
      await server.kill();
    },
  };
}

function answers(port: number): Promise<boolean> {
  return answersLine(port, 'mn', (text) => text === 'MN\r\n');
}

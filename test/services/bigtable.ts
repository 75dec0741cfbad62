import { connect } from 'node:net';
import { freePort, ServerProcess } from './server-process.ts';

const host = '127.0.0.1';

export type BigtableEmulator = {
  /** `host:port`, for an address's `endpoint`. */
  readonly endpoint: string;
  readonly port: number;
  readonly process: ServerProcess;
  end(): Promise<void>;
};

/** An emulator of its own, without tables, on a free loopback port; it keeps everything in memory. `command` is `bigtableEmulatorPath()`. */
export async function startBigtable(command: string): Promise<BigtableEmulator> {
  const port = await freePort();
  const server = await ServerProcess.start(command, ['-host', host, '-port', String(port)], () => accepts(port));
  return {
    endpoint: `${host}:${port}`,
    port,
    process: server,
    end: async () => {
      server.resume();
      await server.kill();
    },
  };
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { until } from '../support/until.ts';

const logCharactersKept = 4000;
const setpriv = '/usr/bin/setpriv';

/** A server of somebody else's as a child of ours: killed, stopped, woken and started again by its process id, and gone when we are. */
export class ServerProcess {
  readonly #command: string;
  readonly #args: readonly string[];
  readonly #answers: () => Promise<boolean>;
  #child: ChildProcess | undefined;
  #log = '';

  private constructor(command: string, args: readonly string[], answers: () => Promise<boolean>) {
    this.#command = command;
    this.#args = args;
    this.#answers = answers;
  }

  /** Resolves when `answers` first says so. */
  static async start(
    command: string,
    args: readonly string[],
    answers: () => Promise<boolean>,
  ): Promise<ServerProcess> {
    const server = new ServerProcess(command, args, answers);
    await server.startAgain();
    return server;
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error(`${this.#command} does not run`);
    return pid;
  }

  get isRunning(): boolean {
    return this.#child !== undefined;
  }

  async startAgain(): Promise<void> {
    if (this.#child !== undefined) return;
    // The kernel ends the server with us even where we are killed ourselves and no exit handler runs.
    const [command, args] = existsSync(setpriv)
      ? [setpriv, ['--pdeathsig', 'KILL', this.#command, ...this.#args]]
      : [this.#command, [...this.#args]];
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    running.add(child);
    const keep = (text: Buffer) => (this.#log = (this.#log + text.toString()).slice(-logCharactersKept));
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.on('error', keep);
    child.once('exit', () => {
      running.delete(child);
      if (this.#child === child) this.#child = undefined;
    });
    await until(async () => {
      if (this.#child === undefined) throw new Error(`${this.#command} ended at once:\n${this.#log}`);
      return this.#answers();
    }, `${this.#command} answers:\n${this.#log}`);
  }

  /** SIGKILL: nothing is written to disk, nobody is told. Resolves when it is gone. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill('SIGKILL');
    await gone;
  }

  /** SIGSTOP: connections stay, new ones are taken by the kernel, nothing is answered. */
  stop(): void {
    this.#child?.kill('SIGSTOP');
  }

  resume(): void {
    this.#child?.kill('SIGCONT');
  }
}

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** A loopback port that nobody listens on now. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        typeof address === 'object' && address !== null ? resolve(address.port) : reject(new Error('no port')),
      );
    });
  });
}

/** Whether a server on this machine answers a line within a moment, and with what `isAnswer` takes for one. */
export function answersLine(port: number, line: string, isAnswer: (text: string) => boolean): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    const done = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(500, () => done(false));
    socket.once('connect', () => socket.write(`${line}\r\n`));
    socket.once('data', (data) => done(isAnswer(data.toString())));
    socket.once('error', () => done(false));
  });
}

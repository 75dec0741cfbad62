import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '../..');
/** What a first start needs on a busy machine: a market, its log, a training run. */
const readyMsMax = 300_000;
const outputCharsMax = 200_000;

export type PodOptions = {
  /** Reused between pods when given; else a folder of its own that goes with the pod. */
  readonly dataDir?: string;
  /** The folder goes with the pod although it was given. */
  readonly ownsDataDir?: boolean;
  /** Demo traffic in requests per second. */
  readonly traffic?: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly nodeFlags?: readonly string[];
};

/** A whole server as its user starts it: `deploy/standalone.ts` in a process of its own, on free loopback ports. */
export class Pod {
  readonly bidPort: number;
  readonly adminPort: number;
  readonly dataDir: string;
  readonly child: ChildProcess;
  readonly #ownsDataDir: boolean;
  readonly #output: { text: string };

  private constructor(
    child: ChildProcess,
    ports: [number, number],
    dataDir: string,
    ownsDataDir: boolean,
    output: { text: string },
  ) {
    this.child = child;
    [this.bidPort, this.adminPort] = ports;
    this.dataDir = dataDir;
    this.#ownsDataDir = ownsDataDir;
    this.#output = output;
  }

  static async start(options: PodOptions = {}): Promise<Pod> {
    const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), 'gavelin-pod-'));
    const child = spawn(
      process.execPath,
      [...(options.nodeFlags ?? []), join(root, 'deploy/standalone.ts'), '--traffic', String(options.traffic ?? 0)],
      {
        cwd: root,
        stdio: ['ignore', 'pipe', 'pipe'],
        env: {
          ...process.env,
          GAVELIN_BID_PORT: '0',
          GAVELIN_ADMIN_PORT: '0',
          GAVELIN_DATA_DIR: dataDir,
          ...options.env,
        },
      },
    );
    const output = { text: '' };
    const keep = (chunk: Buffer): void => {
      output.text = (output.text + chunk.toString()).slice(-outputCharsMax);
    };
    child.stderr?.on('data', keep);
    const ports = await new Promise<[number, number]>((settle, fail) => {
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        fail(new Error(`not ready in ${readyMsMax} ms:\n${output.text}`));
      }, readyMsMax);
      child.stdout?.on('data', (chunk: Buffer) => {
        keep(chunk);
        const ready = /^gavelin ready bid=http:\/\/[^:]+:(\d+) admin=http:\/\/[^:]+:(\d+)$/mu.exec(output.text);
        if (ready === null) return;
        clearTimeout(timer);
        settle([Number(ready[1]), Number(ready[2])]);
      });
      child.once('exit', (code, signal) => {
        clearTimeout(timer);
        fail(new Error(`ended before it was ready (${code ?? signal}):\n${output.text}`));
      });
    });
    return new Pod(child, ports, dataDir, options.ownsDataDir ?? options.dataDir === undefined, output);
  }

  get output(): string {
    return this.#output.text;
  }

  get adminToken(): string {
    return readFileSync(join(this.dataDir, 'admin-token'), 'utf8').trim();
  }

  /** CPU-seconds of the server process, user and system, all threads; its children are not in it. */
  cpuSeconds(): number {
    const stat = readFileSync(`/proc/${this.child.pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // utime and stime, in ticks of 10 ms: Linux reports 100 a second to user space whatever the kernel's own rate.
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  rssBytes(): number {
    const status = readFileSync(`/proc/${this.child.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+)/u.exec(status)?.[1] ?? 0) * 1024;
  }

  async admin(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(`http://127.0.0.1:${this.adminPort}${path}`, {
      ...init,
      headers: { authorization: `Bearer ${this.adminToken}` },
    });
  }

  async metrics(): Promise<ReadonlyMap<string, number>> {
    const text = await (await fetch(`http://127.0.0.1:${this.adminPort}/metrics`)).text();
    const pairs = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    return new Map(
      pairs.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
    );
  }

  async bid(body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Response> {
    return this.post('/openrtb2/bid', body, headers);
  }

  async post(path: string, body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Response> {
    return fetch(`http://127.0.0.1:${this.bidPort}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
  }

  /** Ends the process by its own id; resolves with its exit code (null when a signal ended it). */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    const ended = new Promise<number | null>((settle) => {
      if (this.child.exitCode !== null || this.child.signalCode !== null) settle(this.child.exitCode);
      else this.child.once('exit', (code) => settle(code));
    });
    this.child.kill(signal);
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 30_000);
    const code = await ended;
    clearTimeout(timer);
    if (this.#ownsDataDir && existsSync(this.dataDir)) rmSync(this.dataDir, { recursive: true, force: true });
    return code;
  }
}

import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { DemoParameters } from './parameters.ts';

/** After this long a driver that does not end by itself is killed. */
const stopMsMax = 3000;
const stderrCharsMax = 4000;

/** The traffic driver as a child: it alone knows the truth of the demo world, and it ends with its parent. */
export class TrafficProcess {
  readonly #child: ChildProcess;
  #isStopping = false;

  /** `onEnd` is told when the driver ends without having been asked to. */
  constructor(port: number, ratePerSecond: number, parameters: DemoParameters, onEnd: (why: string) => void) {
    const words = [
      '--port',
      port,
      '--rate',
      ratePerSecond,
      '--ads',
      parameters.ads,
      '--users',
      parameters.users,
      '--seed',
      parameters.seed,
    ];
    this.#child = spawn(process.execPath, [join(import.meta.dirname, 'traffic-main.ts'), ...words.map(String)], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    let complaints = '';
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      complaints = (complaints + chunk.toString()).slice(-stderrCharsMax);
    });
    this.#child.once('exit', (code, signal) => {
      if (!this.#isStopping) onEnd(`${signal ?? code}${complaints === '' ? '' : `: ${complaints}`}`);
    });
    this.#child.once('error', (error) => onEnd(error.message));
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise<void>((settle) => {
      this.#child.once('exit', () => settle());
    });
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), stopMsMax);
    await ended;
    clearTimeout(timer);
  }
}

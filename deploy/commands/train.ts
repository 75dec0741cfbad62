import { trainCommand } from '#training-bridge/train-command.ts';
import { ProgressLine } from '../progress.ts';

/** `gavelin train`: see `--help`. */
export function runTrain(words: readonly string[]): Promise<number> {
  const stop = new AbortController();
  process.once('SIGINT', () => stop.abort());
  return trainCommand(words, {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
    now: () => performance.now(),
    onProgress: new ProgressLine(process.stderr, () => performance.now()).update,
    signal: stop.signal,
  });
}

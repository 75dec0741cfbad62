import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { BundleError } from '#inference/bundle-errors.ts';
import { writeBundle } from '#inference/bundle-write.ts';
import { loadOrCreateSigningKey } from '#inference/signing.ts';
import { loadImpressionSet } from './impression-set-file.ts';
import { TrainerError } from './trainer-errors.ts';
import { trainModel } from './trainer.ts';

export type TrainCommandIo = {
  /** Takes what is said to people and what is said about problems; lines end with a line feed. */
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** Milliseconds of any steady clock. */
  readonly now: () => number;
  /** Draws progress; without it none is shown. */
  readonly onProgress?: (done: number, total: number, what: string) => void;
  readonly signal?: AbortSignal;
};

const help = `gavelin train --impressions FILE --out DIR [options]

Trains both rankers on logged impressions in one pass and writes a signed bundle into DIR, under the name of its hash.

  --impressions FILE  logged impressions, as the demo simulator and the event log's exporter write them
  --out DIR           where bundles lie; made if missing
  --key FILE          ed25519 private key (PEM), made on the first call; default signing-key.pem beside DIR
  --seed N            same seed, rows and machine: same model (default 1)
  --parent ID         id of the bundle that this one is to replace
  --json              the figures as one JSON line instead of a table
  --help              this text
`;

const options = {
  impressions: { type: 'string' },
  out: { type: 'string' },
  key: { type: 'string' },
  seed: { type: 'string', default: '1' },
  parent: { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

/** `gavelin train`: answers the exit status: 0 done, 1 it could not be done, 2 the words make no sense. */
export async function trainCommand(words: readonly string[], io: TrainCommandIo): Promise<number> {
  const wanted = readWords(words);
  if (wanted.kind === 'help') {
    io.out(help);
    return 0;
  }
  if (wanted.kind === 'problem') {
    io.err(`${wanted.problem}\n\n${help}`);
    return 2;
  }
  try {
    const signer = loadOrCreateSigningKey(wanted.key);
    const set = await loadImpressionSet(wanted.impressions);
    const startedMs = io.now();
    const model = await trainModel(set, {
      seed: wanted.seed,
      ...(io.onProgress === undefined ? {} : { onProgress: io.onProgress }),
      ...(io.signal === undefined ? {} : { signal: io.signal }),
      ...(wanted.parent === undefined ? {} : { parent: wanted.parent }),
    });
    const seconds = (io.now() - startedMs) / 1000;
    const id = await writeBundle(wanted.out, model, signer);
    const rowsPerSecond = Math.round(set.rowCount / Math.max(seconds, 1e-3));
    if (wanted.json) {
      io.out(`${JSON.stringify({ bundle: id, seconds, rowsPerSecond, ...model.metrics })}\n`);
      return 0;
    }
    const { metrics } = model;
    io.out(`bundle ${id}\n`);
    io.out(`${set.rowCount} rows in ${seconds.toFixed(1)} s, ${rowsPerSecond} rows/s; on the last rows, unseen:\n`);
    for (const name of ['click', 'conversion', 'light_click', 'light_conversion']) io.out(line(name, metrics));
    return 0;
  } catch (error) {
    if (!(error instanceof TrainerError || error instanceof BundleError)) throw error;
    io.err(`${error.code}: ${error.message}\n`);
    return 1;
  }
}

type Wanted = {
  readonly kind: 'train';
  readonly impressions: string;
  readonly out: string;
  readonly key: string;
  readonly seed: number;
  readonly parent: string | undefined;
  readonly json: boolean;
};

type NotWanted = { readonly kind: 'help' } | { readonly kind: 'problem'; readonly problem: string };

function readWords(words: readonly string[]): Wanted | NotWanted {
  const no = (problem: string): NotWanted => ({ kind: 'problem', problem });
  let values;
  try {
    ({ values } = parseArgs({ args: [...words], options, allowPositionals: false }));
  } catch (error) {
    return no((error as Error).message);
  }
  if (values.help) return { kind: 'help' };
  const { impressions, out, parent, json } = values;
  if (impressions === undefined) return no('--impressions FILE is required.');
  if (out === undefined) return no('--out DIR is required.');
  const seed = Number(values.seed);
  if (!Number.isSafeInteger(seed) || values.seed.trim() === '')
    return no(`--seed "${values.seed}" is not a whole number.`);
  return {
    kind: 'train',
    impressions,
    out,
    key: values.key ?? join(dirname(resolve(out)), 'signing-key.pem'),
    seed,
    parent,
    json,
  };
}

function line(name: string, metrics: Readonly<Record<string, number>>): string {
  const figure = (what: string, digits: number): string => metrics[`${name}_${what}`]?.toFixed(digits) ?? '-';
  return (
    `  ${name.padEnd(18)} AUC ${figure('auc', 4)}  log loss ${figure('log_loss', 5)}  information gain ${figure('rig', 4)}  ` +
    `calibration ${figure('ratio', 3)} (${figure('ratio_low', 3)} to ${figure('ratio_high', 3)})\n`
  );
}

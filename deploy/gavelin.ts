import { runBench } from './commands/bench.ts';
import { runBundle } from './commands/bundle.ts';
import { runExplain, runReplay } from './commands/log.ts';
import { runStatus } from './commands/status.ts';
import { runTrain } from './commands/train.ts';
import { serve, start } from './standalone.ts';

/** A command gets the words behind its name and the environment; the result is the exit code. */
type Run = (words: readonly string[], env: Readonly<Record<string, string | undefined>>) => Promise<number>;
type Command = { readonly about: string; readonly run: Run };

const commands: Readonly<Record<string, Command>> = {
  start: { about: 'serve the demo market (makes it, and a model, on first use): [--traffic N]', run: start },
  serve: { about: 'serve your own market: GAVELIN_CATALOG_FILE, GAVELIN_USERS_FILE, GAVELIN_BUNDLE_DIR', run: serve },
  train: { about: 'train a model on logged impressions and write a signed bundle: --help', run: runTrain },
  bundle: { about: 'verify DIR: check every hash, the signature and the golden rows of a bundle', run: runBundle },
  replay: { about: 'rerun every logged auction and compare winners and prices bit for bit', run: runReplay },
  explain: { about: 'AUCTION_ID: why the winner won, what it paid and why, why the others lost', run: runExplain },
  status: { about: 'what the running server says of itself', run: runStatus },
  bench: { about: 'NAME [--json] [--quick], or list', run: runBench },
};

async function main(words: readonly string[]): Promise<number> {
  const [name = 'help', ...rest] = words;
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command !== undefined) return command.run(rest, process.env);
  const isHelp = name === 'help' || name === '--help';
  const out = isHelp ? process.stdout : process.stderr;
  if (!isHelp) out.write(`There is no command "${name}".\n\n`);
  out.write('gavelin COMMAND\n\n');
  for (const [each, { about }] of Object.entries(commands)) out.write(`  ${each.padEnd(8)} ${about}\n`);
  return isHelp ? 0 : 2;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`gavelin: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}

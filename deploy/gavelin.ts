/** A command gets the words behind its name and the environment; the result is the exit code. */
type Run = (words: readonly string[], env: Readonly<Record<string, string | undefined>>) => Promise<number>;
/** `load` brings a command's code only when it is called: training needs no server, and help needs nothing. */
type Command = { readonly about: string; readonly load: () => Promise<Run> };

const commands: Readonly<Record<string, Command>> = {
  start: {
    about: 'serve the demo market (makes it, and a model, on first use): [--traffic N]',
    load: async () => (await import('./standalone.ts')).start,
  },
  serve: {
    about: 'serve your own market: GAVELIN_CATALOG_FILE, GAVELIN_USERS_FILE, GAVELIN_BUNDLE_DIR',
    load: async () => (await import('./standalone.ts')).serve,
  },
  train: {
    about: 'train a model on logged impressions and write a signed bundle: --help',
    load: async () => (await import('./commands/train.ts')).runTrain,
  },
  bundle: {
    about: 'verify DIR: check every hash, the signature and the golden rows of a bundle',
    load: async () => (await import('./commands/bundle.ts')).runBundle,
  },
  stores: {
    about: 'check | fill | create-tables: the stores that the settings name, and the users in them',
    load: async () => (await import('./commands/stores.ts')).runStores,
  },
  replay: {
    about: 'rerun every logged auction and compare winners and prices bit for bit',
    load: async () => (await import('./commands/log.ts')).runReplay,
  },
  explain: {
    about: 'AUCTION_ID: why the winner won, what it paid and why, why the others lost',
    load: async () => (await import('./commands/log.ts')).runExplain,
  },
  status: {
    about: 'what the running server says of itself',
    load: async () => (await import('./commands/status.ts')).runStatus,
  },
  bench: {
    about: 'NAME [--json] [--quick], or list',
    load: async () => (await import('./commands/bench.ts')).runBench,
  },
};

async function main(words: readonly string[]): Promise<number> {
  const [name = 'help', ...rest] = words;
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command !== undefined) return (await command.load())(rest, process.env);
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

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Bench } from '../support/bench.ts';

/** `npm run bench -- NAME [--json] [--quick]`, `npm run bench -- list`. */
const names = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith('.bench.ts'))
  .map((file) => file.slice(0, -'.bench.ts'.length))
  .toSorted();

const progressEveryMs = 200;

async function load(name: string): Promise<Bench> {
  const module = (await import(join(import.meta.dirname, `${name}.bench.ts`))) as { bench: Bench };
  return module.bench;
}

const wanted = process.argv.slice(2).find((word) => !word.startsWith('--'));
const asJson = process.argv.includes('--json');
if (wanted === undefined || wanted === 'list') {
  for (const name of names) console.log(`${name.padEnd(18)} ${(await load(name)).about}`);
} else if (!names.includes(wanted)) {
  console.error(`No bench is called "${wanted}". There are: ${names.join(', ')}`);
  process.exitCode = 2;
} else {
  const bench = await load(wanted);
  const startedAt = Date.now();
  let writtenAt = 0;
  const report = await bench.run(process.argv.includes('--quick') ? 'smoke' : 'full', (done, total, what) => {
    const now = Date.now();
    // The trainer reports every batch, 5,000 times a run: writing each line would cost what is being measured.
    if (done < total && now - writtenAt < progressEveryMs) return;
    writtenAt = now;
    const seconds = Math.round((now - startedAt) / 1000);
    process.stderr.write(`\r${wanted}: ${done}/${total} ${what} (${seconds} s)\u001B[K`);
    if (done >= total) process.stderr.write('\n');
  });
  if (asJson) {
    console.log(JSON.stringify(report));
  } else {
    console.log(`${report.bench}: ${report.value} ${report.unit} (${report.better} is better)`);
    for (const [name, value] of Object.entries(report.figures)) console.log(`  ${name}: ${JSON.stringify(value)}`);
  }
  process.exit(0);
}

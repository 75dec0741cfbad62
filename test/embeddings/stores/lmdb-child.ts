import { readSync, writeSync } from 'node:fs';
import { LmdbFolder } from '#embeddings/stores/lmdb-folder.ts';
import { LmdbStore } from '#embeddings/stores/lmdb-store.ts';

// Runs as a process of its own: `write FOLDER` writes until it is killed, and says each number once the store has taken it;
// `fill FOLDER` writes until it is refused, and says with what, and what is left; `hold FOLDER` keeps lmdb's only writing lock until it is told something.
const [mode, path] = process.argv.slice(2);
const say = (line: string) => writeSync(1, `${line}\n`);

if (mode === 'write') {
  const store = new LmdbStore({ path: path!, now: Date.now });
  for (let number = 0; ; number++) {
    await Promise.all([
      store.write([{ key: Buffer.from(`n${number}`), value: Buffer.alloc(200, String(number)) }]),
      store.append(Buffer.from('all'), Buffer.from(String(number).padStart(8, '0')), 8000, 3_600_000),
    ]);
    say(String(number));
  }
} else if (mode === 'fill') {
  const store = new LmdbStore({ path: path!, now: Date.now });
  let taken = 0;
  let fault = '';
  for (let number = 0; number < 500 && fault === ''; number++) {
    const entries = Array.from({ length: 50 }, (_, index) => ({
      key: Buffer.from(`n${number * 50 + index}`),
      value: Buffer.alloc(2000, 'x'),
    }));
    try {
      await store.write(entries);
      taken += entries.length;
    } catch (error) {
      fault = String((error as { code?: unknown }).code);
    }
  }
  const values = await store.read(0, 0, [Buffer.from('n0'), Buffer.from(`n${taken - 1}`)]);
  const refused = await store.read(0, 0, [Buffer.from(`n${taken}`)]);
  await store.close();
  say(JSON.stringify({ fault, taken, kept: values.map((value) => value?.length), refused: refused[0] ?? null }));
} else {
  const folder = new LmdbFolder(path!);
  folder.database.transactionSync(() => {
    say('held');
    readSync(0, Buffer.alloc(1));
  });
  say('released');
  await folder.close();
}

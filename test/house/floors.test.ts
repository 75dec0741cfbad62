import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
/** What each floor may import. Whoever changes this changes the architecture: say so in ARCHITECTURE.md. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  embeddings: [],
  auction: [],
  inference: ['embeddings'],
  'training-bridge': ['inference', 'embeddings', 'auction'],
  server: ['training-bridge', 'inference', 'embeddings', 'auction'],
  deploy: ['server', 'training-bridge', 'inference', 'embeddings', 'auction'],
  test: ['deploy', 'server', 'training-bridge', 'inference', 'embeddings', 'auction'],
};
/** The only files that may read the environment: one composition root per process, and the table of settings. */
const environmentReaders =
  /^(server\/config\.ts|deploy\/(standalone|gavelin|controller)\.[jt]s|deploy\/.*-main\.ts|test\/)/u;

function sources(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.[jt]s$/u.test(entry.name))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)));
}

function imports(file: string): string[] {
  const text = readFileSync(join(root, file), 'utf8');
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/gu)].map((match) => match[1]!);
}

for (const [floor, below] of Object.entries(allowed)) {
  test(`${floor} imports only ${below.join(', ') || 'itself'}`, () => {
    const wrong: string[] = [];
    for (const file of sources(floor)) {
      for (const specifier of imports(file)) {
        const isOwn = specifier.startsWith('.');
        const target = specifier.startsWith('#')
          ? specifier.slice(1).split('/')[0]!
          : isOwn
            ? relative(root, resolve(root, dirname(file), specifier)).split('/')[0]!
            : floor;
        if (target !== floor && !below.includes(target)) wrong.push(`${file} imports ${specifier}`);
        if (isOwn && target !== floor) wrong.push(`${file} reaches across floors by a relative path: ${specifier}`);
      }
    }
    expect(wrong).toEqual([]);
  });
}

test('only composition roots and the settings read the environment', () => {
  const wrong = Object.keys(allowed)
    .flatMap(sources)
    .filter((file) => !environmentReaders.test(file) && /process\.env\b/u.test(readFileSync(join(root, file), 'utf8')));
  expect(wrong).toEqual([]);
});

test('lower floors are silent', () => {
  const wrong = ['embeddings', 'auction', 'inference', 'training-bridge']
    .flatMap(sources)
    .filter((file) => /\bconsole\.|process\.std(out|err)\b/u.test(readFileSync(join(root, file), 'utf8')));
  expect(wrong).toEqual([]);
});

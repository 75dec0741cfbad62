import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Pod } from '../support/pod.ts';
import { startSmallPod } from '../support/small-demo.ts';

const root = resolve(import.meta.dirname, '../..');
const run = promisify(execFile);
const examples = [...readFileSync(join(root, 'README.md'), 'utf8').matchAll(/```sh\n([\s\S]*?)```/gu)].map(
  (match) => match[1]!,
);

let pod: Pod;
beforeAll(async () => {
  pod = await startSmallPod();
});
afterAll(async () => {
  await pod.stop();
});

/** An example as a reader would paste it, against this pod's ports and folder. */
async function output(example: string): Promise<string> {
  const script = example
    .replaceAll('127.0.0.1:8080', `127.0.0.1:${pod.bidPort}`)
    .replaceAll('127.0.0.1:8081', `127.0.0.1:${pod.adminPort}`)
    .replaceAll('data/admin-token', join(pod.dataDir, 'admin-token'));
  const { stdout } = await run('bash', ['-euo', 'pipefail', '-c', script], { cwd: root, timeout: 30_000 });
  return stdout;
}

function exampleWith(text: string): string {
  const found = examples.filter((example) => example.includes(text));
  expect(found).toHaveLength(1);
  return found[0]!;
}

describe('the examples of the README', () => {
  test('a bid request gets a bid', async () => {
    const answer = JSON.parse(await output(exampleWith('/openrtb2/bid'))) as {
      id: string;
      seatbid: { bid: { price: number; adm: string }[] }[];
    };
    expect(answer.id).toBe('demo-1');
    expect(answer.seatbid[0]!.bid[0]!.price).toBeGreaterThanOrEqual(0.05);
  });

  test('predictions come in the order asked', async () => {
    const answer = JSON.parse(await output(exampleWith('/v1/predict'))) as {
      predictions: { ad_id: string; p_click: number }[];
    };
    expect(answer.predictions).toHaveLength(3);
    for (const { p_click } of answer.predictions) expect(p_click).toBeGreaterThan(0);
  });

  test('an auction fills its slots', async () => {
    const answer = JSON.parse(await output(exampleWith('/v1/auction'))) as { slots: { id: string; status: string }[] };
    expect(answer.slots.map(({ id }) => id)).toEqual(['top', 'side']);
    expect(answer.slots[0]!.status).toBe('sold');
  });

  test('health and metrics answer', async () => {
    const lines = (await output(exampleWith('/readyz'))).trim().split('\n');
    expect(Number(lines.at(-1))).toBeGreaterThan(50);
  });

  test('a line item is paused while serving', async () => {
    const answer = JSON.parse(await output(exampleWith('-X PATCH'))) as { line_item: { id: string; status: string } };
    expect(answer.line_item).toMatchObject({ id: 'li000001', status: 'paused' });
  });

  test('no example is left out', () => {
    expect(examples).toHaveLength(5);
  });
});

import { expect, test } from 'vitest';
import type { Pod } from '../support/pod.ts';
import { makeSmallDemo, startSmallPod } from '../support/small-demo.ts';

/** Code that runs in the serving threads before their own. */
function inServingThreads(code: string): readonly string[] {
  const source = `import { parentPort, threadName } from 'node:worker_threads';
    if (String(threadName).startsWith('serving-')) { ${code} }`;
  return ['--import', `data:text/javascript,${encodeURIComponent(source)}`];
}

test.each(['uws', 'node'])(
  'a bug that nobody caught in a serving thread (%s) ends the process with status 1',
  async (http) => {
    const dies = `setTimeout(() => { throw new Error('on purpose'); }, 2500).unref();`;
    const pod = await startSmallPod({ nodeFlags: inServingThreads(dies), env: { GAVELIN_HTTP: http } });
    const code = await new Promise((settle) => pod.child.once('exit', settle));
    expect(pod.output).toMatch(/on purpose[\s\S]*stopping: serving thread 0 met a bug[\s\S]*stopped/u);
    expect(code).toBe(1);
    await pod.stop();
  },
);

test('a serving thread that is gone ends the process with status 1', async () => {
  const leaves = `setTimeout(() => process.exit(3), 2500).unref();`;
  const pod = await startSmallPod({ nodeFlags: inServingThreads(leaves), env: { GAVELIN_HTTP: 'node' } });
  const code = await new Promise((settle) => pod.child.once('exit', settle));
  expect(pod.output).toContain('stopping: serving thread 0 ended (exit code 3)');
  expect(code).toBe(1);
  await pod.stop();
});

test('a model that a thread does not take in time is withdrawn, and the next activation works', async () => {
  const dropsOne = `const { postMessage } = parentPort; let dropped = false;
    parentPort.postMessage = function (message, ...rest) {
      if (message.kind === 'model-taken' && !dropped) { dropped = true; return; }
      return postMessage.call(this, message, ...rest);
    };`;
  const pod = await startSmallPod({ nodeFlags: inServingThreads(dropsOne) });
  const { bundle } = await makeSmallDemo();
  const before = await slotOf(pod);
  expect(await activate(pod, bundle)).toBe(500);
  expect(await slotOf(pod)).toBe(before);
  expect(await activate(pod, bundle)).toBe(200);
  expect(await slotOf(pod)).toBe(1 - before);
  expect(await pod.stop()).toBe(0);
});

async function slotOf(pod: Pod): Promise<number> {
  const { model } = (await (await pod.admin('/admin/v1/status')).json()) as { model: { slot: number } };
  return model.slot;
}

async function activate(pod: Pod, directory: string): Promise<number> {
  const answer = await pod.admin('/admin/v1/bundles/activate', {
    method: 'POST',
    body: JSON.stringify({ directory }),
  });
  await answer.text();
  return answer.status;
}

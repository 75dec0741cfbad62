import { makeSmallDemo } from './small-demo.ts';

/** Before any test file runs: the small market and its model, so that no two files make them at once. */
export async function setup(): Promise<void> {
  await makeSmallDemo();
}

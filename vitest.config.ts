import { defineConfig } from 'vitest/config';

// The machines have 2 cores: more workers than that only makes timing-sensitive servers starve each other.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});

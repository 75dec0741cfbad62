import { defineConfig } from 'vitest/config';

const shared = { pool: 'forks' as const, testTimeout: 60_000, hookTimeout: 120_000 };

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          ...shared,
          name: 'suite',
          globalSetup: ['test/support/global-setup.ts'],
          include: ['test/**/*.test.ts'],
          exclude: ['test/faults/**'],
          // The machines have 2 cores: more workers than that only makes timing-sensitive servers starve each other.
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        // Afterwards and one by one: each is a whole server under load, with real stores that are killed and stopped.
        test: {
          ...shared,
          name: 'faults',
          include: ['test/faults/**/*.test.ts'],
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});

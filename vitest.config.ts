import { defineConfig } from 'vitest/config';

// `unit` runs in parallel and needs nothing of the machine. `mount` makes real mounts and runs the built
// command-line tools, one file after another, so that what one test leaves behind cannot hide in another.
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/mount/**'],
          testTimeout: 120_000,
        },
      },
      {
        test: {
          name: 'mount',
          include: ['test/mount/**/*.test.ts'],
          fileParallelism: false,
          pool: 'forks',
          testTimeout: 600_000,
          hookTimeout: 600_000,
          globalSetup: ['test/mount/global-setup.ts'],
        },
      },
    ],
  },
});

import { defineConfig } from 'vitest/config';

// `unit` runs in parallel and needs nothing of the machine. `mount` makes real mounts and runs the built
// command-line tools, one file after another, so that what one test leaves behind cannot hide in another.
// `vm` does so in a virtual machine, with a kernel of its own.
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/mount/**', 'test/fuzz/**', 'test/vm/**'],
          testTimeout: 120_000,
        },
      },
      {
        test: {
          name: 'mount',
          include: ['test/mount/**/*.test.ts', 'test/fuzz/**/*.test.ts'],
          fileParallelism: false,
          pool: 'forks',
          testTimeout: 600_000,
          hookTimeout: 600_000,
          globalSetup: ['test/mount/global-setup.ts'],
        },
      },
      {
        test: {
          name: 'vm',
          include: ['test/vm/**/*.test.ts'],
          fileParallelism: false,
          pool: 'forks',
          testTimeout: 600_000,
          hookTimeout: 600_000,
          // after the mounts have their tests: an emulated processor takes the whole of a real one
          sequence: { groupOrder: 1 },
          globalSetup: ['test/mount/global-setup.ts', 'test/vm/global-setup.ts'],
        },
      },
    ],
  },
});

import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Tests of mounts that look at the whole machine, or measure themselves against its clock. */
const ALONE = ['cfs-info-mounts', 'cfs-repo-cache', 'daemon', 'demo', 'load', 'stats', 'survival', 'threads'].map(
  (name) => `test/e2e/${name}.test.ts`,
);

/** These take longest: begun last, they would be waited for. */
const FIRST = [
  'rootfs',
  'cfs-mount-rebase',
  'cfs-checkpoint-unlinked',
  'processes',
  'criu',
  'fsverity',
  'power-loss',
  'cfs-bench',
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const at = FIRST.indexOf(basename(moduleId, '.test.ts'));
      return at < 0 ? FIRST.length : at;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

/**
 * The unit tests; with CFS_UNIT=root only files whose tests differ for root, for a run after that of an ordinary user.
 */
function unitTests(): string[] {
  if (process.env['CFS_UNIT'] !== 'root') return ['test/unit/**/*.test.ts'];
  const files = readdirSync('test/unit', { recursive: true, encoding: 'utf8' }).map((name) => join('test/unit', name));
  return files.filter(
    (file) =>
      file.endsWith('.test.ts') && /isRoot|geteuid|layered-fixture|upper-scenarios/.test(readFileSync(file, 'utf8')),
  );
}

const mounting = {
  pool: 'forks',
  testTimeout: 600_000,
  hookTimeout: 600_000,
  globalSetup: 'test/e2e/global-setup.ts',
} as const;

// `unit` runs in parallel and needs nothing of the machine. `mount` makes real mounts and runs the built command-line
// tools, two files at a time; `alone` does so one file after another. `vm` does so in a virtual machine, with a kernel
// of its own.
export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          name: 'unit',
          include: unitTests(),
          // vitest's own default leaves one core idle; beside the tests of mounts, the longest file is not waited for
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          ...mounting,
          name: 'mount',
          include: ['test/e2e/**/*.test.ts', 'test/fuzz/**/*.test.ts'],
          exclude: ALONE,
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...mounting,
          name: 'posix',
          include: ['test/posix/**/*.test.ts'],
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...mounting,
          name: 'vm',
          include: ['test/vm/**/*.test.ts'],
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
          globalSetup: ['test/e2e/global-setup.ts', 'test/vm/global-setup.ts'],
        },
      },
      {
        test: {
          ...mounting,
          name: 'alone',
          include: ALONE,
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});

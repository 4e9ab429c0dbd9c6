/** Lines of programs that write: tar, git, gcc, npm, chown; and of programs that only read the lower directory. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CfsError } from '../src/base/error.ts';
import type { Bench, Work } from './contract.ts';
import { missingProgram, run } from './process.ts';
import { timeProbe, timeProgram } from './run-probe.ts';
import { SMALL_FILE_LIMIT } from './trees.ts';
import {
  archive,
  copyProject,
  lowerFiles,
  lowerTree,
  npmInstall,
  npmProject,
  PACKAGE_FILES,
  packageCount,
  repository,
} from './write-inputs.ts';
import { LOWER, type WriteLine, type WriteTurn } from './writing.ts';

const everyFile = ({ writeFiles: count }: Bench): Work => ({ count, unit: 'files', bytes: 0 });
const everyLowerFile = (bench: Bench): Work => ({ count: lowerFiles(bench), unit: 'files', bytes: 0 });

/** @throws CfsError (system) if find(1) with `tests` does not find `expected` entries */
async function checkFound(expected: number, bench: Bench, ...find: readonly string[]): Promise<void> {
  const { stdout } = await run(['find', ...find, '-printf', '.'], bench.signal, 'collect');
  if (stdout.length === expected) return;
  throw new CfsError('system', `there are ${stdout.length} of ${expected} entries: find ${find.join(' ')}`);
}

const WITHOUT_GIT = ['-name', '.git', '-prune', '-o', '-type', 'f'];
const needsGit = (): string | undefined => missingProgram('git', 'Debian: git');

export const TAR_EXTRACT: WriteLine = {
  name: 'write-tar',
  title: 'tar -x',
  work: everyFile,
  unavailable: needsGit,
  prepare: async ({ bench }) => {
    await archive(bench);
  },
  run: async ({ directory, bench }) => timeProgram(['tar', '-xf', await archive(bench), '-C', directory], bench),
  check: ({ directory, bench }) => checkFound(bench.writeFiles, bench, directory, '-type', 'f'),
};

const cloneOf = ({ directory }: WriteTurn): string => join(directory, 'clone');

async function clone(turn: WriteTurn): Promise<number> {
  const { bench } = turn;
  const command = [
    'git',
    '-c',
    'safe.directory=*',
    'clone',
    '--quiet',
    await repository(bench),
    cloneOf(turn),
  ] as const;
  await run(['git', '--version'], bench.signal);
  return (await run([...command], bench.signal)).ns;
}

export const GIT_CLONE: WriteLine = {
  name: 'write-clone',
  title: 'git clone',
  work: everyFile,
  unavailable: needsGit,
  prepare: async ({ bench }) => {
    await repository(bench);
  },
  run: clone,
  check: (turn) => checkFound(turn.bench.writeFiles, turn.bench, cloneOf(turn), ...WITHOUT_GIT),
};

export const GIT_STATUS_CLONE: WriteLine = {
  name: 'write-status',
  title: 'git status after it',
  work: everyFile,
  unavailable: needsGit,
  prepare: async (turn) => {
    await clone(turn);
  },
  run: async (turn) => {
    const command = [
      'git',
      '-C',
      cloneOf(turn),
      '-c',
      'safe.directory=*',
      '--no-optional-locks',
      'status',
      '--porcelain',
    ];
    const { ns, stdout } = await run(command as [string, ...string[]], turn.bench.signal, 'collect');
    if (stdout.length === 0) return ns;
    throw new CfsError('system', `git status shows changes: ${stdout.toString().split('\n', 1)[0]}`);
  },
};

const COMPILATIONS = 20;

const sourceText = (i: number): string => `#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int work${i}(int argc, char **argv) {
  for (int i = 0; i < argc; i++) printf("%s %zu %d\\n", argv[i], strlen(argv[i]), abs(i - ${i}));
  return argc;
}
`;

/** Temporary files are beside the sources, as in a container that has nothing mounted at /tmp. */
const COMPILE = 'cd "$1" && export TMPDIR="$1" && for f in *.c; do gcc -O1 -c "$f"; done';

export const COMPILE_FILES: WriteLine = {
  name: 'write-gcc',
  title: `gcc -c of ${COMPILATIONS} files`,
  work: () => ({ count: COMPILATIONS, unit: 'files', bytes: 0 }),
  unavailable: () => missingProgram('gcc', 'Debian: gcc'),
  prepare: async ({ directory }) => {
    for (let i = 0; i < COMPILATIONS; i++) writeFileSync(join(directory, `work${i}.c`), sourceText(i));
  },
  run: async ({ directory, bench }) => (await run(['sh', '-c', COMPILE, 'sh', directory], bench.signal)).ns,
  check: ({ directory, bench }) => checkFound(COMPILATIONS, bench, directory, '-name', '*.o', '-size', '+0'),
};

export const NPM_INSTALL: WriteLine = {
  name: 'write-npm',
  title: 'npm install, offline',
  work: (bench) => ({ count: packageCount(bench) * PACKAGE_FILES, unit: 'files', bytes: 0 }),
  unavailable: () => missingProgram('npm', 'https://nodejs.org; Debian: npm'),
  prepare: async ({ directory, bench }) => {
    await npmProject(bench);
    await copyProject(directory, bench);
  },
  run: async ({ directory, bench }) => (await run(await npmInstall(directory, bench), bench.signal)).ns,
  check: ({ directory, bench }) =>
    checkFound(packageCount(bench) * (PACKAGE_FILES - 1), bench, directory, '-path', '*/node_modules/part*/lib/*'),
};

const OWNER = '1234';

const chown = (directory: string, bench: Bench): Promise<number> =>
  timeProgram(['chown', '-R', `${OWNER}:${OWNER}`, directory], bench);

export const CHOWN_LOWER: WriteLine = {
  name: 'write-chown',
  title: 'chown -R of the lower directory',
  lower: 'changes',
  work: everyLowerFile,
  unavailable: () => (process.geteuid?.() === 0 ? undefined : 'only root gives files to other users'),
  // the server is warm, and the names and attributes of the directory are known; nothing of it is copied up
  prepare: async ({ root, bench }) => {
    await chown(join(root, LOWER.warmUp), bench);
    await run(['ls', '-lR', join(root, LOWER.measured)], bench.signal);
  },
  run: ({ root, bench }) => chown(join(root, LOWER.measured), bench),
  check: ({ root, bench }) => checkFound(0, bench, join(root, LOWER.measured), '-not', '-uid', OWNER),
};

export const LIST_LOWER: WriteLine = {
  name: 'write-ls-lower',
  title: 'ls -lR of the lower directory, warm',
  lower: 'reads',
  work: everyLowerFile,
  prepare: async ({ root, bench }) => {
    await run(['ls', '-lR', join(root, LOWER.measured)], bench.signal);
  },
  run: ({ root, bench }) => timeProgram(['ls', '-lR', join(root, LOWER.measured)], bench),
};

const readLower = async ({ root, bench }: WriteTurn): Promise<number> => {
  const { small } = await lowerTree(bench);
  const work = { ...everyLowerFile(bench), bytes: small.bytes };
  const list = [join(root, LOWER.measured), small.file, String(SMALL_FILE_LIMIT), '1'];
  return timeProbe('open', work, list, bench);
};

export const OPEN_LOWER: WriteLine = {
  name: 'write-open-lower',
  title: 'open+read+close of the lower files, warm',
  lower: 'reads',
  work: everyLowerFile,
  prepare: async (turn) => {
    await readLower(turn);
  },
  run: readLower,
};

/** Programs that work with the tree like people: Python, gcc, git. */
import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { CfsError, reasonOf } from '../src/base/error.ts';
import type { Bench, Tree, Turn, Work, Workload } from './contract.ts';
import { missingProgram, run } from './process.ts';

/** Modules of Python's library; a missing one is left out, on every system alike. */
const MODULES = `argparse asyncio ast base64 bz2 calendar cmd codeop collections concurrent.futures configparser csv ctypes
  curses datetime dbm decimal difflib dis doctest email.mime.text encodings.idna filecmp fractions ftplib getopt gettext
  glob gzip hashlib heapq html.parser http.client http.server imaplib inspect ipaddress json logging.handlers lzma mailbox
  mimetypes multiprocessing netrc optparse pathlib pdb pickle pickletools platform plistlib poplib pprint profile pydoc
  queue random sched secrets selectors shelve shlex shutil smtplib socketserver sqlite3 ssl statistics string subprocess
  symtable tarfile tempfile textwrap timeit tokenize trace tracemalloc turtle typing unittest.mock urllib.request uuid wave
  webbrowser xml.dom.minidom xml.etree.ElementTree xml.sax xmlrpc.client zipapp zipfile zoneinfo`;
const IMPORT = `import importlib, sys
for name in ${JSON.stringify(MODULES.split(/\s+/))}:
    try: importlib.import_module(name)
    except Exception: pass
print(len(sys.modules))`;

const C_PROGRAM = `#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <time.h>
#include <unistd.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
int main(int argc, char **argv) {
  struct stat s;
  for (int i = 1; i < argc; i++)
    if (stat(argv[i], &s) == 0) printf("%s %lld\\n", argv[i], (long long)s.st_size);
  return 0;
}
`;

interface Program {
  readonly name: string;
  readonly title: string;
  /** Absolute, in the tree. */
  readonly path: string;
  readonly args: readonly string[];
  readonly input?: string;
}

async function runIn(root: string, { path, args, input }: Program, bench: Bench): Promise<{ ns: number; out: string }> {
  const { ns, stdout } = await run(['chroot', root, path, ...args], bench.signal, 'collect', input);
  return { ns, out: stdout.toString('latin1') };
}

/** The output of the program in the directory itself: on every system it must be the same. */
const expectedOutput = (program: Program, tree: Tree, bench: Bench): Promise<string> =>
  bench.once(`${program.name} ${tree.name}`, async () => (await runIn(tree.path, program, bench)).out);

/** A program of the tree, run with the tree as its root directory. */
function chrooted(program: Program): Workload {
  return {
    name: program.name,
    title: program.title,
    trees: ['source'],
    states: ['cold', 'warm'],
    unavailable: async (tree, bench) => {
      if (process.geteuid?.() !== 0) return 'only root can make the tree its root directory';
      try {
        lstatSync(join(tree.path, program.path));
      } catch {
        return `${tree.path} has no ${program.path}`;
      }
      try {
        await expectedOutput(program, tree, bench);
        return undefined;
      } catch (error) {
        return `it does not run with ${tree.path} as its root directory: ${reasonOf(error)}`;
      }
    },
    work: () => ({ count: 1, unit: 'runs', bytes: 0 }),
    run: async ({ root, tree, bench }: Turn) => {
      await run(['chroot', '--version'], bench.signal);
      const { ns, out } = await runIn(root, program, bench);
      if (out === (await expectedOutput(program, tree, bench))) return ns;
      throw new CfsError('system', `${program.path} printed something else than in ${tree.path}`);
    },
  };
}

export const PYTHON: Workload = chrooted({
  name: 'python',
  title: 'python3, many imports',
  path: '/usr/bin/python3',
  args: ['-B', '-I', '-c', IMPORT],
});

export const GCC: Workload = chrooted({
  name: 'gcc',
  title: 'gcc of a small program',
  path: '/usr/bin/gcc',
  // to stdout and without temporary files: the tree is read-only
  args: ['-O2', '-S', '-x', 'c', '-o', '-', '-'],
  input: C_PROGRAM,
});

/**
 * git detects changes by size and mtime here: inode numbers and ctimes differ in every copy, and git would read all
 * contents again if they were compared.
 */
const GIT = ['-c', 'safe.directory=*', '-c', 'core.checkStat=minimal', '-c', 'core.trustctime=false'];
const GIT_STATUS = ['-c', 'core.untrackedCache=false', '-c', 'core.fsmonitor=false', '--no-optional-locks', 'status'];

const checkedOut = (tree: Tree): Work => ({ count: tree.files, unit: 'files', bytes: 0 });

export const GIT_STATUS_WORKLOAD: Workload = {
  name: 'git',
  title: 'git status',
  trees: ['checkout'],
  states: ['cold', 'warm'],
  work: checkedOut,
  run: async ({ root, bench }) => {
    await run(['git', '--version'], bench.signal);
    const command = ['-C', root, ...GIT, ...GIT_STATUS, '--porcelain'];
    const { ns, stdout } = await run(['git', ...command], bench.signal, 'collect');
    if (stdout.length === 0) return ns;
    throw new CfsError('system', `git status in ${root} shows changes: ${stdout.toString().split('\n', 1)[0]}`);
  },
};

/** The reason why there is no checkout to measure; undefined if one can be made. */
export const checkoutUnavailable = (): string | undefined => missingProgram('git', 'Debian: git');

/** Lines that do one thing with each of many small files: with `writeFiles` of 4 KiB, in directories of 100. */
import { join } from 'node:path';
import { CfsError } from '../src/base/error.ts';
import type { Bench, Work } from './contract.ts';
import { run } from './process.ts';
import { timeProbe } from './run-probe.ts';
import type { WriteLine, WriteTurn } from './writing.ts';

const SIZE = 4096;

const files = ({ writeFiles: count }: Bench): Work => ({ count, unit: 'files', bytes: 0 });
const contents = ({ writeFiles: count }: Bench): Work => ({ count, unit: 'files', bytes: count * SIZE });

const timeLoop = (loop: string, work: Work, directory: string, bench: Bench): Promise<number> =>
  timeProbe(loop, work, [directory, String(work.count), ...(work.bytes > 0 ? [String(SIZE)] : [])], bench);

const create = ({ directory, bench }: WriteTurn): Promise<number> =>
  timeLoop('create', contents(bench), directory, bench);

async function createFirst(turn: WriteTurn): Promise<void> {
  await create(turn);
}

/** @throws CfsError (system) if find(1) with `tests` does not find as many entries as there are files */
function checkCount(...tests: readonly string[]): (turn: WriteTurn) => Promise<void> {
  return async ({ directory, bench }) => {
    const { stdout } = await run(['find', directory, ...tests, '-printf', '.'], bench.signal, 'collect');
    if (stdout.length === bench.writeFiles) return;
    throw new CfsError('system', `${stdout.length} of ${bench.writeFiles} files are as expected`);
  };
}

async function checkEmpty({ directory, bench }: WriteTurn): Promise<void> {
  const { stdout } = await run(['find', directory, '-not', '-type', 'd', '-print'], bench.signal, 'collect');
  if (stdout.length > 0) throw new CfsError('system', `files are left: ${stdout.toString().split('\n', 1)[0]}`);
}

/** A line of one loop over files that are there. */
function overFiles(name: string, title: string, loop: string, more: Partial<WriteLine> = {}): WriteLine {
  return {
    name,
    title,
    work: files,
    prepare: createFirst,
    run: (turn) => timeLoop(loop, (more.work ?? files)(turn.bench), turn.directory, turn.bench),
    ...more,
  };
}

const WRITTEN = ['-type', 'f', '-size', `${SIZE}c`];

export const CREATE: WriteLine = {
  name: 'write-create',
  title: 'create+write+close',
  work: contents,
  run: create,
  check: checkCount(...WRITTEN),
};

export const OVERWRITE: WriteLine = overFiles('write-overwrite', 'open with O_TRUNC+write+close', 'overwrite', {
  work: contents,
  check: checkCount(...WRITTEN),
});

export const STAT_WRITTEN: WriteLine = overFiles('write-stat', 'lstat after writing', 'lstat');

export const READ_WRITTEN: WriteLine = overFiles('write-read', 'open+read+close after writing', 'read', {
  work: contents,
});

export const RENAME: WriteLine = overFiles('write-rename', 'rename', 'rename', { check: checkCount('-name', 'g*') });

export const LINK: WriteLine = overFiles('write-link', 'link', 'link', {
  check: checkCount('-name', 'g*', '-links', '2'),
});

export const UNLINK: WriteLine = overFiles('write-unlink', 'unlink', 'unlink', { check: checkEmpty });

export const REMOVE_TREE: WriteLine = {
  name: 'write-rm',
  title: 'rm -rf',
  work: files,
  prepare: createFirst,
  run: async ({ directory, bench }) => {
    await run(['rm', '--version'], bench.signal);
    return (await run(['rm', '-rf', directory], bench.signal)).ns;
  },
  check: async (turn) => {
    const { stdout } = await run(['ls', '-A', join(turn.directory, '..')], turn.bench.signal, 'collect');
    const gone = !stdout
      .toString()
      .split('\n')
      .includes(turn.directory.slice(turn.directory.lastIndexOf('/') + 1));
    if (!gone) throw new CfsError('system', `${turn.directory} is left`);
  },
};

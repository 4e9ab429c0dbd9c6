/** The files that the lines of the group `write` work with, made once a run, in the scratch directory, from seeds. */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Bench, Tree } from './contract.ts';
import { makeCheckout, writeFiles } from './generated-trees.ts';
import { run, toolCommand } from './process.ts';
import { seeded } from './random.ts';
import { surveyTree } from './trees.ts';
import { LOWER } from './writing.ts';

const SEED = 20_261_129;
const KIB = 1024;

/** Entries of the measured lower directory, and of the other one, for each file of a sample: 14,000 for 5,000. */
const LOWER_FILES = 2.8;
const OTHER_FILES = 1;

/** The number of regular files in the measured lower directory. */
export const lowerFiles = ({ writeFiles: files }: Bench): number => Math.ceil(files * LOWER_FILES);

/** The lower directory of every writer: files of 1 to 16 KiB, in directories of 100, in two directories (`LOWER`). */
export function lowerDirectory(bench: Bench): Promise<string> {
  return bench.once('write lower', async () => {
    bench.progress('making the lower directory to write over');
    const path = bench.scratch.directory('write-lower');
    const sizes = (random: { below(limit: number): number }): number => KIB + random.below(15 * KIB);
    await writeFiles(join(path, LOWER.measured), lowerFiles(bench), sizes, SEED, bench);
    await writeFiles(join(path, LOWER.warmUp), Math.ceil(bench.writeFiles * OTHER_FILES), sizes, SEED + 1, bench);
    return path;
  });
}

/** The lower directory as an image of cfs, and its store. */
export async function lowerImage(bench: Bench): Promise<{ readonly image: string; readonly store: string }> {
  const store = bench.scratch.file('write-lower-store');
  const image = await bench.once('write lower image', async () => {
    const path = await lowerDirectory(bench);
    const file = bench.scratch.file('write-lower.cfs');
    await run(toolCommand('cfs-mkimage', '--no-fsync', '--quiet', '--store', store, path, file), bench.signal);
    return file;
  });
  return { image, store };
}

/** The measured lower directory, with the list of its files. */
export async function lowerTree(bench: Bench): Promise<Tree> {
  const survey = await bench.once('write lower tree', async () => {
    const path = join(await lowerDirectory(bench), LOWER.measured);
    return JSON.stringify(await surveyTree('small', 'write-lower', path, bench));
  });
  return JSON.parse(survey) as Tree;
}

/** A git repository with a working tree of `writeFiles` files of 1 to 8 KiB. */
export function repository(bench: Bench): Promise<string> {
  return bench.once(
    'write repository',
    async () => (await makeCheckout(bench.writeFiles, bench, 'write-repository')).path,
  );
}

/** An archive of the working tree of the repository. */
export function archive(bench: Bench): Promise<string> {
  return bench.once('write archive', async () => {
    const file = bench.scratch.file('write.tar');
    await run(['tar', '-cf', file, '--exclude=./.git', '-C', await repository(bench), '.'], bench.signal);
    return file;
  });
}

/** Files of a package, and one package for as many files of a sample: 1,350 files for 5,000. */
export const PACKAGE_FILES = 27;
const FILES_PER_PACKAGE = 100;

export const packageCount = ({ writeFiles: files }: Bench): number => Math.ceil(files / FILES_PER_PACKAGE);

/** A directory with a package.json that depends on archives beside it, and a cache of npm that has them. */
export function npmProject(bench: Bench): Promise<string> {
  return bench.once('write npm', async () => {
    bench.progress('making packages for npm');
    const path = bench.scratch.directory('write-npm');
    const random = seeded(SEED + 2);
    const dependencies: Record<string, string> = {};
    for (let i = 0; i < packageCount(bench); i++) {
      const name = `part${String(i).padStart(4, '0')}`;
      const files = join(path, name, 'package');
      mkdirSync(join(files, 'lib'), { recursive: true });
      writeFileSync(join(files, 'package.json'), JSON.stringify({ name, version: '1.0.0', main: 'lib/m1.js' }));
      for (let m = 1; m < PACKAGE_FILES; m++) {
        const line = `exports.value${m} = ${random.next()};\n`;
        writeFileSync(join(files, 'lib', `m${m}.js`), line.repeat(1 + random.below((8 * KIB) / line.length)));
      }
      await run(['tar', '-czf', `${path}/${name}.tgz`, '-C', join(path, name), 'package'], bench.signal);
      dependencies[name] = `file:${path}/${name}.tgz`;
    }
    writeFileSync(join(path, 'package.json'), JSON.stringify({ name: 'project', version: '1.0.0', dependencies }));
    return path;
  });
}

/** The arguments of npm that let it install the project in `directory` without a network. */
export async function npmInstall(directory: string, bench: Bench): Promise<[string, ...string[]]> {
  const cache = join(await npmProject(bench), 'cache');
  const install = ['install', '--prefix', directory, '--cache', cache, '--userconfig', '/dev/null'];
  const quiet = [
    '--offline',
    '--no-audit',
    '--no-fund',
    '--no-update-notifier',
    '--ignore-scripts',
    '--loglevel=error',
  ];
  return ['npm', ...install, ...quiet];
}

export async function copyProject(directory: string, bench: Bench): Promise<void> {
  copyFileSync(join(await npmProject(bench), 'package.json'), join(directory, 'package.json'));
}

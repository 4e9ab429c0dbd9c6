/** `cfs-repo register`, `unregister` and `images`. */

import { readKeptImage } from '../../src/image/image-needs.ts';
import { ImageFinder } from '../../src/image/registered-image.ts';
import type { KeepListHeader } from '../../src/store/gc/object-list.ts';
import { registerImage } from '../../src/store/gc/register.ts';
import { listRoots, type Root } from '../../src/store/gc/roots.ts';
import type { LocalRepository } from '../../src/store/local-repository.ts';
import { lockForWriting } from '../../src/store/lock.ts';
import { EXIT, type ExitStatus, printJson } from '../cli.ts';
import { formatBytes, formatCount } from '../format.ts';
import { idForTable, noTruncOption } from '../image-id.ts';
import { printResult } from '../quiet.ts';
import { formatTable } from '../table.ts';
import { foundPaths, registeredPathText, shown } from './registered-path.ts';
import { type Commands, failedOperand, repositoryAt, warn } from './repository.ts';
import { unregister } from './unregister.ts';

export function addImages({ program, setStatus }: Commands): void {
  const json = ['--json', 'print the result as one JSON object', false] as const;
  program
    .command('register')
    .description('keep the objects of images until they are unregistered, even if the image file is gone')
    .argument('<DIR>')
    .argument('<IMAGE...>')
    .option(...json)
    .action(async (dir: string, images: string[], options: { json: boolean }) =>
      setStatus(await register(dir, images, options.json)),
    );
  program
    .command('unregister')
    .description('unregister images; gc then deletes the objects that only they needed')
    .argument('<DIR>')
    .argument('[IMAGE|ID...]')
    .option('--gone', 'all paths that no longer have the image, and each image with its last path', false)
    .option(...json)
    .action(async (dir: string, images: string[], options: { gone: boolean; json: boolean }) =>
      setStatus(await unregister(dir, images, options)),
    );
  program
    .command('images')
    .description('list the registered images')
    .argument('<DIR>')
    .addOption(noTruncOption())
    .option(...json)
    .action((dir: string, options: { json: boolean; trunc: boolean }) => setStatus(list(dir, options)));
}

async function register(dir: string, paths: readonly string[], json: boolean): Promise<ExitStatus> {
  const repository = repositoryAt(dir);
  const lock = await lockForWriting(repository, undefined, warn);
  try {
    const results: object[] = [];
    let status: ExitStatus = EXIT.ok;
    for (const path of paths) {
      try {
        results.push(await registerOne(repository, path, json));
      } catch (error) {
        // the others are registered nevertheless
        const failed = failedOperand(path, paths.length, error);
        results.push(failed);
        if (status === EXIT.ok) status = failed.error.status;
      }
    }
    if (json) printJson(results);
    return status;
  } finally {
    lock.release();
  }
}

async function registerOne(repository: LocalRepository, path: string, json: boolean): Promise<object> {
  const { missing, ...image } = readKeptImage(repository, path);
  const { isNew, isNewPath } = await registerImage(repository, image, true);
  if (missing > 0) warn(`${path}: ${formatCount(missing)} of its objects are not in ${repository.path}`);
  const what = isNew
    ? 'registered'
    : `was registered already${isNewPath ? `, and is now at ${shown(image.path)}, too` : ''}`;
  if (!json) printResult(`${idForTable(image.image)}  ${what}\n`);
  return { id: image.image, path: image.path, new: isNew, newPath: isNewPath, missing };
}

function list(dir: string, { json, trunc }: { json: boolean; trunc: boolean }): ExitStatus {
  const roots = listRoots(repositoryAt(dir));
  const bad = roots.filter(({ problem }) => problem !== undefined);
  const finder = new ImageFinder();
  if (json) printJson(roots.map((root) => jsonOf(root, finder)));
  else if (roots.length > 0) {
    process.stdout.write(
      `${formatTable(['image', 'objects', 'size', 'registered', 'path'], rowsOf(roots, trunc)).join('\n')}\n`,
    );
  }
  for (const { problem } of bad) warn(problem as string);
  for (const problem of roots.flatMap(({ malformedPaths }) => malformedPaths)) warn(problem);
  return bad.length > 0 ? EXIT.found : EXIT.ok;
}

const dateOf = (seconds: number): string => new Date(seconds * 1000).toISOString().replace('.000', '');

/** For people: one row per path of each good root. */
export const rowsOf = (roots: readonly Root[], trunc = true): string[][] => {
  const finder = new ImageFinder();
  return roots.flatMap((root) => (root.header === undefined ? [] : rowsOfRoot(root, root.header, trunc, finder)));
};

function rowsOfRoot(
  root: Root,
  { objects, bytes, time }: KeepListHeader,
  trunc: boolean,
  finder: ImageFinder,
): string[][] {
  const [first = '', ...others] = foundPaths(finder, root.image, root.paths).map(registeredPathText);
  const row = [idForTable(root.image, trunc), formatCount(objects), formatBytes(bytes), dateOf(time), first];
  return [row, ...others.map((path) => ['', '', '', '', path])];
}

function jsonOf(root: Root, finder: ImageFinder): object {
  const { image, header, problem } = root;
  if (header === undefined) return { id: image, problem };
  const { objects, bytes, time, complete } = header;
  const paths = foundPaths(finder, image, root.paths);
  const { path, state } = paths[0] ?? { path: '', state: 'unknown' };
  return { id: image, objects, bytes, registered: dateOf(time), path, complete, state, paths };
}

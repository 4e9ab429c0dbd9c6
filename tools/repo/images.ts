/** `cfs-repo register`, `unregister` and `images`. */
import { statSync } from 'node:fs';
import { printable } from '../../src/base/bytes.ts';
import { CfsError } from '../../src/base/error.ts';
import { readImageId } from '../../src/image/image-file.ts';
import { DamagedImageError } from '../../src/image/image-parts.ts';
import type { KeepListHeader } from '../../src/store/keep-list.ts';
import type { LocalRepository } from '../../src/store/local.ts';
import { lockForWriting } from '../../src/store/lock.ts';
import { listRoots, type Root, registerImage, unregisterImage } from '../../src/store/roots.ts';
import { EXIT, type ExitStatus, printJson } from '../cli.ts';
import { formatBytes, formatCount } from '../format.ts';
import { formatTable } from '../table.ts';
import { readKeptImage } from './kept-image.ts';
import { type Commands, repositoryAt, warn } from './repository.ts';

export function addImages({ program, setStatus }: Commands): void {
  const json = ['--json', 'print the result as one JSON object', false] as const;
  program
    .command('register')
    .description('keep the objects of images until they are unregistered, also where the image file is gone')
    .argument('<DIR>')
    .argument('<IMAGE...>')
    .option(...json)
    .action(async (dir: string, images: string[], options: { json: boolean }) =>
      setStatus(await register(dir, images, options.json)),
    );
  program
    .command('unregister')
    .description('take images off the list; gc then deletes what only they needed')
    .argument('<DIR>')
    .argument('[IMAGE|ID...]')
    .option('--gone', 'all images that are not at their paths any more', false)
    .option(...json)
    .action(async (dir: string, images: string[], options: { gone: boolean; json: boolean }) =>
      setStatus(await unregister(dir, images, options)),
    );
  program
    .command('images')
    .description('list the registered images')
    .argument('<DIR>')
    .option(...json)
    .action((dir: string, options: { json: boolean }) => setStatus(list(dir, options.json)));
}

async function register(dir: string, paths: readonly string[], json: boolean): Promise<ExitStatus> {
  const repository = repositoryAt(dir);
  const lock = await lockForWriting(repository, undefined, warn);
  try {
    const results: object[] = [];
    for (const path of paths) {
      const { missing, ...image } = readKeptImage(repository, path);
      const isNew = await registerImage(repository, image, true);
      results.push({ id: image.image, path: image.path, new: isNew, missing });
      if (missing > 0) {
        warn(`${path}: ${formatCount(missing)} of its objects are not in ${repository.path}`);
      }
      if (!json) process.stdout.write(`${image.image}  ${isNew ? 'registered' : 'was registered already'}\n`);
    }
    if (json) printJson(results);
    return EXIT.ok;
  } finally {
    lock.release();
  }
}

async function unregister(
  dir: string,
  images: readonly string[],
  { gone, json }: { readonly gone: boolean; readonly json: boolean },
): Promise<ExitStatus> {
  if (gone === images.length > 0) throw new CfsError('usage', 'unregister takes images or their ids, or --gone');
  const repository = repositoryAt(dir);
  const ids = gone ? goneImages(repository) : images.map(idOf);
  const lock = await lockForWriting(repository, undefined, warn);
  try {
    for (const id of ids) {
      if (unregisterImage(repository, id)) {
        if (!json) process.stdout.write(`${id}  unregistered\n`);
        continue;
      }
      throw new CfsError(
        'usage',
        `image ${id} is not registered in ${repository.path}; 'cfs-repo images' lists those that are`,
      );
    }
    if (json) printJson(ids.map((id) => ({ id })));
    return EXIT.ok;
  } finally {
    lock.release();
  }
}

/** A file of the name counts more than an id: nobody names a file so by accident. */
function idOf(image: string): string {
  if (/^[0-9a-f]{64}$/i.test(image) && statSync(image, { throwIfNoEntry: false }) === undefined)
    return image.toLowerCase();
  return readImageId(image);
}

/** Those that were registered with a path where they are not any more. What cannot be looked at is not gone. */
function goneImages(repository: LocalRepository): string[] {
  return listRoots(repository)
    .filter(({ image, header }) => header !== undefined && header.path !== '' && stateOf(header.path, image) === 'gone')
    .map(({ image }) => image);
}

/** What is at the path of a registered image: it, the image with bytes that have changed, something else or nothing, or what cannot be read. */
export function stateOf(path: string, image: string): 'there' | 'damaged' | 'gone' | 'unknown' {
  try {
    if (statSync(path, { throwIfNoEntry: false }) === undefined) return 'gone';
    return readImageId(path) === image ? 'there' : 'gone';
  } catch (error) {
    // which image it was is not known: it is not gone, and its objects are needed to mount another copy of it
    if (error instanceof DamagedImageError) return 'damaged';
    return error instanceof CfsError && error.kind === 'image' ? 'gone' : 'unknown';
  }
}

function list(dir: string, json: boolean): ExitStatus {
  const roots = listRoots(repositoryAt(dir));
  const bad = roots.filter(({ problem }) => problem !== undefined);
  if (json) printJson(roots.map(jsonOf));
  else if (roots.length > 0) {
    process.stdout.write(
      `${formatTable(['image', 'objects', 'size', 'registered', 'path'], rowsOf(roots)).join('\n')}\n`,
    );
  }
  for (const { problem } of bad) warn(problem as string);
  return bad.length > 0 ? EXIT.found : EXIT.ok;
}

const dateOf = (seconds: number): string => new Date(seconds * 1000).toISOString().replace('.000', '');

/** For people: of each good root. */
export const rowsOf = (roots: readonly Root[]): string[][] =>
  roots.flatMap(({ image, header }) => (header === undefined ? [] : [rowOf(image, header)]));

function rowOf(image: string, { objects, bytes, time, path }: KeepListHeader): string[] {
  const state = path === '' ? '' : stateOf(path, image);
  const where = `${printable(Buffer.from(path))}${state === 'gone' || state === 'damaged' ? ` (${state})` : ''}`;
  return [image, formatCount(objects), formatBytes(bytes), dateOf(time), where];
}

function jsonOf({ image, header, problem }: Root): object {
  if (header === undefined) return { id: image, problem };
  const { objects, bytes, time, path, complete } = header;
  return { id: image, objects, bytes, registered: dateOf(time), path, complete, state: stateOf(path, image) };
}

/** `cfs-repo cache`: shows the cache of remote repositories, and makes it smaller. */
import { existsSync, statfsSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseByteSize } from '../../src/base/byte-size.ts';
import { CfsError, reasonOf } from '../../src/base/error.ts';
import { CacheDirectory } from '../../src/store/cache/cache-directory.ts';
import { type CachedFiles, type CacheUsage, cacheUsage } from '../../src/store/cache/cache-usage.ts';
import { type Eviction, evict } from '../../src/store/cache/eviction.ts';
import { defaultCache } from '../../src/store/default-store.ts';
import { EXIT, type ExitStatus, printJson } from '../cli.ts';
import { formatBytes, formatCounted } from '../format.ts';
import { printResult } from '../quiet.ts';
import { withSignals } from '../signals.ts';
import type { CachingMount } from './cache-mounts.ts';
import { shown } from './registered-path.ts';
import { type Commands, checkDirectoryArgument, warn } from './repository.ts';

interface Options {
  readonly trim?: number;
  readonly clear: boolean;
  readonly dryRun: boolean;
  readonly json: boolean;
}

export function addCache({ program, setStatus }: Commands): void {
  program
    .command('cache')
    .description('show the cache that mounts have for remote repositories, or make it smaller')
    .argument('[DIR]', 'the cache (default: that of mounts, /var/cache/cfs or ~/.cache/cfs)')
    .option('--trim <SIZE>', 'delete what was not used for the longest time, until SIZE is left: 500M, 20G', parseSize)
    .option('--clear', 'delete all objects, and the images that no mount uses', false)
    .option('-n, --dry-run', 'delete nothing, only report what would be deleted', false)
    .option('--json', 'print the result as one JSON object', false)
    .configureHelp({ optionDescription: ({ description }) => description })
    .action(async (dir: string | undefined, options: Options) => setStatus(await cache(dir, options)));
}

function parseSize(text: string): number {
  const bytes = parseByteSize(text);
  if (bytes !== undefined) return bytes;
  throw new CfsError('usage', `--trim takes bytes, with K, M, G or T for powers of 1024; not "${text}"`);
}

async function cache(dir: string | undefined, options: Options): Promise<ExitStatus> {
  if (dir !== undefined) checkDirectoryArgument(dir);
  const { trim, clear, dryRun, json } = options;
  if (trim !== undefined && clear) throw new CfsError('usage', '--trim and --clear exclude each other');
  const allowed = clear ? 0 : trim;
  if (dryRun && allowed === undefined) throw new CfsError('usage', '--dry-run needs --trim or --clear');
  const path = resolve(dir ?? defaultCache());
  // no mount has needed it yet
  const isThere = dir !== undefined || existsSync(path);
  const result = await withSignals('what is left of the cache is good', (signal) =>
    isThere ? inCache(path, allowed, dryRun, signal) : NOTHING,
  );
  const { mountsWithCache } = await import('./cache-mounts.ts');
  const mounts = await mountsWithCache(path);
  if (json) printJson(jsonOf(path, result, mounts, dryRun));
  else printResult(textOf(path, isThere, result, mounts, dryRun));
  const { eviction } = result;
  if (trim === undefined || eviction === undefined || eviction.after <= trim) return EXIT.ok;
  warn(`${formatBytes(eviction.after)} ${dryRun ? 'would be' : 'are'} left: mounts use these images`);
  return EXIT.found;
}

interface Result {
  readonly eviction?: Eviction | undefined;
  readonly usage: CacheUsage;
  /** Bytes of the disk; undefined if it cannot be asked. */
  readonly disk: { readonly free: number; readonly size: number } | undefined;
}

const NO_FILES: CachedFiles = { count: 0, bytes: 0, oldest: undefined, newest: undefined };
const NOTHING: Promise<Result> = Promise.resolve({
  usage: { objects: [], images: NO_FILES, imagesInUse: 0, leftovers: NO_FILES },
  disk: undefined,
});

/** @param allowed bytes that may stay; undefined: nothing is deleted */
async function inCache(
  path: string,
  allowed: number | undefined,
  dryRun: boolean,
  signal: AbortSignal,
): Promise<Result> {
  const opened = CacheDirectory.open(path, { toDelete: allowed !== undefined && !dryRun });
  try {
    const eviction = allowed === undefined ? undefined : await evict(opened, () => allowed, { dryRun, signal });
    return { eviction, usage: await cacheUsage(opened, signal), disk: diskOf(path) };
  } catch (error) {
    if (error instanceof CfsError || (error as NodeJS.ErrnoException).errno === undefined) throw error;
    const what = allowed === undefined || dryRun ? 'read' : 'clean';
    throw new CfsError('store', `Cannot ${what} the cache ${path}: ${reasonOf(error)}`, { cause: error });
  } finally {
    opened.close();
  }
}

function diskOf(path: string): Result['disk'] {
  try {
    const { bavail, blocks, bsize } = statfsSync(path);
    return { free: bavail * bsize, size: blocks * bsize };
  } catch {
    return undefined; // it was deleted in the meantime
  }
}

const totalOf = ({ objects, images, leftovers }: CacheUsage): number =>
  [...objects.map(({ files }) => files), images, leftovers].reduce((sum, { bytes }) => sum + bytes, 0);

function jsonOf(
  path: string,
  { eviction, usage, disk }: Result,
  mounts: readonly CachingMount[],
  dryRun: boolean,
): object {
  const { objects, images, imagesInUse, leftovers } = usage;
  return {
    path,
    ...(eviction === undefined ? {} : { dryRun, deleted: deletedOf(eviction) }),
    objects: objects.map(({ hash, files }) => ({ hash, ...files })),
    images: { ...images, inUse: imagesInUse },
    leftovers: leftovers.count,
    bytes: totalOf(usage),
    disk,
    mounts: mounts.map(({ mountpoint, options: { cacheSize } }) => ({ mountpoint, cacheSize })),
  };
}

function deletedOf({ before, after, deleted }: Eviction): object {
  const { object: objects, image: images, leftover: leftovers } = deleted;
  return { objects, images, leftovers, bytes: before - after };
}

function textOf(
  path: string,
  isThere: boolean,
  { eviction, usage, disk }: Result,
  mounts: readonly CachingMount[],
  dryRun: boolean,
): string {
  const { objects, images, imagesInUse, leftovers } = usage;
  const lines: [key: string, value: string][] = [['cache', `${shown(path)}${isThere ? '' : ' (not made yet)'}`]];
  if (eviction !== undefined) lines.push([dryRun ? 'would free' : 'freed', freedText(eviction)]);
  for (const { hash, files } of objects) lines.push([hash, filesText(files, 'object')]);
  const inUse = imagesInUse > 0 ? `; mounts use ${imagesInUse} of them` : '';
  lines.push(['images', `${filesText(images, 'image')}${inUse}`]);
  if (leftovers.count > 0) lines.push(['unfinished', filesText(leftovers, 'file')]);
  lines.push(['total', formatBytes(totalOf(usage))]);
  for (const { mountpoint, options } of mounts) {
    const limit = options.cacheSize === undefined ? 'none' : formatBytes(options.cacheSize);
    lines.push(['limit', `${limit}, of the mount at ${shown(mountpoint)}`]);
  }
  if (disk !== undefined) lines.push(['free', `${formatBytes(disk.free)} of ${formatBytes(disk.size)}`]);
  const width = Math.max(...lines.map(([key]) => key.length));
  return lines.map(([key, value]) => `${key.padEnd(width)}  ${value}\n`).join('');
}

function filesText({ count, bytes, oldest, newest }: CachedFiles, what: string): string {
  const times = oldest === undefined || newest === undefined ? '' : `, used ${dateOf(oldest)} to ${dateOf(newest)}`;
  return `${formatCounted(count, what)}, ${formatBytes(bytes)}${times}`;
}

function freedText({ before, after, deleted }: Eviction): string {
  const { object, image, leftover } = deleted;
  const counts = [formatCounted(object, 'object'), formatCounted(image, 'image')];
  if (leftover > 0) counts.push(formatCounted(leftover, 'unfinished file'));
  return `${counts.join(', ')}, ${formatBytes(before - after)}`;
}

const dateOf = (date: Date): string => `${date.toISOString().slice(0, 16).replace('T', ' ')}`;

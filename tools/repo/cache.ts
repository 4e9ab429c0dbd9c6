/** `cfs-repo cache`: shows the cache of remote repositories, makes it smaller, and pins images. */
import { existsSync, statfsSync } from 'node:fs';
import { resolve } from 'node:path';
import { formatDiskPart, parseByteSize } from '../../src/base/byte-size.ts';
import { CfsError, reasonOf } from '../../src/base/error.ts';
import { CacheDirectory } from '../../src/store/cache/cache-directory.ts';
import { type CachedFiles, type CacheUsage, cacheUsage, type PinUsage } from '../../src/store/cache/cache-usage.ts';
import { type Eviction, evict } from '../../src/store/cache/eviction.ts';
import { defaultCache } from '../../src/store/default-store.ts';
import { configured } from '../../src/system/config-files.ts';
import { EXIT, type ExitStatus, printJson } from '../cli.ts';
import { formatBytes, formatCount, formatCounted } from '../format.ts';
import { printResult } from '../quiet.ts';
import { withSignals } from '../signals.ts';
import type { CachingMount } from './cache-mounts.ts';
import { shown } from './registered-path.ts';
import { type Commands, checkDirectoryArgument, warn } from './repository.ts';

interface Options {
  readonly trim?: number;
  readonly clear: boolean;
  readonly pin?: string;
  readonly unpin?: string;
  readonly insecure: boolean;
  readonly cacert?: string;
  readonly dryRun: boolean;
  readonly json: boolean;
}

export function addCache({ program, setStatus }: Commands): void {
  program
    .command('cache')
    .description('show the cache that mounts have for remote repositories, make it smaller, or pin images')
    .argument('[DIR]', 'the cache (default: that of mounts, /var/cache/cfs or ~/.cache/cfs)')
    .option('--trim <SIZE>', 'delete what was not used for the longest time, until SIZE is left: 500M, 20G', parseSize)
    .option('--clear', 'delete all that is not pinned, except for images that mounts use', false)
    .option('--pin <IMAGE>', PIN)
    .option('--unpin <IMAGE>', 'give up the pin of an image')
    .option('--insecure', 'permit http:// to another machine, for a URL', false)
    .option('--cacert <FILE>', 'certificates in PEM to trust, too, for a URL')
    .option('-n, --dry-run', 'delete nothing, only report what would be deleted', false)
    .option('--json', 'print the result as one JSON object', false)
    .configureHelp({ optionDescription: ({ description }) => description })
    .action(async (dir: string | undefined, options: Options) => setStatus(await cache(dir, options)));
}

const PIN =
  'do not delete the objects of an image, nor its file, which is given by its path, its id, or URL#NAME; nothing is fetched';

function parseSize(text: string): number {
  const bytes = parseByteSize(text);
  if (bytes !== undefined) return bytes;
  throw new CfsError('usage', `--trim takes bytes, with K, M, G or T for powers of 1024; not "${text}"`);
}

async function cache(dir: string | undefined, options: Options): Promise<ExitStatus> {
  if (dir !== undefined) checkDirectoryArgument(dir);
  const { trim, clear, pin, unpin, dryRun, json } = options;
  const actions = { '--trim': trim, '--clear': clear || undefined, '--pin': pin, '--unpin': unpin };
  const [one, other] = Object.entries(actions).flatMap(([name, value]) => (value === undefined ? [] : name));
  if (other !== undefined) throw new CfsError('usage', `${one} and ${other} exclude each other`);
  const allowed = clear ? 0 : trim;
  if (dryRun && allowed === undefined) throw new CfsError('usage', '--dry-run needs --trim or --clear');
  const path = resolve(dir ?? configured('cache')?.value ?? defaultCache());
  const change = await changePins(path, options);
  // no mount has needed it yet
  const isThere = dir !== undefined || existsSync(path);
  const result = await withSignals('what is left of the cache is good', (signal) =>
    isThere ? inCache(path, allowed, dryRun, signal) : NOTHING,
  );
  const { mountsWithCache } = await import('./cache-mounts.ts');
  const mounts = await mountsWithCache(path);
  if (json) printJson(jsonOf(path, result, mounts, dryRun, change));
  else printResult(textOf(path, isThere, result, mounts, dryRun, change));
  const { eviction, usage } = result;
  const problems = usage.pins.flatMap(({ problem, isDenied }) => (problem === undefined || isDenied ? [] : problem));
  for (const problem of problems) warn(`${problem}: pin this image again, or give up its pin`);
  const isTooMuch = trim !== undefined && eviction !== undefined && eviction.after > trim;
  if (isTooMuch) {
    warn(`${formatBytes(eviction.after)} ${dryRun ? 'would be' : 'are'} left: the rest is pinned, or images of mounts`);
  }
  return isTooMuch || problems.length > 0 ? EXIT.found : EXIT.ok;
}

/** The id of an image that was pinned, or whose pin was given up. */
type PinChange = { readonly pinned?: string; readonly unpinned?: string };

async function changePins(path: string, { pin, unpin, insecure, cacert }: Options): Promise<PinChange> {
  const [word] = [pin, unpin].filter((each) => each !== undefined);
  if (word === undefined) return {};
  if (word === '') throw new CfsError('usage', 'IMAGE is empty');
  const { pinImage, unpinImage } = await import('./cache-pins.ts');
  const network = { insecure, ...(cacert === undefined ? {} : { cacert }) };
  if (pin !== undefined) return { pinned: await pinImage(path, word, network) };
  return { unpinned: await unpinImage(path, word, network) };
}

interface Result {
  readonly eviction?: Eviction | undefined;
  readonly usage: CacheUsage;
  /** Bytes of the disk; undefined if it cannot be asked. */
  readonly disk: { readonly free: number; readonly size: number } | undefined;
}

const NO_FILES: CachedFiles = { count: 0, bytes: 0, oldest: undefined, newest: undefined };
const NOTHING: Promise<Result> = Promise.resolve({
  usage: { objects: [], images: NO_FILES, imagesInUse: 0, leftovers: NO_FILES, pins: [] },
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
    const eviction =
      allowed === undefined ? undefined : await evict(opened, () => allowed, { dryRun, signal, strict: true });
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
  change: PinChange,
): object {
  const { objects, images, imagesInUse, leftovers, pins } = usage;
  return {
    path,
    ...(eviction === undefined ? {} : { dryRun, deleted: deletedOf(eviction) }),
    ...change,
    objects: objects.map(({ hash, files }) => ({ hash, ...files })),
    images: { ...images, inUse: imagesInUse },
    leftovers: leftovers.count,
    pins: pins.map(({ isDenied: _, ...pin }) => pin),
    bytes: totalOf(usage),
    disk,
    mounts: mounts.map(({ mountpoint, options: { cacheSize, cacheMinFree } }) => ({
      mountpoint,
      cacheSize,
      cacheMinFree: cacheMinFree && formatDiskPart(cacheMinFree),
    })),
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
  { pinned, unpinned }: PinChange,
): string {
  const { objects, images, imagesInUse, leftovers, pins } = usage;
  const lines: [key: string, value: string][] = [['cache', `${shown(path)}${isThere ? '' : ' (not made yet)'}`]];
  if (eviction !== undefined) lines.push([dryRun ? 'would free' : 'freed', freedText(eviction)]);
  if (unpinned !== undefined) lines.push(['unpinned', unpinned]);
  for (const { hash, files } of objects) lines.push([hash, filesText(files, 'object')]);
  const inUse = imagesInUse > 0 ? `; mounts use ${imagesInUse} of them` : '';
  lines.push(['images', `${filesText(images, 'image')}${inUse}`]);
  if (leftovers.count > 0) lines.push(['unfinished', filesText(leftovers, 'file')]);
  for (const pin of pins) lines.push([pin.id === pinned ? 'pinned now' : 'pinned', pinText(pin)]);
  lines.push(['total', formatBytes(totalOf(usage))]);
  for (const { mountpoint, options } of mounts) {
    const { cacheSize, cacheMinFree } = options;
    const limits = [
      ...(cacheSize === undefined ? [] : [formatBytes(cacheSize)]),
      ...(cacheMinFree === undefined ? [] : [`${formatDiskPart(cacheMinFree)} of the disk free`]),
    ];
    lines.push(['limit', `${limits.join(', ') || 'none'}, of the mount at ${shown(mountpoint)}`]);
  }
  if (disk !== undefined) lines.push(['free', `${formatBytes(disk.free)} of ${formatBytes(disk.size)}`]);
  const width = Math.max(...lines.map(([key]) => key.length));
  return lines.map(([key, value]) => `${key.padEnd(width)}  ${value}\n`).join('');
}

function filesText({ count, bytes, oldest, newest }: CachedFiles, what: string): string {
  const times = oldest === undefined || newest === undefined ? '' : `, used ${dateOf(oldest)} to ${dateOf(newest)}`;
  return `${formatCounted(count, what)}, ${formatBytes(bytes)}${times}`;
}

function pinText({ id, objects, cached, cachedBytes, hasImage, problem }: PinUsage): string {
  if (objects === undefined) return `${id}: ${problem}`;
  const counts = `${formatCount(cached)} of its ${formatCounted(objects, 'object')} are here, ${formatBytes(cachedBytes)}`;
  return `${id}: ${counts}${hasImage ? '' : '; its image file is elsewhere'}`;
}

function freedText({ before, after, deleted }: Eviction): string {
  const { object, image, leftover } = deleted;
  const counts = [formatCounted(object, 'object'), formatCounted(image, 'image')];
  if (leftover > 0) counts.push(formatCounted(leftover, 'unfinished file'));
  return `${counts.join(', ')}, ${formatBytes(before - after)}`;
}

const dateOf = (date: Date): string => `${date.toISOString().slice(0, 16).replace('T', ' ')}`;

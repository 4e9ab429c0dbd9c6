/** The steps of a mount that may fail, and come before anything is mounted. */
import { closeSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { CfsError, reasonOf } from '../base/error.ts';
import { version } from '../base/installation.ts';
import type { Log } from '../base/log.ts';
import { pathBytes } from '../base/path-text.ts';
import { type ImageFile, openImage, readOpenImage } from '../image/image-file.ts';
import { decodeIdentities, withIdentities } from '../manifest/identities.ts';
import { shortInodeNumbers } from '../manifest/short-inodes.ts';
import {
  attachTables,
  inodeCount,
  type ManifestTables,
  objectCount,
  type SharedTables,
  shareTables,
} from '../manifest/tables.ts';
import { allocateObjectState } from '../objects/object-state.ts';
import { readCertificates } from '../remote/certificates.ts';
import { parseRemoteAddress } from '../remote/remote-url.ts';
import type { TrustedKey } from '../sign/keys.ts';
import { cachedImage, cachePart } from '../store/cache/cache-directory.ts';
import { keepInUse } from '../store/cache/image-use.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import { openCache, openRepository } from '../store/open-repository.ts';
import { ImageKeeper } from '../survival/image-keeper.ts';
import { mountAt } from '../system/mount-table.ts';
import { allocateActivity } from './activity.ts';
import { allocateCounters } from './counters.ts';
import { allocateFetchCounters } from './fetch-counters.ts';
import { closeSource, imageSource, type MountSource, repositorySource, verifyModeOf } from './mount-sources.ts';
import type { MountedImage } from './mounted-image.ts';
import { allocateOrigins } from './object-origins.ts';
import { requireObjects } from './object-sample.ts';
import { allocateOpeningOrder } from './opening-order.ts';
import type { MountOptions } from './options.ts';
import type { ParkedFilesOfMount } from './parked-mount.ts';
import { allocateProblemMemory, ProblemMemory } from './problem-memory.ts';
import { requireProfile } from './profile-recorder.ts';
import type { ServedImage } from './served-image.ts';
import { COUNTER_ROWS, MOST_THREADS } from './threads/most-threads.ts';
import { readIdentities, type UpperLayer } from './upper-layer.ts';
import { requireVerity } from './verity-requirement.ts';

/** Everything that is known before anything is mounted. */
export interface Prepared {
  readonly options: MountOptions;
  readonly mountpoint: string;
  readonly imagePath: string;
  readonly image: Omit<ImageFile, 'tables'>;
  readonly tables: ManifestTables;
  readonly shared: SharedTables;
  readonly served: ServedImage;
  readonly toLog: Log;
  /** Undefined if no other server would take over. */
  readonly keeper: ImageKeeper | undefined;
}

/**
 * Reads the image and opens its repositories.
 * @param mountpoint absolute, without symbolic links
 * @throws CfsError: image, store or usage, with nothing left open
 */
export function prepare({ options, problems, toLog }: Remembered, mountpoint: string): Prepared {
  // the thread that fetches needs them later, when it can only log
  if (options.remote?.cacert !== undefined) readCertificates(options.remote.cacert);
  const fd = openImage(options.image);
  const sources: MountSource[] = [];
  const survives = options.restart && options.driver === 'kernel';
  const keeper = survives ? ImageKeeper.begin(fd, options.log) : undefined;
  try {
    const { shared, ...image } = loadTables(fd, options.image, options.digest, options.trustedKeys);
    // until the end of the mount: other servers of it get the same open file
    if (isCached(options, image.id)) keepInUse(fd);
    setTimeout(collectGarbage, SETTLED_MS).unref();
    sources.push(imageSource(options.given?.image ?? options.image, image.id, fd));
    const tables = attachTables(shared);
    const repositories = openRepositories(options, tables);
    if (options.verify === 'fsverity') {
      requireVerity({
        image: options.image,
        hash: tables.header.hash,
        repositories: repositories.map(({ path }) => path),
      });
    }
    for (const [i, { path, uuid, isCache }] of repositories.entries()) {
      sources.push(repositorySource(options.given?.repositories[i] ?? path, path, uuid, isCache));
    }
    if (options.record !== undefined) requireProfile(options.record);
    if (options.requireComplete) requireObjects(options.image, tables, repositories);
    const served = servedOf(options, mountpoint, tables, sources, 0, problems);
    return { options, mountpoint, imagePath: resolve(options.image), image, tables, shared, served, keeper, toLog };
  } catch (error) {
    keeper?.end();
    if (sources.length === 0) closeSync(fd);
    sources.forEach(closeSource);
    throw error;
  }
}

/**
 * The same for an existing mount, from the files that its server left.
 * @throws CfsError (image)
 */
export function prepareAgain(
  { options, problems, toLog }: Remembered,
  { connection: { mountpoint }, sources, imageCopy, layer }: ParkedFilesOfMount,
  restarts: number,
): Prepared {
  const [source] = sources as [MountSource];
  const keeper = ImageKeeper.resume(source.fd, imageCopy ?? -1, options.log);
  // the id is that of the mount: its signature was verified when it was made, and is not required again
  const { shared: ofImage, ...image } = loadTables(keeper.source, options.image, source.id);
  setTimeout(collectGarbage, SETTLED_MS).unref();
  const shared = layer?.identities === undefined ? ofImage : identified(ofImage, layer.identities);
  const tables = attachTables(shared);
  const served = servedOf(options, mountpoint, tables, sources, restarts, problems);
  return { options, mountpoint, imagePath: options.image, image, tables, shared, served, keeper, toLog };
}

/** The tables of a mount that was rebased. @param identities the file with its identities */
const identified = (shared: SharedTables, identities: number): SharedTables =>
  shareTables(withIdentities(attachTables(shared), decodeIdentities(readIdentities(identities))));

/** The same with an upper layer, whose directories are sources that `closePrepared` does not close. */
export function withLayer(prepared: Prepared, layer: UpperLayer): Prepared {
  const { served } = prepared;
  const layerSources = layer.sources();
  const record = { ...served.record, sources: served.sources.length + layerSources.length };
  return { ...prepared, served: { ...served, layerSources, record } };
}

/** Closes what `prepare` has opened. */
export function closePrepared({ keeper, served }: Prepared): void {
  keeper?.end();
  served.sources.forEach(closeSource);
}

export function openRepositories(options: MountOptions, tables: ManifestTables): readonly LocalRepository[] {
  // an image without objects needs no repository, not even a default one that exists
  const needed = objectCount(tables) > 0 ? options.repositories : [];
  const { hash } = tables.header;
  const repositories = needed.map((dir) => openRepository(dir, hash));
  const cache = cacheOf(options, tables);
  if (cache !== undefined) repositories.push(openCache(cache, hash));
  if (repositories.length === 0 && objectCount(tables) > 0) {
    throw new CfsError('usage', `Cannot mount ${options.image}: its files need a repository, and none was given`);
  }
  return repositories;
}

/** Whether the image file is one of the cache, which deletes those that nobody uses. */
const isCached = ({ image, remote }: MountOptions, id: string): boolean =>
  remote !== undefined && resolve(image) === cachedImage(remote.cache, id);

/** The repository in the cache, for an image whose objects may come from the network. */
const cacheOf = ({ remote }: MountOptions, tables: ManifestTables): string | undefined =>
  remote === undefined || objectCount(tables) === 0 ? undefined : cachePart(remote.cache, tables.header.hash);

function remoteOf(options: MountOptions, tables: ManifestTables): ServedImage['remote'] {
  const cache = cacheOf(options, tables);
  if (cache === undefined || options.remote === undefined) return undefined;
  const { addresses, insecure } = options.remote;
  const servers = addresses.flatMap((address) => parseRemoteAddress(address, insecure).mirrors.map(String));
  const counters = allocateFetchCounters(servers.length);
  const origins = allocateOrigins(objectCount(tables), addresses.length);
  return { options: options.remote, servers, cache, counters, origins };
}

/** In a function of its own, so that the file's bytes and what was decoded from them are garbage when it returns. */
function loadTables(
  fd: number,
  image: string,
  digest: string | undefined,
  trustedKeys?: readonly TrustedKey[],
): Omit<ImageFile, 'tables'> & { readonly shared: SharedTables } {
  const { tables, ...read } = readOpenImage(fd, image, digest, trustedKeys);
  return { ...read, shared: shareTables(tables) };
}

/** By then the mount has been made, and nothing of the decoding is on any stack. */
const SETTLED_MS = 250;

/**
 * Frees the memory of decoding, if node runs with --expose-gc: a daemon makes so little garbage later that V8 would
 * keep it.
 */
function collectGarbage(): void {
  (globalThis as { gc?: () => void }).gc?.();
}

/** @returns the mount point's absolute path without symbolic links */
export function checkMountpoint(options: MountOptions): string {
  const fail = (reason: string, hint?: string): never => {
    throw new CfsError('mount', `Cannot mount on ${options.mountpoint}: ${reason}`, { hint });
  };
  let path: string;
  try {
    path = realpathSync(options.mountpoint);
    if (!statSync(path).isDirectory()) return fail('it is not a directory');
    if (options.nonempty) return path;
    const there = mountAt(path);
    if (there !== undefined && path !== '/') {
      return fail(`${there.source} (${there.type}) is mounted there already`, '`nonempty` mounts over it.');
    }
    if (readdirSync(path).length > 0) {
      return fail('it is not empty', '`nonempty` mounts over what is in it.');
    }
    return path;
  } catch (error) {
    if (error instanceof CfsError) throw error;
    if ((error as NodeJS.ErrnoException).code !== 'ENOTCONN') return fail(reasonOf(error));
    return fail('a dead FUSE mount is there', `'umount ${options.mountpoint}' removes it.`);
  }
}

/** The description of the mount. */
export function describe(
  prepared: Prepared,
): Omit<MountedImage, 'passthrough' | 'parked' | 'unmount' | 'ending' | 'ended'> {
  const { options, mountpoint, imagePath, image, tables, served } = prepared;
  const { verify } = options;
  return {
    id: image.id,
    image: imagePath,
    mountpoint,
    driver: options.driver,
    verify,
    readByBlocks: served.sources
      .slice(1)
      .filter((source) => verifyModeOf(source, verify) !== verify)
      .map(({ path }) => path),
    inodes: inodeCount(tables),
    objects: objectCount(tables),
    signature: image.signature,
  };
}

export interface Remembered {
  readonly options: MountOptions;
  /** ProblemMemory */
  readonly problems: SharedArrayBuffer;
  /** The log alone: for lines that the threads have remembered already. */
  readonly toLog: Log;
}

/** What the main thread logs is remembered, too. */
export function remembering(given: MountOptions): Remembered {
  const problems = allocateProblemMemory();
  const memory = new ProblemMemory(problems);
  const log: Log = (line, severity = 'warning', about, event) => {
    memory.record(line, severity, about);
    given.log(line, severity, about, event);
  };
  return { options: { ...given, log }, problems, toLog: given.log };
}

/** The image comes first. */
export function servedOf(
  options: MountOptions,
  mountpoint: string,
  tables: ManifestTables,
  sources: readonly MountSource[],
  restarts: number,
  problems: SharedArrayBuffer,
): ServedImage {
  return {
    record: {
      pid: process.pid,
      sources: sources.length,
      imageId: (sources[0] as MountSource).id,
      mountpoint: pathBytes(mountpoint),
      options: pathBytes(options.words ?? ''),
      release: version(),
    },
    sources,
    layerSources: [],
    verify: options.verify,
    view: {
      hideOverlayXattrs: options.hideOverlayXattrs ?? false,
      // libfuse has short numbers of its own
      ...(options.inode32 && options.driver === 'kernel' ? { inodeNumbers: shortInodeNumbers(tables) } : {}),
    },
    objectState: allocateObjectState(objectCount(tables)),
    counters: allocateCounters(COUNTER_ROWS, sources.length - 1),
    activity: allocateActivity(MOST_THREADS),
    openings: options.record === undefined ? undefined : allocateOpeningOrder(inodeCount(tables)),
    restarts,
    debug: options.debug === true,
    problems,
    remote: remoteOf(options, tables),
    isForOthers: options.allowOther,
  };
}

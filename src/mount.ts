/** Composition of a mount: options -> image and repositories -> file system -> driver -> worker threads. */
import { closeSync, openSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { contentsOf } from './contents.ts';
import { errnoName, isErrno } from './errno.ts';
import { CfsError, reasonOf } from './error.ts';
import { ImageFilesystem } from './fs/image-filesystem.ts';
import { allocateReadingEvents } from './fs/reading-events.ts';
import { PASSTHROUGH, REQUEST_BUFFER_SIZE } from './fuse/abi.ts';
import { canPassThrough, readRequest, writeReply } from './fuse/device.ts';
import { decodeInit, encodeInitReply, negotiate } from './fuse/init.ts';
import { type KernelMount, mountKernel, unmountKernel } from './fuse/kernel-mount.ts';
import { allocateOpenFileState } from './fuse/open-files.ts';
import { allocateServingTurn } from './fuse/serving-turn.ts';
import { type ImageFile, readImage } from './image-file.ts';
import {
  attachTables,
  inodeCount,
  type ManifestTables,
  objectCount,
  type SharedTables,
  shareTables,
} from './manifest/tables.ts';
import { mountAt } from './mount-table.ts';
import type { ServeMessage } from './mount-worker.ts';
import { MountWorkers } from './mount-workers.ts';
import { type LocalRepository, openRepository } from './store/local.ts';
import { allocateObjectState, type VerifyMode } from './store/object-store.ts';

export type Driver = 'kernel' | 'fuse-native';

export interface MountOptions {
  readonly image: string;
  readonly mountpoint: string;
  /** Directories of repositories, in the order in which they are asked. */
  readonly repositories: readonly string[];
  /** The image id that the file must have, 64 hexadecimal digits. */
  readonly digest?: string;
  readonly verify: VerifyMode;
  readonly driver: Driver;
  readonly threads: number;
  readonly allowOther: boolean;
  readonly suid: boolean;
  readonly dev: boolean;
  readonly exec: boolean;
  readonly noatime: boolean;
  /** Accept a mount point that is not empty, or already has something mounted on it. */
  readonly nonempty: boolean;
  /** What mountinfo shows as source; default: the image's path. */
  readonly source?: string;
  /** Receives lines about objects that could not be served, and the like. */
  readonly log: (line: string) => void;
}

export interface MountedImage {
  readonly id: string;
  readonly image: string;
  readonly mountpoint: string;
  readonly driver: Driver;
  readonly verify: VerifyMode;
  /** The kernel reads objects by itself, in their own page cache. */
  readonly passthrough: boolean;
  readonly inodes: number;
  readonly objects: number;
  /** Takes the mount away; who still uses it keeps it until they are done. */
  unmount(): Promise<void>;
  /** Resolves when the mount has ended, by `unmount` or by umount(8), and nothing is left of it. */
  readonly ended: Promise<void>;
}

/**
 * Mounts an image. Resolves once the mount answers.
 * @throws CfsError: image, store or mount
 */
export async function mountImage(options: MountOptions): Promise<MountedImage> {
  const mountpoint = checkMountpoint(options);
  // a thread takes about as long to start as an image to read: both at the same time
  const workers = options.driver === 'kernel' ? new MountWorkers(options.threads) : undefined;
  try {
    const prepared = prepare(options, mountpoint);
    return workers === undefined ? await serveByFuseNative(prepared) : await serveByKernel(prepared, workers);
  } catch (error) {
    await workers?.terminate();
    throw error;
  }
}

/** Everything that is known before anything is mounted. */
interface Prepared {
  readonly options: MountOptions;
  readonly mountpoint: string;
  readonly imagePath: string;
  readonly image: Omit<ImageFile, 'tables'>;
  readonly tables: ManifestTables;
  readonly shared: SharedTables;
  readonly repositories: readonly LocalRepository[];
}

function prepare(options: MountOptions, mountpoint: string): Prepared {
  const { id, bytes, shared } = loadTables(options);
  setTimeout(collectGarbage, SETTLED_MS).unref();
  const tables = attachTables(shared);
  // an image whose contents all lie in itself needs no repository, not even a default one that exists
  const needed = objectCount(tables) > 0 ? options.repositories : [];
  const repositories = needed.map((dir) => openRepository(dir, tables.header.hash));
  if (repositories.length === 0 && objectCount(tables) > 0) {
    throw new CfsError('usage', `Cannot mount ${options.image}: its files need a repository, and none was given`);
  }
  return { options, mountpoint, imagePath: resolve(options.image), image: { id, bytes }, tables, shared, repositories };
}

/** In a function of its own, so that the file's bytes and what was decoded from them are garbage when it returns. */
function loadTables(options: MountOptions): { id: string; bytes: number; shared: SharedTables } {
  const { id, bytes, tables } = readImage(options.image, options.digest);
  return { id, bytes, shared: shareTables(tables) };
}

/** When the mount has been made, and nothing of the decoding is on any stack. */
const SETTLED_MS = 250;

/** Gives the memory of decoding back, where node runs with --expose-gc: a daemon makes so little garbage later that V8 would keep it. */
function collectGarbage(): void {
  (globalThis as { gc?: () => void }).gc?.();
}

/** @returns the mount point's absolute path without symbolic links */
function checkMountpoint(options: MountOptions): string {
  const fail = (reason: string): never => {
    throw new CfsError('mount', `Cannot mount on ${options.mountpoint}: ${reason}`);
  };
  let path: string;
  try {
    path = realpathSync(options.mountpoint);
    if (!statSync(path).isDirectory()) return fail('it is not a directory');
    if (options.nonempty) return path;
    const there = mountAt(path);
    if (there !== undefined && path !== '/') {
      return fail(`${there.source} (${there.type}) is mounted there already. -o nonempty mounts over it.`);
    }
    if (readdirSync(path).length > 0) return fail('it is not empty. -o nonempty mounts over what is in it.');
    return path;
  } catch (error) {
    if (error instanceof CfsError) throw error;
    const stale = (error as NodeJS.ErrnoException).code === 'ENOTCONN';
    return fail(stale ? `a dead FUSE mount is there. 'umount ${options.mountpoint}' takes it away.` : reasonOf(error));
  }
}

function describe(prepared: Prepared): Omit<MountedImage, 'passthrough' | 'unmount' | 'ended'> {
  const { options, mountpoint, imagePath, image, tables } = prepared;
  return {
    id: image.id,
    image: imagePath,
    mountpoint,
    driver: options.driver,
    verify: options.verify,
    inodes: inodeCount(tables),
    objects: objectCount(tables),
  };
}

async function serveByFuseNative(prepared: Prepared): Promise<MountedImage> {
  const { options, mountpoint, tables, repositories, imagePath } = prepared;
  const state = allocateObjectState(objectCount(tables));
  const contents = contentsOf(tables, repositories, options.verify, state, options.log);
  // loaded only here: it brings libfuse with it
  const { mountFuseNative } = await import('./fuse/fuse-native.ts');
  const source = options.source ?? imagePath;
  const mount = await mountFuseNative(new ImageFilesystem(tables, contents), { ...options, mountpoint, source });
  const unmount = (): Promise<void> => mount.unmount({ lazy: true });
  return { ...describe(prepared), passthrough: false, unmount, ended: mount.ended };
}

async function serveByKernel(prepared: Prepared, workers: MountWorkers): Promise<MountedImage> {
  const { options, mountpoint, imagePath, tables } = prepared;
  const mount = await mountKernel({ ...options, mountpoint, source: options.source ?? imagePath });
  const device = mountAt(mountpoint)?.device;
  const detach = (): void => {
    if (device === undefined) return;
    const result = unmountKernel(mountpoint, device, mount.helper);
    if (isErrno(result)) options.log(`cannot unmount ${mountpoint}: ${errnoName(result)}`);
  };
  try {
    const passthrough = answerInit(mount, prepared);
    const message: ServeMessage = {
      fd: mount.fd,
      ownsFd: false,
      tables: prepared.shared,
      repositories: prepared.repositories.map(({ path }) => path),
      verify: options.verify,
      objectState: allocateObjectState(objectCount(tables)),
      openFileState: allocateOpenFileState(inodeCount(tables)),
      passthrough,
      turn: allocateServingTurn(),
      events: allocateReadingEvents(),
    };
    const ended = workers.ended.then((failures) => {
      for (const failure of failures) options.log(`a worker thread failed: ${failure}`);
      if (failures.length > 0) detach();
      closeSync(mount.fd);
    });
    await workers.serve(message, options.log);
    return { ...describe(prepared), passthrough, unmount: async () => detach(), ended };
  } catch (error) {
    detach();
    closeSync(mount.fd);
    throw error;
  }
}

/** Answers INIT, which waits in the queue of every new mount. Returns whether passthrough can be had. */
function answerInit(mount: KernelMount, prepared: Prepared): boolean {
  const buffer = Buffer.alloc(REQUEST_BUFFER_SIZE);
  const length = readRequest(mount.fd, buffer);
  const request = decodeInit(buffer.subarray(0, length));
  const { tables, options } = prepared;
  const state = allocateObjectState(objectCount(tables));
  const { features } = new ImageFilesystem(tables, contentsOf(tables, [], options.verify, state, options.log));
  // with blocks checked as they are read every page comes from here: none may come from the object itself
  const passthrough = process.geteuid?.() === 0 && !features.openless;
  const negotiated = negotiate(request, { ...features, passthrough });
  const reply = encodeInitReply(buffer, request, negotiated);
  writeReply(mount.fd, reply, reply.length);
  if (!negotiated.flags.has(PASSTHROUGH)) return false;
  const fd = openSync(prepared.imagePath, 'r');
  try {
    return canPassThrough(mount.fd, fd);
  } finally {
    closeSync(fd);
  }
}

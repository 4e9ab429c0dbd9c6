/** Composition of a mount: options -> image and repositories -> file system -> driver -> worker threads. */
import { closeSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { errnoName, isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { version } from '../base/installation.ts';
import type { Log } from '../base/log.ts';
import { nativeModules } from '../base/native-package.ts';
import { pathBytes } from '../base/path-text.ts';
import { allocateReadingEvents } from '../fs/reading-events.ts';
import { HAS_RESEND, PASSTHROUGH, REQUEST_BUFFER_SIZE } from '../fuse/abi.ts';
import { canPassThrough, DEVICE, resendRequests } from '../fuse/device.ts';
import { decodeInit, encodeInitReply, negotiate } from '../fuse/init.ts';
import { mountKernel, unmountKernel, unmountNew } from '../fuse/kernel-mount.ts';
import { OpenFileJournal } from '../fuse/open-file-journal.ts';
import { allocateOpenFileState } from '../fuse/open-files.ts';
import { RequestQueue } from '../fuse/request-queue.ts';
import { type ImageFile, openImage, readOpenImage } from '../image/image-file.ts';
import type { ImageSignature } from '../image/image-signature.ts';
import { keptImageOf } from '../image/objects-needed.ts';
import { shortInodeNumbers } from '../manifest/short-inodes.ts';
import {
  attachTables,
  inodeCount,
  type ManifestTables,
  objectCount,
  type SharedTables,
  shareTables,
} from '../manifest/tables.ts';
import type { VerifyMode } from '../objects/repository.ts';
import { allocateObjectState } from '../objects/whole-objects.ts';
import type { TrustedKey } from '../sign/keys.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import { openRepository } from '../store/open-repository.ts';
import { ImageKeeper } from '../survival/image-keeper.ts';
import { letGoOfFiles } from '../system/let-go.ts';
import { mountAt } from '../system/mount-table.ts';
import { memfdCreate } from '../system/syscall.ts';
import { allocateCounters, Counters } from './counters.ts';
import { allocateMountEnd, type LeaseFile, tellParked, tellWritten } from './mount-end.ts';
import { type MountLease, MountLeases } from './mount-leases.ts';
import { closeSource, imageSource, type MountSource, repositorySource, verifyModeOf } from './mount-sources.ts';
import { type ObjectSample, requireObjects, sampleObjects, warningOf } from './object-sample.ts';
import { type OtherImage, otherImages, warningOfOther } from './other-images.ts';
import type { ParkedMount } from './parked-mount.ts';
import { allocateProblemMemory, ProblemMemory } from './problem-memory.ts';
import { servedFilesystem } from './served-filesystem.ts';
import { repositoriesOf, type ServedImage } from './served-image.ts';
import { allocateWorkTable, MOST_THREADS } from './threads/requests-in-progress.ts';
import { allocateServingTurn } from './threads/serving-turn.ts';
import type { MountMessage } from './threads/worker.ts';
import { MountWorkers } from './threads/workers.ts';
import { requireVerity } from './verity-requirement.ts';

export type Driver = 'kernel' | 'fuse-native';

export interface MountOptions {
  readonly image: string;
  readonly mountpoint: string;
  /** Directories of repositories, in the order in which they are asked. */
  readonly repositories: readonly string[];
  /** The words of the command line that image and repositories were given by, in the same order; default: their paths. */
  readonly given?: { readonly image: string; readonly repositories: readonly string[] };
  /** These options as words for -o, which the mount gives to whoever wants to make it again. */
  readonly words?: string;
  /** The image id or fs-verity digest that the file must have, as image-digest.ts reads it. */
  readonly digest?: string;
  /** The image must be signed by one of these; by none where the list is empty. */
  readonly trustedKeys?: readonly TrustedKey[];
  readonly verify: VerifyMode;
  readonly driver: Driver;
  readonly threads: number;
  readonly allowOther: boolean;
  readonly suid: boolean;
  readonly dev: boolean;
  readonly exec: boolean;
  readonly noatime: boolean;
  /** Show inode numbers of 32 bits in place of stable ids; settings of an earlier version have none of this, nor of the next. */
  readonly inode32?: boolean;
  /** Log one line for each request (kernel driver). */
  readonly debug?: boolean;
  /** No `trusted.overlay.*` and `user.overlay.*`. */
  readonly hideOverlayXattrs?: boolean;
  /** Accept a mount point that is not empty, or already has something mounted on it. */
  readonly nonempty: boolean;
  /** Refuse an image of which an object is in no repository. */
  readonly requireComplete?: boolean;
  /** Keep all that another process needs to go on serving where this one dies. */
  readonly restart: boolean;
  /** What mountinfo shows as source; default: the image's path. */
  readonly source?: string;
  /** Receives lines about objects that could not be served, and the like. */
  readonly log: Log;
}

export interface MountedImage {
  readonly id: string;
  readonly image: string;
  readonly mountpoint: string;
  readonly driver: Driver;
  readonly verify: VerifyMode;
  /** Repositories whose objects are verified block by block although `verify` says `auto` or `open`: their paths. */
  readonly readByBlocks: readonly string[];
  /** The kernel reads objects by itself, in their own page cache. */
  readonly passthrough: boolean;
  readonly inodes: number;
  readonly objects: number;
  /** Whether its objects are there; undefined where that was not known in time, and in a server that took over. */
  readonly sample?: ObjectSample | undefined;
  /** Images that repositories have registered at its path in its place; undefined in a server that took over. */
  readonly otherImages?: readonly OtherImage[];
  /** Seen when the mount was made; undefined where none was asked for, and in a server that took over. */
  readonly signature: ImageSignature | undefined;
  /** What another process needs to go on serving; undefined where none could. */
  readonly parked: Omit<ParkedMount<never>, 'settings'> | undefined;
  /** To be called with the second end of the socket where the mount was parked. */
  readonly tellParked?: (end: number) => void;
  /** Called when the leases' lists are written. */
  readonly tellWritten?: () => void;
  /** Takes the mount away; who still uses it keeps it until they are done. */
  unmount(): Promise<void>;
  /** Resolves when the mount has ended, as `ended`, as soon as anything tells. Nothing of its files is open any more. */
  readonly ending: Promise<void>;
  /** Resolves when the mount has ended, by `unmount` or by umount(8), and nothing is left of it. */
  readonly ended: Promise<void>;
}

/**
 * Mounts an image. Resolves once the mount answers.
 * @throws CfsError: image, store or mount
 */
export async function mountImage(given: MountOptions): Promise<MountedImage> {
  const remembered = remembering(given);
  const { options } = remembered;
  const mountpoint = checkMountpoint(options);
  // a thread takes about as long to start as an image to read: both at the same time
  const workers = options.driver === 'kernel' ? new MountWorkers(options.threads) : undefined;
  try {
    return await serve(prepare(remembered, mountpoint), workers);
  } catch (error) {
    await workers?.terminate();
    throw error;
  }
}

/**
 * Goes on serving a mount whose server died. Resolves once it answers again.
 * @param parked what that one left; its descriptors belong to this process
 * @param given the options that the mount was made with
 * @throws CfsError: image
 */
export async function resumeMount(
  parked: Omit<ParkedMount<unknown>, 'settings'>,
  given: MountOptions,
): Promise<MountedImage> {
  const { options, problems, toLog } = remembering(given);
  const workers = new MountWorkers(options.threads);
  try {
    const [image] = parked.sources as [MountSource];
    const keeper = ImageKeeper.resume(image.fd, parked.imageCopy ?? -1, options.log);
    // the id is that of the mount, whose signature was seen when it was made: it is not looked for again
    const { shared, ...read } = loadTables(keeper.source, options.image, image.id);
    setTimeout(collectGarbage, SETTLED_MS).unref();
    const tables = attachTables(shared);
    const epoch = new OpenFileJournal(parked.journal).nextEpoch();
    const served = servedOf(options, parked.mountpoint, tables, parked.sources, epoch, problems);
    const prepared = {
      ...parked,
      options,
      image: read,
      tables,
      shared,
      served,
      imagePath: options.image,
      keeper,
      toLog,
    };
    const { connection: fd, helper, device, passthrough, resends, journal, mountpoint } = parked;
    const connection = { fd, helper, device, passthrough, resends, journal, mountpoint, epoch };
    const mounted = await serveConnection(prepared, workers, connection, parked.leases ?? []);
    if (resends) resendRequests(fd);
    // they are held all the time by their open files; looking at them may take long, where a repository does not answer
    const leases = MountLeases.resume(repositoriesOf(served, tables), parked.leases, image.id, options.log);
    return withLeases(mounted, leases, prepared);
  } catch (error) {
    await workers.terminate();
    throw error;
  }
}

interface Remembered {
  readonly options: MountOptions;
  /** ProblemMemory */
  readonly problems: SharedArrayBuffer;
  /** The log alone: for what the threads have remembered already. */
  readonly toLog: Log;
}

/** What the main thread logs is remembered, too. */
function remembering(given: MountOptions): Remembered {
  const problems = allocateProblemMemory();
  const memory = new ProblemMemory(problems);
  const log: Log = (line, severity = 'warning', about) => {
    memory.record(line, severity, about);
    given.log(line, severity, about);
  };
  return { options: { ...given, log }, problems, toLog: given.log };
}

/** The image comes first. */
function servedOf(
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
    verify: options.verify,
    view: {
      hideOverlayXattrs: options.hideOverlayXattrs ?? false,
      // libfuse has short numbers of its own
      ...(options.inode32 && options.driver === 'kernel' ? { inodeNumbers: shortInodeNumbers(tables) } : {}),
    },
    objectState: allocateObjectState(objectCount(tables)),
    counters: allocateCounters(MOST_THREADS + 1, sources.length - 1),
    restarts,
    debug: options.debug === true,
    problems,
    isForOthers: options.allowOther,
  };
}

async function serve(prepared: Prepared, workers: MountWorkers | undefined): Promise<MountedImage> {
  const { options, served, tables, image, keeper } = prepared;
  const close = (): void => {
    keeper?.end();
    served.sources.forEach(closeSource);
  };
  let leases: MountLeases | undefined;
  try {
    const repositories = repositoriesOf(served, tables);
    const sample = sampleObjects(tables, repositories);
    sample.then((found) => tellMissing(found, options.log)).catch(() => undefined);
    const others = otherImages(options.image, image.id, repositories);
    for (const other of others) options.log(warningOfOther(other, options.image, image.id));
    leases = await MountLeases.take(repositories, image.id, options.log);
    const mounted =
      workers === undefined ? await serveByFuseNative(prepared) : await serveByKernel(prepared, workers, leases);
    const known = { sample: await inTime(sample), otherImages: others };
    return withLeases({ ...mounted, ...known, ended: mounted.ended.finally(close) }, leases, prepared);
  } catch (error) {
    leases?.end();
    close();
    throw error;
  }
}

function tellMissing(sample: ObjectSample, log: Log): void {
  const warning = warningOf(sample);
  if (warning !== undefined) log(warning);
}

/** How long a mount that is there waits for a repository that is slow to say what it has. */
const SAMPLE_MS = 1_000;

async function inTime(sample: Promise<ObjectSample>): Promise<ObjectSample | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, SAMPLE_MS, undefined);
  });
  try {
    return await Promise.race([sample.catch(() => undefined), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The lists of the leases are written when whoever waits for the mount has been told of it. */
function withLeases(
  mounted: MountedImage,
  leases: MountLeases | Promise<MountLeases>,
  { tables, image, imagePath }: Prepared,
): MountedImage {
  const kept = keptImageOf(tables, { image: image.id, path: imagePath, complete: false });
  const written = new Promise<void>((resolve) => setImmediate(resolve)).then(async () => {
    const held = await leases;
    await held.write(kept);
    mounted.tellWritten?.();
    return held;
  });
  const ending = Promise.all([written, mounted.ending]).then(([held]) => {
    held.end();
    // threads may take their time to end; whoever unmounts may want the file systems of store and image next
    letGoOfFiles([DEVICE]);
  });
  return { ...mounted, ending, ended: Promise.all([ending, mounted.ended]).then(() => undefined) };
}

/** Everything that is known before anything is mounted. */
interface Prepared {
  readonly options: MountOptions;
  readonly mountpoint: string;
  readonly imagePath: string;
  readonly image: Omit<ImageFile, 'tables'>;
  readonly tables: ManifestTables;
  readonly shared: SharedTables;
  readonly served: ServedImage;
  readonly toLog: Log;
  /** Undefined where no other server would take over. */
  readonly keeper: ImageKeeper | undefined;
}

function prepare({ options, problems, toLog }: Remembered, mountpoint: string): Prepared {
  const fd = openImage(options.image);
  const sources: MountSource[] = [];
  const survives = options.restart && options.driver === 'kernel';
  const keeper = survives ? ImageKeeper.begin(fd, options.log) : undefined;
  try {
    const { shared, ...image } = loadTables(fd, options.image, options.digest, options.trustedKeys);
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
    for (const [i, { path, uuid }] of repositories.entries()) {
      sources.push(repositorySource(options.given?.repositories[i] ?? path, path, uuid));
    }
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

function openRepositories(options: MountOptions, tables: ManifestTables): readonly LocalRepository[] {
  // an image whose contents all lie in itself needs no repository, not even a default one that exists
  const needed = objectCount(tables) > 0 ? options.repositories : [];
  const repositories = needed.map((dir) => openRepository(dir, tables.header.hash));
  if (repositories.length === 0 && objectCount(tables) > 0) {
    throw new CfsError('usage', `Cannot mount ${options.image}: its files need a repository, and none was given`);
  }
  return repositories;
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

function describe(prepared: Prepared): Omit<MountedImage, 'passthrough' | 'parked' | 'unmount' | 'ending' | 'ended'> {
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

async function serveByFuseNative(prepared: Prepared): Promise<MountedImage> {
  const { options, mountpoint, tables, served, imagePath } = prepared;
  const fs = servedFilesystem(served, tables, options.log, new Counters(served.counters, 0));
  // loaded only here: it brings libfuse with it
  const { mountFuseNative } = await import('../fuse/portable/fuse-native.ts');
  const source = options.source ?? imagePath;
  const mount = await mountFuseNative(fs, { ...options, mountpoint, source });
  const unmount = (): Promise<void> => mount.unmount({ lazy: true });
  return {
    ...describe(prepared),
    passthrough: false,
    parked: undefined,
    unmount,
    ending: mount.ended,
    ended: mount.ended,
  };
}

/** The kernel's side of a mount, INIT answered. */
interface Connection {
  readonly fd: number;
  readonly helper: boolean;
  readonly mountpoint: string;
  /** major:minor of the mount's file system. */
  readonly device: string | undefined;
  readonly passthrough: boolean;
  readonly resends: boolean;
  /** The file of OpenFileJournal; -1 where nobody would read it. */
  readonly journal: number;
  /** How many processes served the mount before this one. */
  readonly epoch: number;
}

async function serveByKernel(prepared: Prepared, workers: MountWorkers, leases: MountLeases): Promise<MountedImage> {
  const { options, mountpoint, imagePath } = prepared;
  const { fd, helper } = await mountKernel({ ...options, mountpoint, source: options.source ?? imagePath });
  let device: string | undefined;
  try {
    device = mountAt(mountpoint)?.device;
    const negotiated = answerInit(fd, prepared);
    const journal = options.restart ? openJournal() : -1;
    const connection = { fd, helper, mountpoint, device, journal, epoch: 0, ...negotiated };
    return await serveConnection(prepared, workers, connection, leases.parked);
  } catch (error) {
    // where not even the table of mounts could be read: nothing has come on top since
    if (device === undefined) unmountNew(mountpoint, helper);
    else detach({ mountpoint, device, helper }, options.log);
    closeSync(fd);
    throw error;
  }
}

function openJournal(): number {
  const fd = memfdCreate('cfs-open-files');
  if (isErrno(fd)) throw new CfsError('system', `Cannot make a file in memory: ${errnoName(fd)}`);
  return fd;
}

function detach({ mountpoint, device, helper }: Pick<Connection, 'mountpoint' | 'device' | 'helper'>, log: Log): void {
  if (device === undefined) return;
  const result = unmountKernel(mountpoint, device, helper);
  if (isErrno(result)) log(`cannot unmount ${mountpoint}: ${errnoName(result)}`);
}

async function serveConnection(
  prepared: Prepared,
  workers: MountWorkers,
  connection: Connection,
  leases: readonly MountLease[],
): Promise<MountedImage> {
  const { options, tables, served, keeper } = prepared;
  const { fd, passthrough, resends, journal, epoch } = connection;
  const survives = journal >= 0;
  const end = allocateMountEnd();
  const message: MountMessage = {
    ...served,
    tables: prepared.shared,
    openFileState: allocateOpenFileState(inodeCount(tables)),
    passthrough,
    turn: allocateServingTurn(),
    work: allocateWorkTable(),
    events: allocateReadingEvents(),
    journal,
    epoch,
    end,
    leaseFiles: leaseFilesOf(prepared, leases),
    natives: nativeModules(),
  };
  const ended = workers.ended.then((failures) => {
    for (const failure of failures) options.log(`a worker thread failed: ${failure}`, 'error');
    // another process may do better
    if (failures.length > 0 && survives) process.kill(process.pid, 'SIGKILL');
    if (failures.length > 0) detach(connection, options.log);
    closeSync(fd);
    if (survives) closeSync(journal);
  });
  // requests that are read through a clone fail when that closes: better than to wait for ever where none can be resent
  // the workers have remembered what they say
  await workers.serve(fd, message, prepared.toLog, survives && resends);
  // when whoever waits for the mount has been told of it
  if (keeper !== undefined) setTimeout(() => keeper.look(), 0);
  return {
    ...describe(prepared),
    passthrough,
    parked: survives
      ? { ...connection, connection: fd, sources: served.sources, leases, imageCopy: keeper?.copy }
      : undefined,
    unmount: async () => detach(connection, options.log),
    tellParked: (socket) => tellParked(end, socket),
    tellWritten: () => tellWritten(end),
    ending: workers.ending,
    ended,
  };
}

function leaseFilesOf({ served }: Prepared, leases: readonly MountLease[]): LeaseFile[] {
  // the image comes first
  return leases.flatMap(({ name, repository }) =>
    name === undefined ? [] : [{ directory: (served.sources[repository + 1] as MountSource).fd, name }],
  );
}

/** Answers INIT, which waits in the queue of every new mount. */
function answerInit(fd: number, prepared: Prepared): Pick<Connection, 'passthrough' | 'resends'> {
  const buffer = Buffer.alloc(REQUEST_BUFFER_SIZE);
  const queue = new RequestQueue(fd);
  const request = decodeInit(buffer.subarray(0, queue.next(buffer)));
  const { features } = servedFilesystem(
    prepared.served,
    prepared.tables,
    prepared.options.log,
    new Counters(prepared.served.counters, 0),
  );
  // with blocks checked as they are read every page comes from here: none may come from the object itself
  const isWanted = process.geteuid?.() === 0 && !features.openless;
  const { flags, ...negotiated } = negotiate(request, { ...features, passthrough: isWanted });
  const reply = encodeInitReply(buffer, request, { flags, ...negotiated });
  queue.reply(reply, reply.length);
  const image = prepared.served.sources[0] as MountSource;
  return { passthrough: flags.has(PASSTHROUGH) && canPassThrough(fd, image.fd), resends: flags.has(HAS_RESEND) };
}

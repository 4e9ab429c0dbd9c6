/** A mount: image and repositories -> file system -> driver -> worker threads, and their end. */
import { closeSync } from 'node:fs';
import type { Log } from '../base/log.ts';
import { nativeModules } from '../base/native-package.ts';
import { featuresOf } from '../fs/image-filesystem.ts';
import { allocateReadingEvents } from '../fs/reading-events.ts';
import { DEVICE, mayPassThrough, resendRequests } from '../fuse/device.ts';
import type { Wishes } from '../fuse/init.ts';
import { OpenFileJournal } from '../fuse/open-file-journal.ts';
import { allocateOpenFileState } from '../fuse/open-files.ts';
import { keptImageOf } from '../image/objects-needed.ts';
import { inodeCount } from '../manifest/tables.ts';
import { letGoOfFiles } from '../system/let-go.ts';
import { type Connection, connect, detach, disconnect } from './connection.ts';
import { isOpenless } from './contents.ts';
import { Counters } from './counters.ts';
import { allocateMountEnd, type LeaseFile, tellParked, tellWritten } from './mount-end.ts';
import { type MountLease, MountLeases } from './mount-leases.ts';
import type { MountSource } from './mount-sources.ts';
import type { MountedImage } from './mounted-image.ts';
import { type ObjectSample, sampleObjects, warningOf } from './object-sample.ts';
import type { MountOptions } from './options.ts';
import { otherImages, warningOfOther } from './other-images.ts';
import { closeParked, type ParkedFilesOfMount } from './parked-mount.ts';
import {
  checkMountpoint,
  closePrepared,
  describe,
  type Prepared,
  prepare,
  prepareAgain,
  remembering,
  withLayer,
} from './prepare.ts';
import { ProfileRecorder } from './profile-recorder.ts';
import { servedFilesystem } from './served-filesystem.ts';
import { repositoriesOf } from './served-image.ts';
import type { MountMessage } from './threads/mount-message.ts';
import { allocateWorkTable } from './threads/requests-in-progress.ts';
import { allocateServingTurn } from './threads/serving-turn.ts';
import { MountWorkers } from './threads/workers.ts';
import { UpperLayer } from './upper-layer.ts';

/**
 * Mounts an image. Resolves once the mount answers.
 * @throws CfsError: image, store or mount
 */
export async function mountImage(given: MountOptions): Promise<MountedImage> {
  const remembered = remembering(given);
  const { options } = remembered;
  const mountpoint = checkMountpoint(options);
  // a thread takes about as long to start as an image takes to read: both at the same time
  const isLayered = options.upper !== undefined;
  const isRemote = options.remote !== undefined;
  const workers = options.driver === 'kernel' ? new MountWorkers(options.threads, isLayered, isRemote) : undefined;
  try {
    return await serve(prepare(remembered, mountpoint), workers);
  } catch (error) {
    await workers?.terminate();
    throw error;
  }
}

/**
 * Continues to serve a mount whose server died. Resolves once it answers again.
 * @param parked the files that the server left. This function takes over its descriptors: they are closed on failure,
 *   and at the mount's end
 * @param given the options that the mount was made with
 * @throws CfsError: image
 */
export async function resumeMount(parked: ParkedFilesOfMount, given: MountOptions): Promise<MountedImage> {
  const remembered = remembering(given);
  const { log, threads, upper, remote } = remembered.options;
  const workers = new MountWorkers(threads, upper !== undefined, remote !== undefined);
  let layer: UpperLayer | undefined;
  try {
    const epoch = new OpenFileJournal(parked.connection.journal).nextEpoch();
    let prepared = prepareAgain(remembered, parked, epoch);
    const { served, tables, image } = prepared;
    if (upper !== undefined && parked.layer !== undefined) layer = UpperLayer.resume(upper, parked.layer, log);
    if (layer !== undefined) prepared = withLayer(prepared, layer);
    const connection = { ...parked.connection, epoch };
    // Before the threads serve. Later, it would queue again requests that this server is answering, too: they would be
    // carried out twice, and the note of the first time be replaced by then.
    if (connection.resends) resendRequests(connection.fd);
    const mounted = await serveConnection(prepared, workers, connection, parked.leases ?? [], layer);
    // the leases are held by their open files all the time; examining them may take long, if a repository does not
    // answer
    const leases = MountLeases.resume(repositoriesOf(served, tables), parked.leases, image.id, log);
    return withLeases(closing(mounted, prepared), leases, prepared);
  } catch (error) {
    await workers.terminate();
    layer?.close();
    closeParked(layer === undefined ? parked : { ...parked, layer: undefined });
    throw error;
  }
}

async function serve(alone: Prepared, workers: MountWorkers | undefined): Promise<MountedImage> {
  const { options, mountpoint, served, tables, image } = alone;
  const { upper, log } = options;
  let leases: MountLeases | undefined;
  let layer: UpperLayer | undefined;
  try {
    if (upper !== undefined) layer = await UpperLayer.begin(upper, mountpoint, image.id, log);
    const prepared = layer === undefined ? alone : withLayer(alone, layer);
    const repositories = repositoriesOf(served, tables);
    // what is missing is fetched when it is opened
    const sample = options.remote === undefined ? sampleObjects(tables, repositories) : Promise.resolve(undefined);
    sample.then((found) => tellMissing(found, log)).catch(() => undefined);
    const others = otherImages(options.image, image.id, repositories);
    for (const other of others)
      log(warningOfOther(other, options.image, image.id), 'warning', undefined, 'other-image');
    leases = await MountLeases.take(repositories, image.id, log);
    const mounted =
      workers === undefined ? await serveByFuseNative(prepared) : await serveByKernel(prepared, workers, leases, layer);
    const known = { sample: await inTime(sample), otherImages: others };
    return withLeases({ ...closing(mounted, prepared), ...known }, leases, prepared);
  } catch (error) {
    leases?.end();
    layer?.close();
    closePrepared(alone);
    throw error;
  }
}

const closing = (mounted: MountedImage, prepared: Prepared): MountedImage => ({
  ...mounted,
  ended: mounted.ended.finally(() => closePrepared(prepared)),
});

function tellMissing(sample: ObjectSample | undefined, log: Log): void {
  const warning = sample && warningOf(sample);
  if (warning !== undefined) log(warning, 'warning', undefined, 'objects-missing');
}

/** How long a new mount waits for a slow repository to report its objects. */
const SAMPLE_MS = 1_000;

async function inTime(sample: Promise<ObjectSample | undefined>): Promise<ObjectSample | undefined> {
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

/** The lists of the leases are written after the mount has been announced. */
function withLeases(
  mounted: MountedImage,
  leases: MountLeases | Promise<MountLeases>,
  { options, tables, image, imagePath }: Prepared,
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
    // threads may take their time to end, but the next command may unmount the file systems of repository and image
    if (options.ownProcess !== undefined) letGoOfFiles([DEVICE]);
  });
  return { ...mounted, ending, ended: Promise.all([ending, mounted.ended]).then(() => undefined) };
}

async function serveByFuseNative(prepared: Prepared): Promise<MountedImage> {
  const { options, mountpoint, tables, served, imagePath } = prepared;
  const fs = servedFilesystem(served, tables, options.log, new Counters(served.counters, 0));
  // loaded only here: it loads libfuse, too
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

async function serveByKernel(
  prepared: Prepared,
  workers: MountWorkers,
  leases: MountLeases,
  layer: UpperLayer | undefined,
): Promise<MountedImage> {
  const { options, mountpoint, imagePath, served } = prepared;
  const [image] = served.sources as [MountSource];
  const regularFile = layer?.regularFile ?? image.fd;
  const connection = await connect(
    options,
    mountpoint,
    options.source ?? imagePath,
    wishesOf(prepared, layer),
    regularFile,
  );
  layer?.noteMount(mountpoint, connection.device);
  try {
    return await serveConnection(prepared, workers, connection, leases.parked, layer);
  } catch (error) {
    disconnect(connection, options.log);
    throw error;
  }
}

function wishesOf({ served, tables }: Prepared, layer: UpperLayer | undefined): Wishes {
  // passthrough excludes collecting writes in the kernel: so it is requested only if it is probably permitted
  if (layer !== undefined) return { passthrough: mayPassThrough(), acls: true, openless: false, writable: true };
  const features = featuresOf(tables, isOpenless(served.verify));
  // if blocks are verified as they are read, every page comes from here: the kernel must not read the object itself
  return { ...features, passthrough: process.geteuid?.() === 0 && !features.openless };
}

async function serveConnection(
  prepared: Prepared,
  workers: MountWorkers,
  connection: Connection,
  leases: readonly MountLease[],
  layer: UpperLayer | undefined,
): Promise<MountedImage> {
  const { options, tables, served, keeper } = prepared;
  const { fd, passthrough, resends, collects = false, journal, epoch } = connection;
  const survives = journal >= 0;
  // all threads must have ended before files are closed that one of them writes
  const isWriting = layer !== undefined || served.remote !== undefined || served.openings !== undefined;
  const end = allocateMountEnd();
  const message: MountMessage = {
    ...served,
    tables: prepared.shared,
    openFileState: allocateOpenFileState(inodeCount(tables)),
    passthrough,
    collects,
    turn: allocateServingTurn(),
    work: allocateWorkTable(),
    events: allocateReadingEvents(),
    journal,
    epoch,
    end: options.ownProcess === undefined || isWriting ? undefined : end,
    leaseFiles: leaseFilesOf(prepared, leases),
    natives: nativeModules(),
    layer: layer?.message(),
  };
  // a clone that closes makes the requests read through it fail. That is better than waiting forever if none can be
  // resent. The log without memory: the workers have remembered their lines
  await workers.serve(fd, message, prepared.toLog, survives && resends, () => {
    options.log('the thread that fetches objects failed', 'error');
    options.ownProcess?.failed();
  });
  const recorder =
    options.record === undefined || served.openings === undefined
      ? undefined
      : new ProfileRecorder(options.record, tables, served.openings, options.log);
  // only from here on: if no thread serves, the caller closes the connection
  const ended = workers.ended.then((failures) => {
    for (const failure of failures) options.log(`a worker thread failed: ${failure}`, 'error');
    if (failures.length > 0) {
      options.ownProcess?.failed();
      detach(connection, options.log);
      layer?.close();
    }
    layer?.end();
    recorder?.end();
    closeSync(fd);
    if (survives) closeSync(journal);
  });
  // after the mount has been announced
  if (keeper !== undefined) setTimeout(() => keeper.look(), 0);
  return {
    ...describe(prepared),
    passthrough,
    parked: survives
      ? { connection, sources: served.sources, leases, imageCopy: keeper?.copy, layer: layer?.parked() }
      : undefined,
    unmount: async () => detach(connection, options.log),
    tellParked: (socket) => tellParked(end, socket),
    tellWritten: () => tellWritten(end),
    // by then the next mount may have the layer
    ending: isWriting ? ended : workers.ending,
    ended,
  };
}

function leaseFilesOf({ served }: Prepared, leases: readonly MountLease[]): LeaseFile[] {
  // the image comes first
  return leases.flatMap(({ name, repository }) =>
    name === undefined ? [] : [{ directory: (served.sources[repository + 1] as MountSource).fd, name }],
  );
}

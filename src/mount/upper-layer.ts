/**
 * The upper layer of a mount, as the main thread of its server keeps it: it is prepared before the mount is made,
 * handed to the threads, and closed when all of them have ended.
 *
 * Files that the threads and the next server share: the table of identities and the intents. Both are mapped into
 * memory, so what a server that is killed had stored is there for the next one.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { printable } from '../base/bytes.ts';
import { createDigest } from '../base/digest.ts';
import { type Errno, errnoName, isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import type { Log } from '../base/log.ts';
import { pathBytes } from '../base/path-text.ts';
import { allocateWritableOpenFileState } from '../fuse/writable-open-files.ts';
import { allocateLayerState } from '../layered/layer-state.ts';
import { closeFd } from '../system/descriptors.ts';
import { truncateFd } from '../system/file-content-calls.ts';
import { errnoText } from '../system/libc.ts';
import { mapFile } from '../system/mapped-file.ts';
import { memfdCreate } from '../system/memfd.ts';
import { listMounts, type MountEntry } from '../system/mount-table.ts';
import { isLockedByProcess, seenElsewhere } from '../upper/in-use.ts';
import { INTENTS_BYTES, Intents } from '../upper/intents.ts';
import {
  closeUpper,
  endVolatile,
  type PreparedUpper,
  prepareUpper,
  reopenUpper,
  UpperInUse,
  type UpperSettings,
} from '../upper/prepare-upper.ts';
import { tryOpenPrivate } from '../upper/private-files.ts';
import { carryOutPlan, dropPlan, readPlan } from '../upper/rebase-plan.ts';
import {
  beginChanges,
  endChanges,
  openTable,
  type ResumedTable,
  resumeTable,
  type TableFile,
  tableInMemory,
} from '../upper/table-file.ts';
import { upperKey } from '../upper/upper-key.ts';
import { noteUse } from '../upper/work-directory.ts';
import { layerSource, type MountSource } from './mount-sources.ts';
import type { ParkedLayer } from './parked-mount.ts';
import type { LayerMessage } from './threads/mount-message.ts';
import type { UpperOptions } from './upper-options.ts';

/** How long a new mount waits for a server whose mount is gone: it writes its table to the disk. */
const PATIENCE_MS = 20_000;
/** The same if its end is not certain: it is in another mount namespace, or neither it nor its server is found. */
const SHORT_PATIENCE_MS = 2_000;
const LOOK_MS = 20;

export class UpperLayer {
  readonly #options: UpperOptions;
  readonly #log: Log;
  readonly #prepared: PreparedUpper;
  readonly #file: ResumedTable;
  readonly #intents: number;
  /** The file with the identities of a mount that was rebased; -1 for none. */
  readonly #identities: number;
  readonly #plan: string | undefined;
  readonly #takesOver: boolean;
  #isClosed = false;

  private constructor(
    { options, log }: { readonly options: UpperOptions; readonly log: Log },
    prepared: PreparedUpper,
    file: ResumedTable,
    intents: number,
    takesOver: boolean,
    { identities = -1, plan }: Pick<ParkedLayer, 'identities' | 'plan'> = {},
  ) {
    this.#options = options;
    this.#log = log;
    this.#prepared = prepared;
    this.#file = file;
    this.#intents = intents;
    this.#identities = identities;
    this.#plan = plan;
    this.#takesOver = takesOver;
  }

  /**
   * Prepares the layer for a new mount.
   * @param mountpoint absolute, without symbolic links
   * @param imageId the digest of the image below
   * @throws CfsError (mount), with nothing left open
   */
  static async begin(options: UpperOptions, mountpoint: string, imageId: string, log: Log): Promise<UpperLayer> {
    const prepared = await prepareWhenFree({ ...options, mountpoint });
    let table = -1;
    let intents = -1;
    try {
      finishRebase(prepared, options, imageId);
      for (const warning of prepared.warnings) log(`${options.upperdir}: ${warning}`);
      const key = keyOf(prepared.upper, imageId, options.index);
      const opened = options.readOnly ? tableInMemory(key) : openTable(prepared.work, key);
      const file = required<TableFile>(opened, 'cannot make the table of identities');
      table = file.fd;
      const { notKept } = file;
      if (notKept !== undefined) {
        log(`${options.workdir}: the table of identities is in memory, and ends with the mount: ${errnoText(notKept)}`);
      }
      required(beginChanges(file, !options.volatile), 'cannot write the table of identities');
      intents = required(memfdCreate('cfs-intents'), 'cannot make a file in memory');
      required(truncateFd(intents, INTENTS_BYTES), 'cannot make a file in memory');
      Intents.create(required(mapFile(intents, INTENTS_BYTES), 'cannot map a file in memory'), 0);
      return new UpperLayer({ options, log }, prepared, file, intents, false);
    } catch (error) {
      for (const fd of [table, intents]) if (fd >= 0) closeFd(fd);
      closeUpper(prepared);
      throw error;
    }
  }

  /**
   * The layer of a mount whose server has died. After an error, the descriptors are still open.
   * @throws CfsError (mount)
   */
  static resume(options: UpperOptions, parked: ParkedLayer, log: Log): UpperLayer {
    const prepared = reopenUpper(parked, parked.features, options.index);
    const file = required<ResumedTable>(resumeTable(parked.table), 'cannot map the table of identities');
    if (file.salvaged !== undefined) {
      log(`${options.workdir}: the table of identities was damaged: the upper layer is searched`);
    }
    Intents.takeOver(required(mapFile(parked.intents, INTENTS_BYTES), 'cannot map a file in memory'), 0);
    return new UpperLayer({ options, log }, prepared, file, parked.intents, true, parked);
  }

  /** A regular file of the layer's file system, or in memory. */
  get regularFile(): number {
    return this.#file.fd;
  }

  /** Notes which mount has the layer, for others. @param device major:minor */
  noteMount(mountpoint: string, device: string | undefined): void {
    const { lock } = this.#prepared;
    if (lock >= 0 && device !== undefined) noteUse(lock, pathBytes(mountpoint), device);
  }

  /** The directories, as sources of the mount. */
  sources(): MountSource[] {
    const { upper, base } = this.#prepared;
    const { upperdir, workdir } = this.#options;
    const sources = [layerSource('upperdir', upperdir, upper)];
    // a read-only mount needs none
    return base < 0 ? sources : [...sources, layerSource('workdir', workdir, base)];
  }

  /** For the threads of one server. */
  message(): LayerMessage {
    const { upper, work, index, orphans, claims } = this.#prepared;
    const { userxattr, volatile, readOnly, redirectDir, metacopy, index: hasIndex } = this.#options;
    return {
      directories: { upper, work, index, orphans, claims },
      settings: { userxattr, volatile, readOnly, redirectDir, metacopy, index: hasIndex },
      table: this.#file.fd,
      intents: this.#intents,
      identities: this.#identities < 0 ? undefined : readIdentities(this.#identities),
      state: allocateLayerState(),
      openFiles: allocateWritableOpenFileState(),
      takesOver: this.#takesOver,
      salvaged: this.#file.salvaged,
    };
  }

  /** For the next server. */
  parked(): ParkedLayer {
    const { upper, base, lock, mark, features } = this.#prepared;
    const rebased =
      this.#identities < 0 || this.#plan === undefined ? {} : { identities: this.#identities, plan: this.#plan };
    return { upper, base, lock, mark, table: this.#file.fd, intents: this.#intents, ...rebased, features };
  }

  /** The end of the mount, when all threads have ended. Does nothing after `close`. */
  end(): void {
    if (this.#isClosed) return;
    const synced = endChanges(this.#file);
    if (isErrno(synced)) this.#warn('the table of identities was not written', synced);
    if (this.#options.volatile) {
      const ended = endVolatile(this.#prepared);
      if (isErrno(ended)) this.#warn('the volatile mount did not end cleanly, and the next mount is refused', ended);
    }
    this.close();
  }

  /** Closes everything. The next mount makes the table anew, unless `end` was called. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    closeFd(this.#intents);
    if (this.#identities >= 0) closeFd(this.#identities);
    closeFd(this.#file.fd);
    closeUpper(this.#prepared);
  }

  #warn(what: string, errno: Errno): void {
    this.#log(`${this.#options.upperdir}: ${what}: ${errnoText(errno)}`, 'error');
  }
}

/**
 * The machine may have crashed in a rebase: the layer belongs to the new image, and the rest is done now.
 * @throws CfsError (mount) if the image is another one
 */
function finishRebase({ base, upper, index }: PreparedUpper, options: UpperOptions, imageId: string): void {
  if (base < 0) return;
  const cfs = tryOpenPrivate(base);
  if (cfs < 0) return;
  try {
    const plan = readPlan(cfs);
    if (plan === undefined) {
      if (!options.readOnly) dropPlan(cfs);
      return;
    }
    const refused = (why: string, hint: string): CfsError =>
      new CfsError('mount', `Cannot use upperdir ${options.upperdir}: ${why}`, { hint });
    if (plan.image !== imageId) {
      throw refused(
        `a rebase made it belong to the image ${plan.image}, ${plan.path}, and was interrupted`,
        'Mount that image with it.',
      );
    }
    if (options.readOnly) throw refused('a rebase was interrupted', 'Mount it once so that it can be written.');
    carryOutPlan({ upper, index, cfs }, plan, !options.volatile);
  } catch (error) {
    if (error instanceof CfsError) throw error;
    throw new CfsError('mount', `Cannot finish the rebase of upperdir ${options.upperdir}: ${reasonOf(error)}`, {
      cause: error,
    });
  } finally {
    closeFd(cfs);
  }
}

/** The encoded identities of a mount that was rebased. @param fd of the file in memory */
export const readIdentities = (fd: number): Uint8Array => readFileSync(`/proc/self/fd/${fd}`);

function required<T>(result: T | Errno, what: string): T {
  if (!isErrno(result as number)) return result as T;
  throw new CfsError('mount', `Cannot use the upper layer: ${what}: ${errnoName(result as Errno)}`);
}

/** The table of one image over one upper directory: ids of the image are in it, and depend on the index. */
export function keyOf(upper: number, imageId: string, hasIndex: boolean): Uint8Array {
  const digest = createDigest('blake3');
  digest.update(required(upperKey(upper), 'cannot examine the upper directory'));
  digest.update(Buffer.from(imageId, 'hex'));
  if (!hasIndex) digest.update(Buffer.from('index=off'));
  return digest.digest();
}

/**
 * umount(8) returns before the server has ended, which then has the layer for some milliseconds: a mount with the same
 * layer waits for that.
 * @throws CfsError (mount)
 */
async function prepareWhenFree(settings: UpperSettings): Promise<PreparedUpper> {
  const began = performance.now();
  let use: Use | undefined;
  for (;;) {
    try {
      return prepareUpper(settings);
    } catch (error) {
      if (!(error instanceof UpperInUse)) throw error;
      use ??= useOf(error);
      if (performance.now() - began >= use.patience) throw use.error;
    }
    await sleep(LOOK_MS);
  }
}

/** The use of a layer by another mount. */
interface Use {
  /** How long to wait for its end, in ms. */
  readonly patience: number;
  /** Thrown if it does not end. */
  readonly error: UpperInUse;
}

/**
 * A mount in the own mount table is not waited for. One in that of another mount namespace may be left there by a
 * process that was started before umount(8), and ends soon.
 */
function useOf(error: UpperInUse): Use {
  const { user } = error;
  if (user === undefined) return { patience: SHORT_PATIENCE_MS, error };
  const { by, device, place } = user;
  const isMount = (entry: MountEntry): boolean =>
    entry.type === 'fuse.cfs' && (device === '' ? printable(entry.mountpointBytes) === by : entry.device === device);
  if (listMounts().some(isMount)) return { patience: 0, error };
  const pid = seenElsewhere(isMount);
  if (pid === undefined) return { patience: isLockedByProcess(place) ? PATIENCE_MS : SHORT_PATIENCE_MS, error };
  return { patience: SHORT_PATIENCE_MS, error: error.at(` in the mount namespace of process ${pid}`) };
}

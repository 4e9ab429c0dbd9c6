/** The connection of a mount with the kernel. */
import { closeSync } from 'node:fs';
import { errnoName, isErrno } from '../base/errno.ts';
import { CfsError } from '../base/error.ts';
import type { Log } from '../base/log.ts';
import { HAS_RESEND, PASSTHROUGH, REQUEST_BUFFER_SIZE, WRITEBACK_CACHE } from '../fuse/abi.ts';
import { canPassThrough } from '../fuse/device.ts';
import { decodeInit, encodeInitReply, negotiate, type Wishes } from '../fuse/init.ts';
import { mountKernel, unmountKernel, unmountNew } from '../fuse/kernel-mount.ts';
import { RequestQueue } from '../fuse/request-queue.ts';
import { memfdCreate } from '../system/memfd.ts';
import { mountAt } from '../system/mount-table.ts';
import type { MountOptions } from './options.ts';

/** The kernel's side of a mount, after INIT. */
export interface Connection {
  readonly fd: number;
  readonly helper: boolean;
  readonly mountpoint: string;
  /** major:minor of the mount's file system. */
  readonly device: string | undefined;
  readonly passthrough: boolean;
  readonly resends: boolean;
  /** The kernel collects writes; undefined in a mount of an earlier version, where that was not known. */
  readonly collects?: boolean | undefined;
  /** The file of OpenFileJournal; -1 if no later server would read it. */
  readonly journal: number;
  /** The number of processes that served the mount before this one. */
  readonly epoch: number;
}

/**
 * Mounts, and answers INIT: the connection of a new mount.
 * @param mountpoint absolute, without symbolic links
 * @param source the source that mountinfo is to show
 * @param wishes `passthrough` if it is of use, and this process may be allowed it
 * @param regularFile an open file of the file system whose files the kernel is to read itself
 * @throws CfsError (mount), with nothing mounted
 */
export async function connect(
  options: MountOptions,
  mountpoint: string,
  source: string,
  wishes: Wishes,
  regularFile: number,
): Promise<Connection> {
  const writable = wishes.writable === true && options.upper?.readOnly !== true;
  const { fd, helper } = await mountKernel({ ...options, mountpoint, source, writable });
  let device: string | undefined;
  try {
    device = mountAt(mountpoint)?.device;
    const negotiated = answerInit(fd, wishes, regularFile);
    return { fd, helper, mountpoint, device, journal: options.restart ? openJournal() : -1, epoch: 0, ...negotiated };
  } catch (error) {
    disconnect({ fd, mountpoint, device, helper, journal: -1 }, options.log);
    throw error;
  }
}

/** Unmounts a mount that does not answer, and closes its connection. */
export function disconnect(
  connection: Pick<Connection, 'fd' | 'mountpoint' | 'device' | 'helper' | 'journal'>,
  log: Log,
): void {
  // the table of mounts could not be read: nothing has been mounted on top since
  if (connection.device === undefined) unmountNew(connection.mountpoint, connection.helper);
  else detach(connection, log);
  closeSync(connection.fd);
  if (connection.journal >= 0) closeSync(connection.journal);
}

function openJournal(): number {
  const fd = memfdCreate('cfs-open-files');
  if (isErrno(fd)) throw new CfsError('system', `Cannot make a file in memory: ${errnoName(fd)}`);
  return fd;
}

/**
 * Unmounts a mount; processes that use it keep it until they are done. Does nothing if it is known to be on no device.
 */
export function detach(
  { mountpoint, device, helper }: Pick<Connection, 'mountpoint' | 'device' | 'helper'>,
  log: Log,
): void {
  if (device === undefined) return;
  const result = unmountKernel(mountpoint, device, helper);
  if (isErrno(result)) log(`cannot unmount ${mountpoint}: ${errnoName(result)}`);
}

/** Answers INIT, which waits in the queue of every new mount. */
function answerInit(
  fd: number,
  wishes: Wishes,
  regularFile: number,
): Pick<Connection, 'passthrough' | 'resends' | 'collects'> {
  const buffer = Buffer.alloc(REQUEST_BUFFER_SIZE);
  const queue = new RequestQueue(fd);
  const request = decodeInit(buffer.subarray(0, queue.next(buffer)));
  const { flags, ...negotiated } = negotiate(request, wishes);
  const reply = encodeInitReply(buffer, request, { flags, ...negotiated });
  queue.reply(reply, reply.length);
  return {
    passthrough: flags.has(PASSTHROUGH) && canPassThrough(fd, regularFile),
    resends: flags.has(HAS_RESEND),
    collects: flags.has(WRITEBACK_CACHE),
  };
}

/** Opening /dev/fuse, and the ioctls on it; request-queue.ts reads and writes it. */
import { closeSync, constants, openSync } from 'node:fs';
import { ENOENT, EPERM, type Errno, isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { hasAdminCapability } from '../system/admin-capability.ts';
import { ioctl } from '../system/descriptors.ts';
import { write } from '../system/reading-writing.ts';
import {
  FUSE_DEV_IOC_BACKING_CLOSE,
  FUSE_DEV_IOC_BACKING_OPEN,
  FUSE_DEV_IOC_CLONE,
  FUSE_NOTIFY_INVAL_INODE,
  FUSE_NOTIFY_RESEND,
  OUT_HEADER_SIZE,
} from './abi.ts';
import type { BackingRegistry } from './open-files.ts';

export const DEVICE = '/dev/fuse';

/** @throws CfsError (mount) with a hint */
export function openDevice(): number {
  try {
    return openSync(DEVICE, constants.O_RDWR);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const hint =
      code === 'ENOENT'
        ? "Load the module ('modprobe fuse'); in a container pass the device in."
        : code === 'EACCES' || code === 'EPERM'
          ? "Run as root, or let every user open it, as Debian's package fuse3 does: 'chmod 0666 /dev/fuse' as root."
          : 'Is FUSE in the kernel?';
    throw new CfsError('mount', `Cannot open ${DEVICE}: ${reasonOf(error)}`, { hint, cause: error });
  }
}

/**
 * Another descriptor of the same mount with a separate queue, for another thread; `fd` itself if that is not possible.
 */
export function cloneDevice(fd: number): number {
  let clone: number;
  try {
    clone = openSync(DEVICE, constants.O_RDWR);
  } catch {
    return fd; // mounted by fusermount3 for a user that may not open the device: threads can share one descriptor
  }
  const source = Buffer.alloc(4);
  source.writeUInt32LE(fd);
  if (isErrno(ioctl(clone, FUSE_DEV_IOC_CLONE, source))) {
    closeSync(clone);
    return fd;
  }
  return clone;
}

/**
 * Makes the kernel queue again all requests that were read and not answered (FUSE_NOTIFY_RESEND, Linux 6.9), for a
 * server that takes over.
 */
export function resendRequests(fd: number): void {
  // fuse_out_header with unique 0: the error is the notification's code
  const notification = Buffer.alloc(OUT_HEADER_SIZE);
  notification.writeUInt32LE(OUT_HEADER_SIZE, 0);
  notification.writeInt32LE(FUSE_NOTIFY_RESEND, 4);
  // it fails if the mount has ended in the meantime, which the next read of requests reports, too
  write(fd, notification, notification.length);
}

/** fuse_out_header, then fuse_notify_inval_inode_out: inode, offset, length. */
const INVAL_INODE_SIZE = OUT_HEADER_SIZE + 24;

/**
 * Whether the kernel has the inode in memory: a notification that its attributes have changed fails with ENOENT if not
 * (fs/fuse/inode.c, fuse_reverse_inval_inode). Pages that it keeps of the file stay.
 * @returns true also if the mount has ended
 */
export function isKnownInode(fd: number, ino: number): boolean {
  const notification = Buffer.alloc(INVAL_INODE_SIZE);
  notification.writeUInt32LE(INVAL_INODE_SIZE, 0);
  notification.writeInt32LE(FUSE_NOTIFY_INVAL_INODE, 4);
  notification.writeBigUInt64LE(BigInt(ino), OUT_HEADER_SIZE);
  // a negative offset: no pages
  notification.writeBigInt64LE(-1n, OUT_HEADER_SIZE + 8);
  return write(fd, notification, notification.length) !== ENOENT;
}

/** Backing files of the mount that `fd` belongs to. Needs CAP_SYS_ADMIN in the initial user namespace. */
export class DeviceBackingRegistry implements BackingRegistry {
  readonly #fd: number;
  /** struct fuse_backing_map: fd, flags, padding */
  readonly #map: Buffer = Buffer.alloc(16);
  readonly #id: Buffer = Buffer.alloc(4);

  constructor(fd: number) {
    this.#fd = fd;
  }

  open(fd: number): number | Errno {
    this.#map.writeInt32LE(fd, 0);
    return ioctl(this.#fd, FUSE_DEV_IOC_BACKING_OPEN, this.#map);
  }

  close(id: number): void {
    this.#id.writeInt32LE(id, 0);
    ioctl(this.#fd, FUSE_DEV_IOC_BACKING_CLOSE, this.#id);
  }
}

/**
 * Whether the kernel may let this process register backing files: known before INIT, of which other wishes depend on
 * it. `canPassThrough` says whether it does.
 */
export const mayPassThrough = (): boolean => hasAdminCapability('self');

/**
 * Whether backing files can be registered, tried with an open regular file. Only EPERM means never: another error
 * (ELOOP on a stacked file system) concerns only this file. Call it after the INIT reply.
 */
export function canPassThrough(deviceFd: number, regularFd: number): boolean {
  const registry = new DeviceBackingRegistry(deviceFd);
  const id = registry.open(regularFd);
  if (!isErrno(id)) registry.close(id);
  return id !== EPERM;
}

/** The files of a mount that processes use, with the kind of use; each file is named by its handle. */

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { isErrno } from '../base/errno.ts';
import { type FileHandle, formatHandle } from '../base/handle-format.ts';
import { encodeDevice } from '../base/stat-bits.ts';
import { closeFd } from '../system/descriptors.ts';
import { nameToHandle } from '../system/file-handle.ts';
import { cachedStatus, currentStatus, emptyFileStatus, type FileStatus } from '../system/file-status.ts';
import { AT_SYMLINK_FOLLOW } from '../system/libc.ts';
import type { MountEntry } from '../system/mount-table.ts';
import { sharesFiles } from '../system/other-process.ts';
import { filesInFlight, type SocketOfProcess } from './in-flight.ts';
import { mountsOfProcess, pathInMount } from './path-in-mount.ts';
import { parseWatches } from './watches.ts';

export interface UsedFile {
  readonly handle: FileHandle;
  /** "cwd", "exe", "root", "fd 3", "mapping", "inotify watch of fd 4": each prefixed by the process. */
  readonly uses: readonly string[];
  /** Whether it is watched. */
  readonly isWatched: boolean;
  /** Undefined if it has the name that a process opened it by. */
  readonly unlinked: UnlinkedFile | undefined;
}

/** A file that lost the name by which a process uses it. */
export interface UnlinkedFile {
  /** In the mount, absolute: the name that it had. */
  readonly path: Uint8Array;
  readonly mode: number;
  /** 0 if it has no other name. */
  readonly nlink: number;
  /** As open(2) takes and lseek(2) returns them. */
  readonly descriptors: readonly OpenDescriptor[];
}

export interface OpenDescriptor {
  readonly process: number;
  /** Of a thread that has descriptors of its own; undefined for those of the process. */
  readonly thread?: number;
  readonly fd: number;
  /** O_*, in octal. */
  readonly flags: string;
  readonly position: number;
}

interface Found {
  readonly handle: FileHandle;
  readonly uses: Set<string>;
  isWatched: boolean;
  unlinked: (UnlinkedFile & { readonly descriptors: OpenDescriptor[] }) | undefined;
}

/** A link in /proc to a file. */
interface Place {
  /** The directory in /proc of a process or thread. */
  readonly task: string;
  /** The thread, if it has descriptors of its own. */
  readonly thread?: number | undefined;
  readonly path: string;
  readonly use: string;
  /** The number of a descriptor. */
  readonly fd?: string;
}

/**
 * The files of the file system with this st_dev that the processes use.
 * @param pids processes that may end during the scan: files that cannot be read are left out
 */
export function filesInUse(pids: readonly number[], dev: bigint): UsedFile[] {
  const scan = new Scan(dev);
  for (const pid of pids) {
    const sockets: SocketOfProcess[] = [];
    for (const place of placesOf(pid)) {
      const link = linkOf(place.path);
      const shown = link.toString('latin1', 0, LONGEST_KIND);
      const inode = SOCKET.exec(shown)?.[1];
      if (inode !== undefined) sockets.push({ thread: place.thread, fd: Number(place.fd), inode });
      else if (WATCH.test(shown)) scan.addWatches(pid, place);
      // a path, or one that is too long to be shown; other kinds are of no file system
      else if (shown === '' || shown.startsWith('/')) scan.addPlace(pid, place, link);
    }
    for (const { socket, fd } of filesInFlight(pid, sockets)) {
      const use = `in flight in socket ${socket.fd}${socket.thread === undefined ? '' : ` of thread ${socket.thread}`}`;
      const path = `/proc/self/fd/${fd}`;
      scan.addPlace(pid, { task: `/proc/${pid}`, path, use }, linkOf(path));
      closeFd(fd);
    }
  }
  return scan.files();
}

/** `socket:[4711]` */
const SOCKET = /^socket:\[(\d+)\]$/;
const WATCH = /^anon_inode:\[?(inotify|fanotify)/;
/** Bytes of a link that show its kind. */
const LONGEST_KIND = 40;

class Scan {
  /** As `FileStatus.dev`. */
  readonly #dev: number;
  readonly #status: FileStatus = emptyFileStatus();
  readonly #found = new Map<string, Found>();
  /** The same by inode number: all files of the mount have different ones. */
  readonly #byInode = new Map<number, Found>();

  readonly #mounts = new Map<number, readonly MountEntry[]>();

  constructor(dev: bigint) {
    this.#dev = Number(dev & 0xffff_ffffn);
  }

  add(handle: FileHandle, use: string): Found {
    const key = formatHandle(handle);
    const file = this.#found.get(key) ?? { handle, uses: new Set(), isWatched: false, unlinked: undefined };
    this.#found.set(key, file);
    file.uses.add(use);
    return file;
  }

  /** The inodes that a descriptor of inotify(7) or fanotify(7) watches. */
  addWatches(pid: number, { task, use, fd }: Place): void {
    for (const { kind, device, handle } of parseWatches(textOf(`${task}/fdinfo/${fd}`))) {
      if (encodeDevice(device.major, device.minor) === this.#dev)
        this.add(handle, `${pid} ${kind} watch of ${use}`).isWatched = true;
    }
  }

  /** @param shown the target of the link */
  addPlace(pid: number, place: Place, shown: Buffer): void {
    const { path, use, fd } = place;
    // most are of other file systems, or have their names: no server is asked for them
    if (cachedStatus(Buffer.from(path), this.#status) !== 0 || this.#status.dev !== this.#dev) return;
    const ino = inodeOf(this.#status);
    let file = this.#byInode.get(ino);
    if (file === undefined) {
      const named = nameToHandle(path, AT_SYMLINK_FOLLOW);
      if (isErrno(named)) return;
      file = this.add(named.handle, `${pid} ${use}`);
      this.#byInode.set(ino, file);
    } else file.uses.add(`${pid} ${use}`);
    if (file.unlinked === undefined) {
      const isMarked = shown.subarray(-DELETED.length).equals(DELETED);
      if (this.#status.nlink !== 0) {
        // a name may end as the mark of the kernel does
        if (!isMarked || (currentStatus(shown, this.#status) === 0 && inodeOf(this.#status) === ino)) return;
        if (currentStatus(Buffer.from(path), this.#status) !== 0) return;
      }
      file.unlinked = {
        path: pathInMount(this.#mountsOf(pid), isMarked ? shown.subarray(0, -DELETED.length) : shown),
        mode: this.#status.mode,
        nlink: this.#status.nlink,
        descriptors: [],
      };
    }
    if (fd !== undefined) file.unlinked.descriptors.push(descriptorOf(pid, place, fd));
  }

  #mountsOf(pid: number): readonly MountEntry[] {
    const known = this.#mounts.get(pid) ?? mountsOfProcess(`/proc/${pid}`, this.#dev);
    this.#mounts.set(pid, known);
    return known;
  }

  files(): UsedFile[] {
    return [...this.#found.values()].map(({ uses, ...file }) => ({ ...file, uses: [...uses] }));
  }
}

/** What the kernel adds to the path of an unlinked file. */
const DELETED = Buffer.from(' (deleted)');

const U32 = 0x1_0000_0000;
const inodeOf = ({ inoLow, inoHigh }: FileStatus): number => inoHigh * U32 + inoLow;

/** The path that /proc shows. */
function linkOf(path: string): Buffer {
  try {
    return readlinkSync(path, { encoding: 'buffer' });
  } catch {
    return Buffer.alloc(0);
  }
}

function descriptorOf(pid: number, { task, thread }: Place, fd: string): OpenDescriptor {
  const info = textOf(`${task}/fdinfo/${fd}`);
  const field = (name: string): string => new RegExp(`^${name}:\\s*(\\d+)$`, 'm').exec(info)?.[1] ?? '0';
  const owner = thread === undefined ? { process: pid } : { process: pid, thread };
  return { ...owner, fd: Number(fd), flags: field('flags'), position: Number(field('pos')) };
}

/** Links in /proc to the files that a process uses; its threads may have descriptors and directories of their own. */
function placesOf(pid: number): Place[] {
  const process = `/proc/${pid}`;
  const threads = listing(`${process}/task`).filter((tid) => tid !== String(pid));
  const others = threads.filter((tid) => sharesFiles(pid, Number(tid)) !== true);
  return [
    ...placesOfTask(process),
    ...others.flatMap((tid) => placesOfTask(`${process}/task/${tid}`, Number(tid))),
    ...listing(`${process}/map_files`).map((range) => ({
      task: process,
      path: `${process}/map_files/${range}`,
      use: 'mapping',
    })),
  ];
}

function placesOfTask(task: string, thread?: number): Place[] {
  const of = thread === undefined ? '' : ` of thread ${thread}`;
  return [
    ...['cwd', 'root', 'exe'].map((use) => ({ task, thread, path: `${task}/${use}`, use: `${use}${of}` })),
    ...listing(`${task}/fd`).map((fd) => ({ task, thread, path: `${task}/fd/${fd}`, use: `fd ${fd}${of}`, fd })),
  ];
}

function listing(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

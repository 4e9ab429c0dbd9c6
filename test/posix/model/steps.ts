/** The steps of a random run: plain data, and the action of each in the working directory. */
import { fstatSync } from 'node:fs';
import { errnoName, isErrno } from '../../../src/base/errno.ts';
import { readAllEntries, seekTo } from '../../support/suites/calls.ts';
import * as calls from '../calls.ts';
import { hashOf, textOf, viewOfStatus } from '../look.ts';
import { ALICE, as, BOB, ROOT } from '../users.ts';

/** The user that does a step. */
export const WHO = { root: ROOT, alice: ALICE, bob: BOB } as const;
export type Who = keyof typeof WHO;

/** One of the open files: a number modulo their count. */
export type Slot = number;

export type Step =
  | { readonly op: 'open'; readonly path: string; readonly flags: number; readonly mode: number }
  | { readonly op: 'tmpfile'; readonly path: string; readonly mode: number }
  | { readonly op: 'linkDescriptor'; readonly slot: Slot; readonly path: string }
  | { readonly op: 'close' | 'fsync' | 'fstat' | 'list'; readonly slot: Slot }
  | { readonly op: 'write'; readonly slot: Slot; readonly at: number; readonly length: number; readonly fill: number }
  | { readonly op: 'read'; readonly slot: Slot; readonly at: number; readonly length: number }
  | { readonly op: 'ftruncate'; readonly slot: Slot; readonly size: number }
  | {
      readonly op: 'fallocate';
      readonly slot: Slot;
      readonly mode: number;
      readonly at: number;
      readonly length: number;
    }
  | {
      readonly op: 'copyRange';
      readonly slot: Slot;
      readonly at: number;
      readonly to: Slot;
      readonly toAt: number;
      readonly length: number;
    }
  | { readonly op: 'fchmod'; readonly slot: Slot; readonly mode: number }
  | { readonly op: 'fchown'; readonly slot: Slot; readonly uid: number; readonly gid: number }
  | { readonly op: 'futimens'; readonly slot: Slot; readonly seconds: number }
  | { readonly op: 'fsetxattr'; readonly slot: Slot; readonly name: string; readonly length: number }
  | { readonly op: 'mkdir' | 'chmod'; readonly path: string; readonly mode: number }
  | { readonly op: 'mknod'; readonly path: string; readonly mode: number; readonly device: number }
  | { readonly op: 'symlink' | 'link' | 'linkFollowing'; readonly path: string; readonly to: string }
  | { readonly op: 'rename'; readonly path: string; readonly to: string; readonly flags: number }
  | { readonly op: 'unlink' | 'rmdir' | 'readlink' | 'stat'; readonly path: string }
  | { readonly op: 'chown' | 'lchown'; readonly path: string; readonly uid: number; readonly gid: number }
  | { readonly op: 'utimens' | 'lutimens'; readonly path: string; readonly seconds: number }
  | { readonly op: 'truncate'; readonly path: string; readonly size: number }
  | { readonly op: 'access'; readonly path: string; readonly mode: number }
  | {
      readonly op: 'setxattr';
      readonly path: string;
      readonly name: string;
      readonly length: number;
      readonly flags: number;
    }
  | { readonly op: 'setAcl'; readonly path: string; readonly name: string; readonly value: Uint8Array }
  | { readonly op: 'removexattr'; readonly path: string; readonly name: string };

const MOST_OPEN = 4;

/** The open files of one file system, the oldest first. */
export class OpenFiles {
  readonly #files: { readonly fd: number; readonly readsOnly: boolean }[] = [];
  readonly #isOverlay: boolean;

  constructor(isOverlay: boolean) {
    this.#isOverlay = isOverlay;
  }

  /** Undefined if no file is open. */
  get(slot: Slot): number | undefined {
    return this.#at(slot)?.fd;
  }

  #at(slot: Slot) {
    return this.#files[slot % this.#files.length];
  }

  /**
   * Takes an open file. If the attributes of a file of the lower layer are changed through a descriptor after its name
   * was removed, overlayfs shows the name again. So the file is copied up there at once.
   */
  add(fd: number, flags: number): void {
    this.#files.push({ fd, readsOnly: (flags & 3) === calls.O_RDONLY });
    if (this.#isOverlay) calls.fchmod(fd, fstatSync(fd).mode & 0o7777);
    if (this.#files.length > MOST_OPEN) this.close(0);
  }

  close(slot: Slot): number {
    const [file] = this.#files.splice(slot % this.#files.length, 1);
    return file === undefined ? 0 : calls.close(file.fd);
  }

  closeAll(): void {
    while (this.#files.length > 0) this.close(0);
  }

  /**
   * Runs `work` with a descriptor that reads the present content. In overlayfs a descriptor that was opened for reading
   * before the content was copied up keeps the old content.
   */
  reading<T>(slot: Slot, who: Who, work: (fd: number) => T): T | undefined {
    const file = this.#at(slot);
    if (file === undefined) return undefined;
    const fresh = file.readsOnly && this.#isOverlay ? calls.open(`/proc/self/fd/${file.fd}`, READ) : file.fd;
    const result = as(WHO[who], () => work(fresh < 0 ? file.fd : fresh));
    if (fresh >= 0 && fresh !== file.fd) calls.close(fresh);
    return result;
  }
}
const READ = calls.O_RDONLY | calls.O_NONBLOCK;

/** The bytes of a write: each length and fill has its own. */
const bytesOf = (length: number, fill: number): Buffer => Buffer.alloc(length, `${fill}.`);

const done = (result: number): string => (result < 0 ? calls.nameOf(result) : 'ok');
const counted = (result: number): string => (result < 0 ? calls.nameOf(result) : `${result}`);

/**
 * Does `step` as `who` in the working directory. Returns the result as text that all file systems should share.
 */
export function perform(step: Step, who: Who, files: OpenFiles): string {
  if (step.op === 'read') {
    return files.reading(step.slot, who, (fd) => readAt(fd, step.length, step.at)) ?? NOTHING;
  }
  if (step.op === 'copyRange') {
    const to = files.get(step.to);
    const copy = (fd: number): string => counted(calls.copyRange(fd, step.at, to ?? -1, step.toAt, step.length));
    return files.reading(step.slot, who, copy) ?? NOTHING;
  }
  if (step.op === 'open' || step.op === 'tmpfile') {
    const flags = step.op === 'open' ? step.flags | calls.O_NONBLOCK : calls.O_TMPFILE | calls.O_RDWR;
    const fd = as(WHO[who], () => calls.open(step.path, flags, step.mode));
    if (fd >= 0) files.add(fd, flags);
    return done(fd);
  }
  return as(WHO[who], () => result(step, files));
}

const NOTHING = 'nothing open';

/** Steps that `perform` does itself. */
type SpecialOp = 'open' | 'tmpfile' | 'read' | 'copyRange';

function readAt(fd: number, length: number, at: number): string {
  const bytes = calls.pread(fd, length, at);
  return isErrno(bytes) ? errnoName(bytes) : `${bytes.length} bytes ${hashOf(bytes)}`;
}

function result(step: Exclude<Step, { readonly op: SpecialOp }>, files: OpenFiles): string {
  switch (step.op) {
    case 'mkdir':
      return done(calls.mkdir(step.path, step.mode));
    case 'chmod':
      return done(calls.chmod(step.path, step.mode));
    case 'mknod':
      return done(calls.mknod(step.path, step.mode, step.device));
    case 'symlink':
      return done(calls.symlink(step.to, step.path));
    case 'link':
      return done(calls.link(step.path, step.to));
    case 'linkFollowing':
      return done(calls.link(step.path, step.to, calls.AT_SYMLINK_FOLLOW));
    case 'rename':
      return done(calls.rename(step.path, step.to, step.flags));
    case 'unlink':
      return done(calls.unlink(step.path));
    case 'rmdir':
      return done(calls.rmdir(step.path));
    case 'readlink': {
      const target = calls.readlink(step.path);
      return isErrno(target) ? errnoName(target) : target.toString();
    }
    case 'stat': {
      const fd = calls.open(step.path, calls.O_PATH);
      return isErrno(fd) ? errnoName(fd) : closing(fd, () => statusOf(fd));
    }
    case 'chown':
      return done(calls.chown(step.path, step.uid, step.gid));
    case 'lchown':
      return done(calls.lchown(step.path, step.uid, step.gid));
    case 'utimens':
      return done(calls.utimens(step.path, 'omit', [step.seconds, 123_456_789]));
    case 'lutimens':
      return done(calls.utimens(step.path, 'now', [step.seconds, 1], calls.AT_SYMLINK_NOFOLLOW));
    case 'truncate':
      return done(calls.truncate(step.path, step.size));
    case 'access':
      return done(calls.access(step.path, step.mode));
    case 'setxattr':
      return done(calls.lsetxattr(step.path, step.name, bytesOf(step.length, step.length), step.flags));
    case 'setAcl':
      return done(calls.lsetxattr(step.path, step.name, step.value));
    case 'removexattr':
      return done(calls.lremovexattr(step.path, step.name));
    default: {
      const fd = files.get(step.slot);
      return fd === undefined ? NOTHING : ofDescriptor(step, fd, files);
    }
  }
}

function ofDescriptor(
  step: Exclude<Extract<Step, { readonly slot: Slot }>, { readonly op: SpecialOp }>,
  fd: number,
  files: OpenFiles,
): string {
  switch (step.op) {
    case 'close':
      return done(files.close(step.slot));
    case 'linkDescriptor':
      return done(calls.linkDescriptor(fd, step.path));
    case 'fsync':
      return done(calls.fsync(fd));
    case 'fstat':
      return statusOf(fd);
    case 'list':
      return listed(fd);
    case 'write':
      return counted(calls.pwrite(fd, bytesOf(step.length, step.fill), step.at));
    case 'ftruncate':
      return done(calls.ftruncate(fd, step.size));
    case 'fallocate':
      return done(calls.fallocate(fd, step.mode, step.at, step.length));
    case 'fchmod':
      return done(calls.fchmod(fd, step.mode));
    case 'fchown':
      return done(calls.fchown(fd, step.uid, step.gid));
    case 'futimens':
      return done(calls.futimens(fd, [step.seconds, 5], [step.seconds, 999_999_999]));
    case 'fsetxattr':
      return done(calls.fsetxattr(fd, step.name, bytesOf(step.length, 7)));
  }
}

/** Without the time, which the comparison of trees covers. */
function statusOf(fd: number): string {
  const { mtime: _, ...view } = viewOfStatus(fstatSync(fd));
  return textOf(view);
}

function closing<T>(fd: number, work: () => T): T {
  try {
    return work();
  } finally {
    calls.close(fd);
  }
}

function listed(fd: number): string {
  try {
    seekTo(fd, 0n);
    const names = readAllEntries(fd, 4096).map(({ name, type }) => `${name}(${type})`);
    return names.sort().join(' ');
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

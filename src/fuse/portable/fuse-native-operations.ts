/**
 * The operations of the portable driver: translates libfuse's paths to our inodes, and our answers to fuse-native's.
 *
 * Every handler answers its request before it returns, whatever happens: a request without an answer blocks
 * the process that made it, and unmounting, forever.
 */

import { exactUtf8, printable } from '../../base/bytes.ts';
import { EBADF, EIO, ENAMETOOLONG, ERANGE, EROFS, type Errno, isErrno } from '../../base/errno.ts';
import { reasonOf } from '../../base/error.ts';
import type { Log } from '../../base/log.ts';
import { O_ACCMODE, O_RDONLY, O_TRUNC } from '../../base/open-flags.ts';
import { type Attributes, emptyAttributes, type Filesystem } from '../../fs/filesystem.ts';
import {
  carriedName,
  EILSEQ,
  encodeStat,
  encodeStatistics,
  isAmbiguous,
  ShownInodes,
  STAT_WORDS,
} from './fuse-native-encoding.ts';
import { Paths } from './fuse-native-paths.ts';
import {
  type FuseNativeBinding,
  type NativeHandler,
  type NativeRequest,
  OPCODES,
  type Operation,
  type PlainOperation,
} from './libfuse.ts';

const WORD = 0x1_0000_0000;

/** libfuse answers readlink from a buffer of PATH_MAX, and the kernel accepts a page less its last byte. */
const MAX_TARGET_BYTES = 4095;
/** The number of directories with hidden names that are logged individually. */
const LOGGED_HIDINGS = 10;
/** Stats of a directory's entries that share one allocation: typed arrays of 72 bytes are outside V8's heap. */
const STATS_PER_PIECE = 512;

/** Operations that write. The mount is read-only, so they come only after it is remounted writable. */
const WRITING: readonly Exclude<PlainOperation, 'release'>[] = [
  'truncate',
  'ftruncate',
  'utimens',
  'chown',
  'chmod',
  'mknod',
  'removexattr',
  'unlink',
  'rename',
  'link',
  'symlink',
  'mkdir',
  'rmdir',
];

/** An open file: the arguments of the file system's `read` and `release`. */
interface Open {
  readonly ino: number;
  readonly handle: number;
}

/** The handlers of one mount and their state. */
export class Operations {
  readonly #fs: Filesystem;
  readonly #native: FuseNativeBinding;
  readonly #log: Log;
  readonly #attributes: Attributes = emptyAttributes();
  readonly #stat: Uint32Array = new Uint32Array(STAT_WORDS);
  readonly #inodes = new ShownInodes();
  readonly #paths: Paths;
  /** By fh. A file system's handle alone does not identify a file: one may serve several inodes. */
  readonly #opens = new Map<number, Open>();
  readonly #freeHandles: number[] = [];
  readonly #hiding = new Set<number>();
  #hidden = 0;
  #timeReported = false;

  /** `log` must not throw. */
  constructor(fs: Filesystem, native: FuseNativeBinding, log: Log) {
    this.#fs = fs;
    this.#paths = new Paths(fs, this.#attributes);
    this.#native = native;
    this.#log = log;
  }

  /** Handlers by opcode, and which of them libfuse is to call. `onInit` runs when the kernel is connected. */
  table(onInit: () => void): { readonly handlers: readonly NativeHandler[]; readonly implemented: Uint32Array } {
    const native = this.#native;
    const handlers: NativeHandler[] = Array.from({ length: OPCODES }, () => unexpected);
    const implemented = new Uint32Array(OPCODES);
    const on = (name: Operation, handler: NativeHandler): void => {
      handlers[native[`op_${name}`]] = handler;
      implemented[native[`op_${name}`]] = 1;
    };
    on('init', (request: NativeRequest) => {
      native.fuse_native_signal_init(request, 0);
      onInit();
    });
    this.#addMetadata(on);
    this.#addContents(on);
    this.#addXattrs(on);
    this.#addWriting(on);
    return { handlers, implemented };
  }

  /**
   * To be called when no more requests can arrive: closes the files that the kernel left open, as it does after an
   * abort.
   */
  end(): void {
    for (const { ino, handle } of this.#opens.values()) {
      this.#attempt('release', `inode ${ino}`, () => {
        this.#fs.release(handle);
        return 0;
      });
    }
    this.#opens.clear();
    if (this.#hidden > 0) {
      this.#log(
        `in all, ${this.#hidden} names that are not UTF-8 were hidden in the directories that were read (${this.#hiding.size})`,
      );
    }
  }

  #addMetadata(on: Register): void {
    const native = this.#native;
    on('getattr', (request: NativeRequest, _opcode, path: string) => {
      native.fuse_native_signal_getattr(request, this.#attempt('getattr', path, this.#getattr), this.#stat);
    });
    on('fgetattr', (request: NativeRequest, _opcode, path: string) => {
      native.fuse_native_signal_fgetattr(request, this.#attempt('fgetattr', path, this.#getattr), this.#stat);
    });
    on('readlink', (request: NativeRequest, _opcode, path: string) => {
      let target = '';
      const result = this.#attempt('readlink', path, () => {
        const found = this.#readlink(path);
        if (isErrno(found)) return found;
        target = found;
        return 0;
      });
      native.fuse_native_signal_readlink(request, result, target);
    });
    on('readdir', (request: NativeRequest, _opcode, path: string) => {
      const listing = new Listing();
      const result = this.#attempt('readdir', path, () => this.#readdir(path, listing));
      native.fuse_native_signal_readdir(request, result, listing.names, listing.stats);
    });
    on('statfs', (request: NativeRequest, _opcode, path: string) => {
      let statvfs = this.#stat;
      const result = this.#attempt('statfs', path, () => {
        statvfs = encodeStatistics(this.#fs.statfs());
        return 0;
      });
      native.fuse_native_signal_statfs(request, result, statvfs);
    });
  }

  #addContents(on: Register): void {
    const native = this.#native;
    on('open', (request: NativeRequest, _opcode, path: string, flags: number) => {
      let fh = 0;
      const result = this.#attempt('open', path, () => {
        const opened = this.#open(path, flags);
        if (opened < 0) return opened;
        fh = opened;
        return 0;
      });
      native.fuse_native_signal_open(request, result, fh);
    });
    on('read', (request: NativeRequest, _opcode, path: string, fh: number, memory: Buffer, ...rest: number[]) => {
      const [, offsetLow = 0, offsetHigh = 0] = rest; // preceded by the length, which is that of `memory`
      const result = this.#attempt('read', path, () => this.#read(fh, offsetLow + offsetHigh * WORD, memory));
      native.fuse_native_signal_read(request, result, 0, memory.buffer);
    });
    on('release', (request: NativeRequest, _opcode, path: string, fh: number) => {
      native.fuse_native_signal_release(
        request,
        this.#attempt('release', path, () => this.#release(fh)),
      );
    });
  }

  #addXattrs(on: Register): void {
    const native = this.#native;
    on('getxattr', (request: NativeRequest, _opcode, path: string, name: string, memory: Buffer) => {
      const result = this.#attempt('getxattr', path, () => {
        if (isAmbiguous(name)) return EILSEQ;
        const ino = this.#paths.ino(path);
        return ino < 0 ? ino : copyOut(this.#fs.getxattr(ino, Buffer.from(name)), memory);
      });
      native.fuse_native_signal_getxattr(request, result, memory.buffer);
    });
    on('listxattr', (request: NativeRequest, _opcode, path: string, memory: Buffer) => {
      const result = this.#attempt('listxattr', path, () => {
        const ino = this.#paths.ino(path);
        return ino < 0 ? ino : copyOut(this.#fs.listxattr(ino), memory);
      });
      native.fuse_native_signal_listxattr(request, result, memory.buffer);
    });
  }

  #addWriting(on: Register): void {
    const native = this.#native;
    for (const name of WRITING) {
      on(name, (request: NativeRequest) => native[`fuse_native_signal_${name}`](request, EROFS));
    }
    on('create', (request: NativeRequest) => native.fuse_native_signal_create(request, EROFS, 0));
    on('write', (request: NativeRequest, _opcode, _path: string, _fh: number, memory: Buffer) => {
      native.fuse_native_signal_write(request, EROFS, 0, memory.buffer);
    });
    on('setxattr', (request: NativeRequest, _opcode, _path: string, _name: string, memory: Buffer) => {
      native.fuse_native_signal_setxattr(request, EROFS, memory.buffer);
    });
  }

  /** Runs the translation of one request. An exception is a bug: EIO for the caller and a line in the log. */
  #attempt(operation: string, path: string, body: (path: string) => number): number {
    try {
      return body(path);
    } catch (error) {
      const trace =
        process.env['CFS_DEBUG'] === '1' && error instanceof Error ? ` |${error.stack?.replaceAll('\n', ' |')}` : '';
      this.#log(
        `${operation} of ${show(path)} failed and was answered EIO: ${show(reasonOf(error))}${trace}`,
        'error',
        undefined,
        'request-failed',
      );
      return EIO;
    }
  }

  readonly #getattr = (path: string): number => {
    const result = this.#paths.lookup(path);
    if (result < 0) return result;
    if (!this.#encode(this.#stat)) this.#reportTime(path);
    return 0;
  };

  /** Writes the attributes to `out`; false if their time cannot be represented. */
  #encode(out: Uint32Array): boolean {
    return encodeStat(this.#attributes, this.#inodes.shown(this.#attributes.ino), out);
  }

  #reportTime(path: string): void {
    if (this.#timeReported) return;
    this.#timeReported = true;
    this.#log(
      `${show(path)} has a time before 1970 (or after the year 584,000,000), which this driver cannot carry: ` +
        'it shows the nearest that it can, here and for others like it',
    );
  }

  #readlink(path: string): string | Errno {
    const ino = this.#paths.ino(path);
    if (isErrno(ino)) return ino;
    const target = this.#fs.readlink(ino);
    if (isErrno(target)) return target;
    if (target.length > MAX_TARGET_BYTES) return ENAMETOOLONG;
    return exactUtf8(target) ?? EILSEQ;
  }

  #readdir(path: string, listing: Listing): number {
    const ino = this.#paths.ino(path);
    if (ino < 0) return ino;
    let hidden = 0;
    const result = this.#fs.readdir(ino, 0, this.#attributes, (name) => {
      const text = carriedName(name);
      if (text === undefined) hidden++;
      else if (!this.#encode(listing.add(text))) this.#reportTime(path === '/' ? `/${text}` : `${path}/${text}`);
      return true;
    });
    if (hidden > 0) this.#reportHidden(ino, path, hidden);
    return result;
  }

  #reportHidden(ino: number, path: string, count: number): void {
    if (this.#hiding.has(ino)) return;
    this.#hiding.add(ino);
    this.#hidden += count;
    if (this.#hiding.size > LOGGED_HIDINGS) return;
    const last = this.#hiding.size === LOGGED_HIDINGS ? '; further directories are only counted' : '';
    this.#log(`${count} names in ${show(path)} are not UTF-8 and are hidden by this driver${last}`);
  }

  /** Returns an fh above 0. */
  #open(path: string, flags: number): number | Errno {
    if ((flags & O_ACCMODE) !== O_RDONLY || (flags & O_TRUNC) !== 0) return EROFS;
    const ino = this.#paths.ino(path);
    if (isErrno(ino)) return ino;
    const opened = this.#fs.open(this.#fs.slotOf(ino));
    if (isErrno(opened)) return opened;
    const fh = this.#freeHandles.pop() ?? this.#opens.size + 1;
    this.#opens.set(fh, { ino, handle: opened.handle });
    return fh;
  }

  #read(fh: number, offset: number, into: Uint8Array): number | Errno {
    const open = this.#opens.get(fh);
    return open === undefined ? EBADF : this.#fs.read(open.ino, open.handle, offset, into);
  }

  #release(fh: number): number {
    const open = this.#opens.get(fh);
    if (open === undefined) return EBADF;
    this.#opens.delete(fh);
    this.#freeHandles.push(fh);
    this.#fs.release(open.handle);
    return 0;
  }
}

type Register = (name: Operation, handler: NativeHandler) => void;

/** The entries of one directory as fuse-native takes them. */
class Listing {
  readonly names: string[] = [];
  readonly stats: Uint32Array[] = [];
  #piece: ArrayBuffer = new ArrayBuffer(0);
  #used = 0;

  /** Adds an entry and returns its stat, to be filled. */
  add(name: string): Uint32Array {
    if (this.#used === this.#piece.byteLength) {
      this.#piece = new ArrayBuffer(STATS_PER_PIECE * STAT_WORDS * Uint32Array.BYTES_PER_ELEMENT);
      this.#used = 0;
    }
    const stat = new Uint32Array(this.#piece, this.#used, STAT_WORDS);
    this.#used += stat.byteLength;
    this.names.push(name);
    this.stats.push(stat);
    return stat;
  }
}

/** Answers like getxattr(2) and listxattr(2): only the length if `memory` is empty, ERANGE if it is too small. */
function copyOut(value: Uint8Array | Errno, memory: Uint8Array): number {
  if (isErrno(value)) return value;
  if (memory.length === 0) return value.length;
  if (value.length > memory.length) return ERANGE;
  memory.set(value);
  return value.length;
}

/** Text for one line of the log. */
function show(text: string): string {
  return printable(Buffer.from(text));
}

function unexpected(): void {
  throw new Error('libfuse called an operation that was not registered');
}

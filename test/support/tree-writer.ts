/** Writes a directory tree on disk so that a seed results in the same tree, down to the times, on every run. */
import {
  chmodSync,
  closeSync,
  constants,
  lchownSync,
  linkSync,
  mkdirSync,
  openSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { errnoName, errnoOf } from '../../src/base/errno.ts';
import { type Bytes, mknod, setTime, setXattr } from './libc.ts';
import type { Random } from './random.ts';

interface Time {
  readonly seconds: number;
  readonly nanoseconds: number;
}

interface PendingDirectory {
  readonly path: Buffer;
  readonly mode: number;
  readonly time: Time;
}

/** Settings of a test that replace values of the seed. */
export interface NodeOptions {
  /** Permission bits; 0644 for files, 0755 for directories. */
  readonly mode?: number;
  readonly time?: Time;
}

const YEAR_2001 = 978_307_200;
const YEAR_2033 = 1_988_150_400;

export const join = (...parts: readonly Bytes[]): Buffer =>
  Buffer.concat(parts.flatMap((part, i) => [Buffer.from(i === 0 ? '' : '/'), Buffer.from(part as string)]));

export class TreeWriter {
  readonly random: Random;
  /** The omissions because of this user or file system: "trusted.cfs: EPERM". */
  readonly skipped: string[] = [];
  readonly #root: Buffer;
  /**
   * A directory's mode and time are set last: creating an entry in it would change its time, or need its permission.
   */
  readonly #directories: PendingDirectory[] = [];

  constructor(root: string, random: Random) {
    this.random = random;
    this.#root = Buffer.from(root);
    mkdirSync(root, { recursive: true });
    this.#directories.push({ path: this.#root, mode: 0o755, time: this.#time() });
  }

  /** The path on disk of `path` in the tree. */
  absolute(path: Bytes): Buffer {
    return join(this.#root, path);
  }

  directory(path: Bytes, options: NodeOptions = {}): void {
    const absolute = this.absolute(path);
    mkdirSync(absolute, { mode: 0o700 });
    this.#directories.push({ path: absolute, mode: options.mode ?? 0o755, time: options.time ?? this.#time() });
  }

  file(path: Bytes, content: Uint8Array, options: NodeOptions = {}): void {
    const absolute = this.absolute(path);
    writeFileSync(absolute, content, { flag: 'wx' });
    this.#finish(absolute, options);
  }

  /** A file with holes: `islands` are its only data. */
  sparseFile(path: Bytes, size: number, islands: readonly (readonly [offset: number, content: Uint8Array])[]): void {
    const absolute = this.absolute(path);
    const fd = openSync(absolute, 'wx');
    for (const [offset, content] of islands) writeSync(fd, content, 0, content.length, offset);
    closeSync(fd);
    truncateSync(absolute, size);
    this.#finish(absolute, {});
  }

  symlink(path: Bytes, target: Bytes): void {
    const absolute = this.absolute(path);
    symlinkSync(Buffer.from(target as string), absolute);
    this.#setTime(absolute, {});
  }

  /** A further name for the file `existing`. */
  link(path: Bytes, existing: Bytes): void {
    linkSync(this.absolute(existing), this.absolute(path));
  }

  fifo(path: Bytes, options: NodeOptions = {}): void {
    this.#node(path, constants.S_IFIFO, 0, options);
  }

  socket(path: Bytes, options: NodeOptions = {}): void {
    this.#node(path, constants.S_IFSOCK, 0, options);
  }

  /** `device` is the result of `makeDevice`; skipped if it is not permitted. */
  device(path: Bytes, type: 'character' | 'block', device: number): void {
    const mode = type === 'character' ? constants.S_IFCHR : constants.S_IFBLK;
    this.#tryTo(`device ${path}`, () => this.#node(path, mode, device, {}));
  }

  /** Skipped if it is not permitted. chown removes the setuid bits of a file. */
  owner(path: Bytes, uid: number, gid: number): void {
    this.#tryTo(`owner ${uid}:${gid}`, () => lchownSync(this.absolute(path), uid, gid));
  }

  /** Skipped if it is not permitted. */
  xattr(path: Bytes, name: string, value: Uint8Array): void {
    this.#tryTo(name, () => setXattr(this.absolute(path), name, value));
  }

  /** Sets the modes and times of the directories; nothing may be written afterwards. */
  finish(): void {
    for (const { path, mode, time } of this.#directories.splice(0).reverse()) {
      setTime(path, time.seconds, time.nanoseconds);
      chmodSync(path, mode);
    }
  }

  #node(path: Bytes, type: number, device: number, options: NodeOptions): void {
    const absolute = this.absolute(path);
    mknod(absolute, type | 0o600, device);
    this.#finish(absolute, options);
  }

  #finish(absolute: Buffer, options: NodeOptions): void {
    chmodSync(absolute, options.mode ?? 0o644);
    this.#setTime(absolute, options);
  }

  #setTime(absolute: Buffer, options: NodeOptions): void {
    const { seconds, nanoseconds } = options.time ?? this.#time();
    setTime(absolute, seconds, nanoseconds);
  }

  #time(): Time {
    return { seconds: this.random.integer(YEAR_2001, YEAR_2033), nanoseconds: this.random.integer(0, 999_999_999) };
  }

  #tryTo(what: string, action: () => void): void {
    try {
      action();
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === undefined || !['EPERM', 'EOPNOTSUPP', 'EACCES', 'EINVAL'].includes(errnoName(errno))) throw error;
      this.skipped.push(`${what}: ${errnoName(errno)}`);
    }
  }
}

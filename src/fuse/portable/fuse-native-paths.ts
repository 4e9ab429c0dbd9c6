/**
 * Maps libfuse's paths to inodes. libfuse 2 names every file by its path from the root of the mount, as text: "/" or
 * "/a/b", never with a symbolic link, "." or ".." in it.
 */

import { ENAMETOOLONG, type Errno, isErrno } from '../../base/errno.ts';
import { S_IFDIR, S_IFMT } from '../../base/stat-bits.ts';
import { type Attributes, type Filesystem, ROOT_INO } from '../../fs/filesystem.ts';
import { EILSEQ, isAmbiguous } from './fuse-native-encoding.ts';

/** Directories whose inode is remembered; then all are forgotten. */
const REMEMBERED_DIRECTORIES = 10_000;

/** Looks up paths, one name after another. */
export class Paths {
  readonly #fs: Filesystem;
  readonly #attributes: Attributes;
  readonly #nameMax: number;
  /** Never outdated: an image does not change. */
  readonly #directories = new Map<string, number>();

  /** `attributes` is filled by `lookup`. */
  constructor(fs: Filesystem, attributes: Attributes) {
    this.#fs = fs;
    this.#attributes = attributes;
    this.#nameMax = fs.statfs().nameMax;
  }

  /** Fills the attributes of the inode at `path`. */
  lookup(path: string): Errno | 0 {
    if (path === '/') return this.#fs.getattr(ROOT_INO, this.#attributes);
    const slash = path.lastIndexOf('/');
    const parent = this.#directory(path.slice(0, slash));
    return isErrno(parent) ? parent : this.#step(parent, path.slice(slash + 1));
  }

  /** The inode at `path`. */
  ino(path: string): number | Errno {
    const result = this.lookup(path);
    return result < 0 ? result : this.#attributes.ino;
  }

  /** The inode of a directory; "" is the root. Walks from the longest remembered prefix. */
  #directory(path: string): number | Errno {
    let end = path.length;
    let ino: number | undefined;
    while (end > 0) {
      ino = this.#directories.get(path.slice(0, end));
      if (ino !== undefined) break;
      end = path.lastIndexOf('/', end - 1);
    }
    ino ??= ROOT_INO;
    while (end < path.length) {
      const slash = path.indexOf('/', end + 1);
      const next = slash < 0 ? path.length : slash;
      const result = this.#step(ino, path.slice(end + 1, next));
      if (result < 0) return result;
      ino = this.#attributes.ino;
      if ((this.#attributes.mode & S_IFMT) === S_IFDIR) this.#remember(path.slice(0, next), ino);
      end = next;
    }
    return ino;
  }

  #remember(path: string, ino: number): void {
    if (this.#directories.size >= REMEMBERED_DIRECTORIES) this.#directories.clear();
    this.#directories.set(path, ino);
  }

  #step(parent: number, name: string): Errno | 0 {
    if (isAmbiguous(name)) return EILSEQ;
    const bytes = Buffer.from(name);
    // The kernel accepts 1,024 bytes, whatever limit statfs reports (fs/fuse/dir.c, fuse_lookup_name).
    return bytes.length > this.#nameMax ? ENAMETOOLONG : this.#fs.lookup(parent, bytes, this.#attributes);
  }
}

/** Writes the verified content of an image's file into an open file. */
import { EIO, type Errno, isErrno } from '../base/errno.ts';
import { Holes } from '../manifest/holes.ts';
import { objectName, objectOf } from '../manifest/lookup.ts';
import { type ManifestTables, u64 } from '../manifest/tables.ts';
import type { Repository } from '../objects/repository.ts';
import { checkShape, verifyObject } from '../objects/verify.ts';
import { closeFd } from '../system/descriptors.ts';
import { cloneFd, truncateFd, writeAll } from '../system/file-content-calls.ts';
import type { ImageContents } from './image-contents.ts';

const CHUNK = 1 << 20;
/** Bytes of a file that has blocks to share. */
const LEAST_SHARED = 4096;

/** One per thread. */
export class FileContent {
  readonly #tables: ManifestTables;
  readonly #contents: ImageContents;
  readonly #holes: Holes;
  /** Those whose objects may share blocks with the files. */
  readonly #cloneable: Set<Repository>;
  readonly #buffer: Buffer = Buffer.allocUnsafeSlow(CHUNK);

  /** @param repositories searched in this order */
  constructor(tables: ManifestTables, contents: ImageContents, repositories: readonly Repository[]) {
    this.#tables = tables;
    this.#contents = contents;
    this.#holes = new Holes(tables);
    this.#cloneable = new Set(repositories);
  }

  /**
   * Fills the empty file `fd` with the content of inode `row`. Holes stay holes. If the file system can, the file
   * shares the blocks of the object: the copy is verified then, to which nothing else writes.
   * @param path returns the file's path, for messages
   * @param onBytes called with the size of each piece; may throw to stop
   * @throws CfsError (store) if no repository has a good copy
   */
  fill(row: number, fd: number, path: () => string, onBytes: (length: number) => void): 0 | Errno {
    const size = u64(this.#tables.inodes.size, row);
    const object = objectOf(this.#tables, row);
    if (object >= 0 && size >= LEAST_SHARED && this.#clone(object, fd)) {
      onBytes(size);
      return 0;
    }
    return this.#copy(row, object, size, fd, path, onBytes);
  }

  #clone(object: number, fd: number): boolean {
    const { digest, size } = objectName(this.#tables, object);
    for (const repository of this.#cloneable) {
      const from = repository.open(digest);
      if (isErrno(from)) continue;
      const cloned = cloneFd(from, fd);
      closeFd(from);
      if (isErrno(cloned)) {
        this.#cloneable.delete(repository);
        continue;
      }
      const problem = checkShape(fd, size) ?? verifyObject(fd, this.#tables.header.hash, digest, size);
      if (problem === undefined) return true;
      // another repository may have a good copy; if not, `ImageContents` reports what is wrong
      truncateFd(fd, 0);
    }
    return false;
  }

  #copy(
    row: number,
    object: number,
    size: number,
    fd: number,
    path: () => string,
    onBytes: (length: number) => void,
  ): 0 | Errno {
    let end = 0;
    for (let at = 0; at < size; ) {
      const data = object < 0 ? at : this.#holes.seek(object, at, false);
      if (data < 0) break;
      const limit = object < 0 ? size : this.#holes.seek(object, data, true);
      for (at = data; at < limit; ) {
        const chunk = this.#buffer.subarray(0, Math.min(CHUNK, limit - at));
        onBytes(chunk.length);
        this.#contents.read(row, at, chunk, path);
        const written = writeAll(fd, chunk, at);
        if (isErrno(written)) return written;
        if (written !== chunk.length) return EIO;
        at += chunk.length;
      }
      end = at;
    }
    return end === size ? 0 : truncateFd(fd, size);
  }
}

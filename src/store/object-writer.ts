/**
 * Writes objects into a local repository. An object appears under its name complete or not at all, and an existing
 * object is never written again.
 *
 * Durability in batches: new files wait in tmp/ until a batch is full, then one syncfs(2) brings all of them to the
 * device, and only then each is renamed to its name. That is the order of "fsync, rename" for each file at a hundredth
 * of its cost (git's core.fsyncMethod=batch does the same).
 */
import { equalBytes, toHex } from '../base/bytes.ts';
import { type ContentDigest, ContentHasher, digestContent } from '../base/digest.ts';
import { ENOENT, errnoOf, isErrno, isFull } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { ftruncateSync } from '../system/file-calls.ts';
import { systemError } from '../system/libc.ts';
import { isOutOfFiles, openFilesAdvice } from '../system/resource-limits.ts';
import { ContentCopier, InputError, writeAll } from './content-copier.ts';
import type { LocalRepository } from './local-repository.ts';
import { type NewFile, ObjectFiles } from './object-files.ts';

const BATCH_FILES = 8192;
const BATCH_BYTES = 1 << 30;

/** Contents up to this size are read into memory, hashed there, and written only if they are new. */
export const WHOLE_READ_LIMIT: number = 1 << 20;

export interface WriterOptions {
  /** False: a crash of the machine may leave incomplete objects. A killed program never does. */
  readonly durable: boolean;
  /** The prefix of each temporary file; unique among all writers of the repository. */
  readonly prefix: string;
  /** The number of directories of the repository to keep open, 1 to 256. Default: all. */
  readonly openDirectories?: number;
  /** Called between pieces of long work; may throw to stop it. Then nothing remains of the object. */
  readonly checkpoint?: () => void;
  /** Removes the file of another size that an object has; then the object is stored. Default: it is an error. */
  readonly removeDamaged?: (digest: Uint8Array) => void;
}

/** The work of a writer. */
export interface WriterStatistics {
  /** New objects, and their bytes. */
  readonly written: number;
  readonly writtenBytes: number;
  /** Objects that existed already. */
  readonly existing: number;
}

/** An object that is being written. Call `discard` unless `finish` returned true. */
export interface ObjectSink {
  /** The next bytes. @throws CfsError (store) */
  write(bytes: Uint8Array): void;
  /** Stores the object. @returns false if its content has another digest */
  finish(expected: Uint8Array): boolean;
  discard(): void;
}

interface Pending {
  readonly file: NewFile;
  readonly content: ContentDigest;
}

export class ObjectWriter {
  readonly #repository: LocalRepository;
  readonly #options: WriterOptions;
  readonly #pending = new Map<string, Pending>();
  readonly #files: ObjectFiles;
  readonly #copier: ContentCopier;
  #pendingBytes = 0;
  #written = 0;
  #writtenBytes = 0;
  #existing = 0;

  constructor(repository: LocalRepository, options: WriterOptions) {
    this.#repository = repository;
    this.#options = options;
    this.#copier = new ContentCopier(repository.hash, options.checkpoint);
    // thousands wait for their batch: more than a process may have open
    this.#files = new ObjectFiles(repository, options.prefix, !options.durable, options.openDirectories);
  }

  get statistics(): WriterStatistics {
    return { written: this.#written, writtenBytes: this.#writtenBytes, existing: this.#existing };
  }

  /** Stores a content that is in memory. @param content its digest, if that is known */
  putBytes(bytes: Uint8Array, content: ContentDigest = digestContent(this.#repository.hash, bytes)): ContentDigest {
    if (this.#has(content)) return content;
    return this.#guarded(() => {
      const file = this.#files.create();
      try {
        writeAll(file.fd, bytes, 0);
        this.#publish(content, file);
        return content;
      } catch (error) {
        this.#files.discard(file);
        throw error;
      }
    });
  }

  /**
   * Stores the first `size` bytes of an open file. The copy in tmp/ is hashed, to which nothing else writes, so that a
   * file that changes while it is read cannot result in an object with a wrong name.
   * @param device st_dev of the file
   * @param expected a content with another digest is not stored
   * @returns `size` is the number of bytes: fewer than requested if the file became shorter
   * @throws InputError if the file cannot be read, CfsError (store) if the repository cannot be written
   */
  putFile(fd: number, size: number, device: number, expected?: Uint8Array): ContentDigest {
    return this.#guarded(() => {
      const file = this.#files.create();
      try {
        const content = this.#copier.copy(fd, file.fd, size, device);
        // a file that became shorter: the object is the hashed part
        if (content.size !== size) ftruncateSync(file.fd, content.size);
        const isWanted = expected === undefined || equalBytes(content.digest, expected);
        if (!isWanted || this.#has(content)) this.#files.discard(file);
        else this.#publish(content, file);
        return content;
      } catch (error) {
        this.#files.discard(file);
        throw error;
      }
    });
  }

  /** An object whose content comes in pieces. */
  begin(): ObjectSink {
    const file = this.#guarded(() => this.#files.create());
    const hasher = new ContentHasher(this.#repository.hash);
    let size = 0;
    return {
      write: (bytes) => {
        this.#options.checkpoint?.();
        this.#guarded(() => writeAll(file.fd, bytes, size));
        hasher.update(bytes);
        size += bytes.length;
      },
      finish: (expected) => {
        const content = hasher.finish();
        if (!equalBytes(content.digest, expected)) return false;
        this.#guarded(() => (this.#has(content) ? this.#files.discard(file) : this.#publish(content, file)));
        return true;
      },
      discard: () => this.#files.discard(file),
    };
  }

  /** Whether the object is stored, with this size. */
  holds(digest: Uint8Array, size: number): boolean {
    return this.#files.size(digest) === size;
  }

  /** Renames all waiting files to their names. Call it at the end. */
  flush(): void {
    if (this.#pending.size === 0) return;
    try {
      this.#guarded(() => {
        if (this.#options.durable) this.#files.sync();
        for (const { file, content } of this.#pending.values()) this.#name(content, file);
      });
    } finally {
      this.#pending.clear();
      this.#pendingBytes = 0;
    }
  }

  /** Waits until the file system of the repository has written everything, names included. */
  sync(): void {
    this.#guarded(() => this.#files.sync());
  }

  /** Closes the writer's open files; it can continue afterwards. */
  close(): void {
    this.#files.close();
  }

  /**
   * True if the object is stored or about to be. A file of another size under its name is damage that only a repair may
   * touch, or the owner of a cache.
   */
  #has(content: ContentDigest): boolean {
    if (this.#pending.has(toHex(content.digest))) {
      this.#existing++;
      return true;
    }
    const size = this.#guarded(() => this.#files.size(content.digest));
    if (size === ENOENT) return false;
    if (isErrno(size)) {
      throw this.#writeError(systemError(size, 'stat', this.#repository.objectPath(content.digest)));
    }
    if (size !== content.size) {
      const { removeDamaged } = this.#options;
      if (removeDamaged !== undefined) {
        this.#guarded(() => removeDamaged(content.digest));
        return false;
      }
      throw new CfsError(
        'store',
        `Repository ${this.#repository.path} is damaged: object ${toHex(content.digest)} has ${size} bytes instead of ${content.size}. Remove ${this.#repository.objectPath(content.digest)} and pack again.`,
      );
    }
    this.#existing++;
    return true;
  }

  #publish(content: ContentDigest, file: NewFile): void {
    if (!this.#options.durable) {
      this.#name(content, file);
      return;
    }
    this.#files.setAside(file);
    this.#pending.set(toHex(content.digest), { file, content });
    this.#pendingBytes += content.size;
    if (this.#pending.size >= BATCH_FILES || this.#pendingBytes >= BATCH_BYTES) this.flush();
  }

  #name(content: ContentDigest, file: NewFile): void {
    if (this.#files.publish(file, content.digest)) {
      this.#written++;
      this.#writtenBytes += content.size;
    } else {
      this.#existing++;
    }
  }

  /** Converts errors of the repository in `work` to errors for people. */
  #guarded<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw error instanceof InputError || errnoOf(error) === undefined ? error : this.#writeError(error);
    }
  }

  #writeError(error: unknown): CfsError {
    if (error instanceof CfsError) return error;
    const hint = isFull(errnoOf(error))
      ? 'The objects that were stored before are complete, and the next run uses them.'
      : undefined;
    if (isOutOfFiles(error)) {
      return new CfsError('system', `Cannot write to repository ${this.#repository.path}: ${reasonOf(error)}`, {
        hint: openFilesAdvice(error),
        cause: error,
      });
    }
    const { path } = error as { path?: unknown };
    const where = typeof path === 'string' && path !== '' ? ` (${path})` : '';
    return new CfsError('store', `Cannot write to repository ${this.#repository.path}: ${reasonOf(error)}${where}`, {
      hint,
      cause: error,
    });
  }
}

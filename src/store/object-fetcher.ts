/**
 * Fetches objects from other repositories: into a file in tmp/, which is hashed there and renamed only if it is right.
 */
import { closeSync, fstatSync } from 'node:fs';
import { equalBytes } from '../base/bytes.ts';
import { isErrno } from '../base/errno.ts';
import { reasonOf } from '../base/error.ts';
import { fsyncSync, ftruncateSync } from '../system/file-calls.ts';
import { errnoText } from '../system/libc.ts';
import { ContentCopier, InputError } from './content-copier.ts';
import type { LocalRepository } from './local-repository.ts';
import { type NewFile, ObjectFiles } from './object-files.ts';

/** A good copy without a name: `publish` or `discard` it. */
export interface FetchedObject {
  readonly file: NewFile;
  readonly digest: Uint8Array;
  /** The repository that it came from. */
  readonly from: LocalRepository;
}

export class ObjectFetcher {
  readonly #sources: readonly LocalRepository[];
  readonly #files: ObjectFiles;
  readonly #copier: ContentCopier;

  /**
   * @param sources searched in this order; all name their objects as `target` does
   * @param prefix of the name of each file in tmp/; unique among all writers of `target`
   */
  constructor(target: LocalRepository, sources: readonly LocalRepository[], prefix: string) {
    this.#sources = sources;
    this.#files = new ObjectFiles(target, prefix, true);
    this.#copier = new ContentCopier(target.hash);
  }

  /**
   * Copies the object from the first source that has a good one; on return it is on the device.
   * @returns the copy, or the problem at each source
   * @throws a system error if the copy cannot be written
   */
  fetch(digest: Uint8Array): FetchedObject | string {
    const answers: string[] = [];
    for (const from of this.#sources) {
      const fd = from.open(digest);
      const copy = isErrno(fd) ? errnoText(fd) : this.#copy(fd, digest);
      if (typeof copy !== 'string') return { file: copy, digest, from };
      answers.push(`${from.path}: ${copy}`);
    }
    return answers.join('; ');
  }

  #copy(input: number, digest: Uint8Array): NewFile | string {
    try {
      const stat = fstatSync(input);
      if (!stat.isFile()) return 'it is not a regular file';
      const file = this.#files.create();
      try {
        const content = this.#copier.copy(input, file.fd, stat.size, stat.dev);
        if (equalBytes(content.digest, digest)) {
          if (content.size !== stat.size) ftruncateSync(file.fd, content.size);
          fsyncSync(file.fd);
          return file;
        }
        this.#files.discard(file);
        return 'its content is corrupted there too';
      } catch (error) {
        this.#files.discard(file);
        if (error instanceof InputError) return reasonOf(error);
        throw error;
      }
    } finally {
      closeSync(input);
    }
  }

  /** Renames it to the object's name. If an object of this name has appeared, that one stays. */
  publish({ file, digest }: FetchedObject): void {
    this.#files.publish(file, digest);
  }

  discard({ file }: FetchedObject): void {
    this.#files.discard(file);
  }

  /** Waits until all names are on the device. */
  sync(): void {
    this.#files.sync();
  }

  /** Closes all open files. */
  close(): void {
    this.#files.close();
  }
}

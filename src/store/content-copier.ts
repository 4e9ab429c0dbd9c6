/**
 * Copies a file's content into a file of a repository and hashes it: by reflink, by copy_file_range(2), else by reading
 * and writing. The hash is that of the copy, because no other program writes to it.
 */
import { fstatSync } from 'node:fs';
import { type ContentDigest, ContentHasher, type HashAlgorithm } from '../base/digest.ts';
import { isErrno } from '../base/errno.ts';
import { type ErrorDetails, reasonOf } from '../base/error.ts';
import { type ContentSink, chunkBuffer, readContent, readUpTo, segmentsOf, watched } from '../objects/read-content.ts';
import { cloneFile, copyFileRange, ftruncateSync, pread, pwrite } from '../system/file-calls.ts';
import { systemError } from '../system/libc.ts';

/** The file that was to be stored cannot be read: no fault of the repository. */
export class InputError extends Error {
  /** The remedy: sentences. */
  readonly hint: string | undefined;

  constructor(message: string, { hint, ...options }: ErrorDetails = {}) {
    super(message, options);
    this.hint = hint;
  }
}

export class ContentCopier {
  readonly #hash: HashAlgorithm;
  readonly #checkpoint: (() => void) | undefined;
  /** FICLONE was refused for files of this st_dev: it is not tried again. */
  readonly #cannotClone = new Set<number>();

  /** @param checkpoint called between pieces of long work; may throw to stop it */
  constructor(hash: HashAlgorithm, checkpoint?: () => void) {
    this.#hash = hash;
    this.#checkpoint = checkpoint;
  }

  /**
   * Copies the first `size` bytes of `input` into `output`, which is new.
   * @param device st_dev of `input`
   * @returns the bytes that were copied; fewer than `size` if `input` became shorter, and then `output` has more
   * @throws InputError if `input` cannot be read, a `systemError` if `output` cannot be written
   */
  copy(input: number, output: number, size: number, device: number): ContentDigest {
    const hasher = new ContentHasher(this.#hash);
    const sink = this.#checkpoint === undefined ? hasher : watched(hasher, this.#checkpoint);
    if (this.#clone(input, output, size, device)) {
      readContent(output, size, sink);
      return hasher.finish();
    }
    ftruncateSync(output, size);
    for (const { offset, length, hole } of segmentsOf(input, size)) {
      if (hole) sink.updateZeros(length);
      else copySegment(input, output, offset, length, sink);
    }
    return hasher.finish();
  }

  /** A reflink, if both files are on one file system that supports it. The clone has at most `size` bytes. */
  #clone(input: number, output: number, size: number, device: number): boolean {
    if (this.#cannotClone.has(device)) return false;
    if (isErrno(cloneFile(input, output))) {
      this.#cannotClone.add(device);
      return false;
    }
    if (fstatSync(output).size > size) ftruncateSync(output, size);
    return true;
  }
}

/**
 * Copies by copy_file_range(2) if it works, so that a server may copy by itself and no byte passes through user space
 * on its way in; hashes the copied bytes.
 */
function copySegment(input: number, output: number, offset: number, length: number, sink: ContentSink): void {
  const buffer = chunkBuffer();
  let inKernel = true;
  for (let done = 0; done < length; ) {
    const at = offset + done;
    const wanted = Math.min(length - done, buffer.length);
    let n = 0;
    if (inKernel) {
      const copied = copyFileRange(input, at, output, at, wanted);
      if (isErrno(copied)) inKernel = false;
      else n = copied;
      if (inKernel && n === 0) return;
    }
    if (inKernel) {
      readExactly(output, buffer, n, at);
    } else {
      n = readInput(input, buffer, wanted, at);
      if (n === 0) return;
      writeAll(output, buffer.subarray(0, n), at);
    }
    sink.update(buffer.subarray(0, n));
    done += n;
  }
}

/**
 * `readUpTo` of a file that is being packed.
 * @throws InputError
 */
export function readInput(fd: number, buffer: Uint8Array, length: number, position: number): number {
  try {
    return readUpTo(fd, buffer, length, position);
  } catch (error) {
    throw new InputError(reasonOf(error), { cause: error });
  }
}

/** Made-up sizes are multiples of this unless they are 0; a page, too. */
const ROUND_SIZE = 4096;

/**
 * Reads a file that is being packed into `buffer`, which has more than `size` bytes: to its end, whatever its reported
 * size.
 * @param size its reported size
 * @returns the number of bytes; `size + 1` if there are more than that
 * @throws InputError
 */
export function readWholeInput(fd: number, buffer: Uint8Array, size: number): number {
  let length = 0;
  while (length <= size) {
    const n = pread(fd, length === 0 ? buffer : buffer.subarray(length), size + 1 - length, length);
    if (isErrno(n)) throw new InputError(reasonOf(systemError(n, 'read', '')));
    length += n;
    // most files end after one read, in accordance with their size: a second call would take as long as the first
    if (n === 0 || (length === size && size % ROUND_SIZE !== 0)) break;
  }
  return length;
}

function readExactly(fd: number, buffer: Uint8Array, length: number, position: number): void {
  if (readUpTo(fd, buffer, length, position) !== length)
    throw new Error('a copy in tmp/ is shorter than the copied content');
}

/**
 * Writes all of `bytes`.
 * @throws a `systemError`
 */
export function writeAll(fd: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length; ) {
    const n = pwrite(fd, done === 0 ? bytes : bytes.subarray(done), position + done);
    if (isErrno(n)) throw systemError(n, 'write', '');
    done += n;
  }
}

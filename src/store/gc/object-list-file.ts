/** Keep lists as files: written in pieces, and verified completely before any digest is used. */

import { closeSync, fstatSync } from 'node:fs';
import { setImmediate as breathe } from 'node:timers/promises';
import { equalBytes } from '../../base/bytes.ts';
import { createBlake3, DIGEST_SIZE, type HashAlgorithm } from '../../base/digest.ts';
import { CfsError, reasonOf } from '../../base/error.ts';
import { readUpTo } from '../../objects/read-content.ts';
import { isOutOfFiles, openFilesAdvice } from '../../system/resource-limits.ts';
import { writeAll } from '../content-copier.ts';
import { PREFIXES } from '../layout.ts';
import type { StoreDirectory } from '../store-directory.ts';
import {
  checksumOf,
  decodeKeepHeader,
  digestsAt,
  encodeKeepHeader,
  encodeKeepPath,
  KEEP_HEADER_SIZE,
  type KeepListHeader,
  withoutChecksum,
} from './object-list.ts';

/** A multiple of DIGEST_SIZE. */
const PIECE = 1 << 20;
/** Header and the longest path. */
const BEGINNING = KEEP_HEADER_SIZE + 4096;

/** The objects that an image needs, for writing a keep list. */
export interface KeptImage extends Omit<KeepListHeader, 'objects' | 'time'> {
  /** 32 bytes each, ascending, none twice. */
  readonly digests: Uint8Array;
}

/**
 * Writes a keep list into an empty file. The header is written last: a truncated file is not a keep list. Yields to
 * other work between the pieces.
 * @throws a `systemError`
 */
export async function writeKeepList(fd: number, { digests, ...rest }: KeptImage): Promise<void> {
  const objects = digests.length / DIGEST_SIZE;
  const header = encodeKeepHeader({ ...rest, objects, time: now() });
  const path = encodeKeepPath(rest.path);
  const body = createBlake3();
  body.update(path);
  writeAll(fd, path, KEEP_HEADER_SIZE);
  // a copy of each piece: the digests may be in shared memory, which native functions do not accept
  const piece = Buffer.allocUnsafe(Math.min(PIECE, digests.length));
  for (let at = 0; at < digests.length; at += piece.length) {
    const bytes = piece.subarray(0, Math.min(piece.length, digests.length - at));
    bytes.set(digests.subarray(at, at + bytes.length));
    body.update(bytes);
    writeAll(fd, bytes, KEEP_HEADER_SIZE + path.length + at);
    await breathe();
  }
  header.set(checksum(header, body.digest()), header.length - DIGEST_SIZE);
  writeAll(fd, header, 0);
}

/** Seconds since 1970; 0 if the clock of the machine is before that, because it was not set yet. */
const now = (): number => Math.max(0, Math.floor(Date.now() / 1000));

function checksum(header: Uint8Array, body: Uint8Array): Uint8Array {
  const hasher = createBlake3();
  hasher.update(withoutChecksum(header));
  hasher.update(body);
  return hasher.digest();
}

/** The header of an open keep list, without reading its digests; or its problem. */
export function readKeepHeader(fd: number): KeepListHeader | string {
  const { size } = fstatSync(fd);
  const beginning = Buffer.alloc(BEGINNING);
  const length = readUpTo(fd, beginning, BEGINNING, 0);
  return decodeKeepHeader(beginning.subarray(0, length), size);
}

/** A keep list that was verified once; its digests are read again when needed, so it needs no memory. */
export class KeepListFile {
  readonly header: KeepListHeader;
  readonly #fd: number;
  /** For each first byte of a digest the index of its first one, and the total at the end. */
  readonly #first: Float64Array;

  private constructor(fd: number, header: KeepListHeader, first: Float64Array) {
    this.#fd = fd;
    this.header = header;
    this.#first = first;
  }

  /**
   * Opens and checks the keep list `name` in `directory`.
   * @param hash of the repository
   * @throws CfsError (store) that describes the problem
   */
  static open(directory: StoreDirectory, name: string, hash: HashAlgorithm): KeepListFile {
    const path = `${directory.path}/${name}`;
    let fd: number | undefined;
    try {
      fd = directory.openFile(name);
      return KeepListFile.#check(fd, path, hash);
    } catch (error) {
      if (fd !== undefined) closeSync(fd);
      if (error instanceof CfsError) throw error;
      if (isOutOfFiles(error)) {
        const hint = openFilesAdvice(error);
        throw new CfsError('system', `Cannot read ${path}: ${reasonOf(error)}`, { hint, cause: error });
      }
      throw new CfsError('store', `Cannot read ${path}: ${reasonOf(error)}`, { cause: error });
    }
  }

  static #check(fd: number, path: string, hash: HashAlgorithm): KeepListFile {
    const fail = (problem: string): never => {
      throw new CfsError('store', `${path} is malformed: ${problem}`);
    };
    const header = readKeepHeader(fd);
    if (typeof header === 'string') return fail(header);
    if (header.hash !== hash) return fail(`it names objects by ${header.hash}, the repository by ${hash}`);
    const first = new Float64Array(PREFIXES + 1).fill(-1);
    const own = Buffer.alloc(KEEP_HEADER_SIZE);
    readUpTo(fd, own, own.length, 0);
    const sum = checksum(own, KeepListFile.#readBody(fd, header, first, fail));
    if (!equalBytes(sum, checksumOf(own))) return fail('its checksum is wrong');
    return new KeepListFile(fd, header, first);
  }

  /** Fills `first`, and returns the BLAKE3 of everything after the header. */
  static #readBody(
    fd: number,
    header: KeepListHeader,
    first: Float64Array,
    fail: (problem: string) => never,
  ): Uint8Array {
    const hasher = createBlake3();
    const path = Buffer.alloc(digestsAt(header) - KEEP_HEADER_SIZE);
    readUpTo(fd, path, path.length, KEEP_HEADER_SIZE);
    hasher.update(path);
    const { objects } = header;
    const piece = Buffer.allocUnsafe(Math.max(DIGEST_SIZE, Math.min(PIECE, objects * DIGEST_SIZE)));
    const last = Buffer.alloc(DIGEST_SIZE);
    let filled = 0;
    for (let row = 0; row < objects; ) {
      const length = Math.min(piece.length, (objects - row) * DIGEST_SIZE);
      if (readUpTo(fd, piece, length, digestsAt(header) + row * DIGEST_SIZE) < length) return fail('it is cut off');
      hasher.update(piece.subarray(0, length));
      for (let at = 0; at < length; at += DIGEST_SIZE, row++) {
        const before = at === 0 ? last : piece.subarray(at - DIGEST_SIZE, at);
        if (row > 0 && before.compare(piece, at, at + DIGEST_SIZE) >= 0) return fail('its digests do not ascend');
        for (const prefix = piece[at] as number; filled <= prefix; filled++) first[filled] = row;
      }
      piece.copy(last, 0, length - DIGEST_SIZE, length);
    }
    first.fill(objects, filled);
    return hasher.digest();
  }

  /** When it was written, in milliseconds since 1970: finer than the header's time, but a copy may have its own. */
  get mtimeMs(): number {
    return fstatSync(this.#fd).mtimeMs;
  }

  /** The digests whose first byte is `prefix`, ascending. */
  digests(prefix: number): Uint8Array {
    const from = this.#first[prefix] as number;
    const bytes = new Uint8Array(((this.#first[prefix + 1] as number) - from) * DIGEST_SIZE);
    const read = readUpTo(this.#fd, bytes, bytes.length, digestsAt(this.header) + from * DIGEST_SIZE);
    if (read < bytes.length) throw new CfsError('store', 'a keep list became shorter while it was used');
    return bytes;
  }

  /** All digests, ascending. */
  all(): Uint8Array {
    return Buffer.concat(Array.from({ length: PREFIXES }, (_, prefix) => this.digests(prefix)));
  }

  close(): void {
    closeSync(this.#fd);
  }
}

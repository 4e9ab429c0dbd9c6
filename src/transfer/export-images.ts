/** Writes images and their objects as one stream. */

import { closeSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { toHex } from '../base/bytes.ts';
import { createBlake3, DIGEST_SIZE } from '../base/digest.ts';
import { errnoName, isErrno } from '../base/errno.ts';
import { CfsError } from '../base/error.ts';
import { pathBytes } from '../base/path-text.ts';
import { chunkBuffer, readUpTo } from '../objects/read-content.ts';
import { checkShape, verifyObject } from '../objects/verify.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import { type LoadedImage, objectsOf } from './copy-images.ts';
import { encodeEnd, encodeHeader, encodeImage, encodeObject } from './stream-format.ts';

export interface Exported {
  readonly objects: number;
  readonly bytes: number;
}

/**
 * Writes the stream. Every object is verified before a byte of it is written; after an error the stream has no end.
 * @param write receives pieces, each valid during the call only; may throw to stop
 * @throws CfsError (store) if an object is missing or damaged
 */
export function exportImages(
  repository: LocalRepository,
  images: readonly LoadedImage[],
  write: (bytes: Uint8Array) => void,
): Exported {
  const hasher = createBlake3();
  const put = (bytes: Uint8Array): void => {
    hasher.update(bytes);
    write(bytes);
  };
  put(encodeHeader(repository.hash));
  for (const { path } of images) {
    const bytes = readFileSync(path);
    put(encodeImage(pathBytes(basename(path)), bytes.length));
    put(bytes);
  }
  const { digests, sizes } = objectsOf(images);
  let total = 0;
  for (let i = 0; i < sizes.length; i++) {
    const size = sizes[i] as number;
    exportObject(repository, digests.subarray(i * DIGEST_SIZE, (i + 1) * DIGEST_SIZE), size, put);
    total += size;
  }
  put(encodeEnd(images.length, sizes.length));
  write(hasher.digest());
  return { objects: sizes.length, bytes: total };
}

function exportObject(
  repository: LocalRepository,
  digest: Uint8Array,
  size: number,
  put: (bytes: Uint8Array) => void,
): void {
  const fail = (reason: string): CfsError =>
    new CfsError('store', `Cannot export object ${toHex(digest)} of repository ${repository.path}: ${reason}`);
  const fd = repository.open(digest);
  if (isErrno(fd)) throw fail(errnoName(fd) === 'ENOENT' ? 'it is missing' : errnoName(fd));
  try {
    const problem = checkShape(fd, size) ?? verifyObject(fd, repository.hash, digest, size);
    if (problem !== undefined) throw fail(problem);
    put(encodeObject(digest, size));
    const buffer = chunkBuffer();
    for (let at = 0; at < size; ) {
      const n = readUpTo(fd, buffer, Math.min(buffer.length, size - at), at);
      if (n === 0) throw fail('it became shorter while it was read');
      put(buffer.subarray(0, n));
      at += n;
    }
  } finally {
    closeSync(fd);
  }
}

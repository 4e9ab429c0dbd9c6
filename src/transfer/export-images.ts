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
import { type LoadedImage, objectsOf } from './loaded-images.ts';
import { encodeEnd, encodeHeader, encodeImage, encodeObject } from './stream-format.ts';

/**
 * The pieces of the stream, each valid until the next one is taken. Every object is verified before a byte of it is
 * returned; after an error the stream has no end.
 * @throws CfsError (store) if an object is missing or damaged
 */
export function* exportImages(
  repository: LocalRepository,
  images: readonly LoadedImage[],
): Generator<Uint8Array, void, undefined> {
  const hasher = createBlake3();
  const { digests, sizes } = objectsOf(images);
  for (const piece of piecesOf(repository, images, digests, sizes)) {
    hasher.update(piece);
    yield piece;
  }
  yield hasher.digest();
}

/** All but the checksum. */
function* piecesOf(
  repository: LocalRepository,
  images: readonly LoadedImage[],
  digests: Uint8Array,
  sizes: Float64Array,
): Generator<Uint8Array, void, undefined> {
  yield encodeHeader(repository.hash);
  for (const { path } of images) {
    const bytes = readFileSync(path);
    yield encodeImage(pathBytes(basename(path)), bytes.length);
    yield bytes;
  }
  for (const [i, size] of sizes.entries()) {
    yield* piecesOfObject(repository, digests.subarray(i * DIGEST_SIZE, (i + 1) * DIGEST_SIZE), size);
  }
  yield encodeEnd(images.length, sizes.length);
}

function* piecesOfObject(
  repository: LocalRepository,
  digest: Uint8Array,
  size: number,
): Generator<Uint8Array, void, undefined> {
  const fail = (reason: string): CfsError =>
    new CfsError('store', `Cannot export object ${toHex(digest)} of repository ${repository.path}: ${reason}`);
  const fd = repository.open(digest);
  if (isErrno(fd)) throw fail(errnoName(fd) === 'ENOENT' ? 'it is missing' : errnoName(fd));
  try {
    const problem = checkShape(fd, size) ?? verifyObject(fd, repository.hash, digest, size);
    if (problem !== undefined) throw fail(problem);
    yield encodeObject(digest, size);
    const buffer = chunkBuffer();
    for (let at = 0; at < size; ) {
      const n = readUpTo(fd, buffer, Math.min(buffer.length, size - at), at);
      if (n === 0) throw fail('it became shorter while it was read');
      yield buffer.subarray(0, n);
      at += n;
    }
  } finally {
    closeSync(fd);
  }
}

/** A signature beside the image: IMAGE.sig. This module reads; sign-image.ts writes. */
import { closeSync, constants, fstatSync, openSync, realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import { ENOENT, errnoOf } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { readAtMost } from './bounded-file.ts';
import { malformed } from './cbor-reader.ts';
import { MAX_SIGN1_BYTES } from './cose-sign1.ts';

/** The signature's file beside the image. */
export const signaturePathOf = (image: string): string => `${image}.sig`;

/** The possible paths of a signature: beside `image`, and beside the file that it is a symbolic link to. */
export function signaturePathsOf(image: string): string[] {
  const paths = [signaturePathOf(image)];
  try {
    const beside = signaturePathOf(realpathSync(image));
    if (beside !== resolve(signaturePathOf(image))) paths.push(beside);
  } catch {
    // moved since it was opened: the image is open, but the files beside it may be gone
  }
  return paths;
}

/**
 * The bytes of a signature file; undefined if there is none.
 * @throws CfsError (image) if it is not a small regular file, or cannot be read
 */
export function readSignatureFile(path: string): Uint8Array | undefined {
  let fd: number;
  try {
    // O_NONBLOCK: a user that can write beside the image must not block its reader with a fifo
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    if (errnoOf(error) === ENOENT) return undefined;
    throw new CfsError('image', reasonOf(error), { cause: error });
  }
  try {
    if (!fstatSync(fd).isFile()) throw new CfsError('image', 'it is not a regular file');
    const bytes = readAtMost(fd, MAX_SIGN1_BYTES);
    if (bytes === undefined) throw malformed(`it has more than ${MAX_SIGN1_BYTES} bytes`);
    return bytes;
  } finally {
    closeSync(fd);
  }
}

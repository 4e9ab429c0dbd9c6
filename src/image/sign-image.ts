/** Signing an image file: beside it, or in it. */
import { closeSync, realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import { fromHex } from '../base/bytes.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { signImageId } from '../sign/encode-sign1.ts';
import { keyIdText, type SigningKey } from '../sign/keys.ts';
import { signaturePathOf } from '../sign/signature-file.ts';
import { replaceFile } from '../system/durable-file.ts';
import { decodeImage, openImage, readImageBytes } from './image-file.ts';
import { imageParts } from './image-parts.ts';
import type { ImageSignature } from './image-signature.ts';

/** A new signature. */
export type MadeSignature = Omit<ImageSignature, 'key'>;

export const describeSignature = (key: SigningKey, where: string): MadeSignature => ({
  where,
  algorithm: key.algorithm,
  keyId: keyIdText(key),
});

/**
 * Signs an existing image. It is read and validated first, so only images are signed. An older signature is replaced.
 * An embedded one atomically replaces the file; its mode, owner and ACL stay.
 */
export function signImageFile(
  path: string,
  key: SigningKey,
  embed: boolean,
): { readonly id: string; readonly signature: MadeSignature } {
  const fd = openImage(path);
  try {
    const { id, digest, ...parts } = readImageBytes(fd, path);
    decodeImage(path, parts);
    const target = realpathSync(path);
    if (!embed) return { id, signature: writeSignature(target, id, key, true) };
    const file = imageParts(parts.manifest, digest, signImageId(digest, key));
    replace(target, () => replaceFile(target, file, true));
    return { id, signature: describeSignature(key, 'embedded') };
  } finally {
    closeSync(fd);
  }
}

/**
 * Writes the signature file of an image.
 * @param id 64 hexadecimal digits
 * @throws CfsError (system)
 */
export function writeSignature(image: string, id: string, key: SigningKey, durable: boolean): MadeSignature {
  const path = resolve(signaturePathOf(image));
  const signature = signImageId(fromHex(id), key);
  replace(path, () => replaceFile(path, signature, durable));
  return describeSignature(key, path);
}

function replace(path: string, write: () => void): void {
  try {
    write();
  } catch (error) {
    throw new CfsError('system', `Cannot write the signature to ${path}: ${reasonOf(error)}`, { cause: error });
  }
}

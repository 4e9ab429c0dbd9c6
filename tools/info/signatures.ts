/** `cfs-info sign` and `cfs-info verify`: signatures of existing images. */
import { resolve } from 'node:path';
import { CfsError } from '../../src/base/error.ts';
import type { ImageSignature } from '../../src/image/image-signature.ts';
import { type MadeSignature, signImageFile } from '../../src/image/sign-image.ts';
import { readSigningKey, readTrustedKeys } from '../../src/sign/key-file.ts';
import { configuredList } from '../../src/system/config-files.ts';
import { formatLines } from './inode.ts';
import type { Output } from './output.ts';
import { readImage } from './read-image.ts';

export interface SignOptions {
  readonly key: string;
  readonly passphraseFile?: string;
  readonly embedSignature?: true;
  readonly json?: true;
}

/** @throws CfsError as `readSigningKey` and `signImageFile` */
export function signImage(image: string, options: SignOptions, out: Output): void {
  const key = readSigningKey(options.key, options.passphraseFile);
  const { id, signature } = signImageFile(image, key, options.embedSignature === true);
  show(image, id, signature, options.json === true, out);
}

/**
 * Shows the signer of an image.
 * @param named files of public keys; if there are none, those of the configuration are tried
 * @throws CfsError: `usage` if an argument is not a key, `image` if none of the keys has signed it
 */
export function verifyImage(image: string, named: readonly string[], json: boolean, out: Output): void {
  const keys = named.length > 0 ? named : configuredList('key').map(({ value }) => value);
  if (keys.length === 0) throw new CfsError('usage', 'verify needs --key PUB.pem, the public key of the signer');
  const { id, signature } = readImage(image, undefined, readTrustedKeys(keys));
  show(image, id, signature as ImageSignature, json, out);
}

function show(image: string, id: string, signature: MadeSignature | ImageSignature, json: boolean, out: Output): void {
  if (json) {
    out.text(`${JSON.stringify({ image: resolve(image), id, signature })}\n`);
    return;
  }
  const { where, algorithm, keyId } = signature;
  const lines: [key: string, value: string][] = [
    ['image', image],
    ['id', id],
    ['signature', where === 'embedded' ? 'in the image' : where],
    ['signed by', `key ${keyId} (${algorithm})${'key' in signature ? `, ${signature.key}` : ''}`],
  ];
  out.text(formatLines(lines));
}

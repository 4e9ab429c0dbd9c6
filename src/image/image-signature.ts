/** The signatures of an image, in it and beside it, held against the keys that are trusted. */
import { resolve } from 'node:path';
import { fromHex } from '../base/bytes.ts';
import { CfsError } from '../base/error.ts';
import { decodeSign1, type SignatureAlgorithm } from '../sign/cose-sign1.ts';
import { keyIdText, parsePublicKey, type TrustedKey } from '../sign/keys.ts';
import { readSignatureFile, signaturePathsOf } from '../sign/signature-file.ts';
import { findSigner } from '../sign/verify-sign1.ts';

/** A good signature. */
export interface ImageSignature {
  /** The signature's file, or that it lies in the image. */
  readonly where: 'embedded' | string;
  readonly algorithm: SignatureAlgorithm;
  /** The file of the public key that it is by. */
  readonly key: string;
  /** First 8 bytes of the SHA-256 of that key, hexadecimal. */
  readonly keyId: string;
}

/**
 * The first good signature of an image: the one in it, else one beside it. One good one is enough, whatever the others are.
 * @param image where it was opened
 * @param id 64 hexadecimal digits
 * @param embedded what `splitSignature` found
 * @param keys any of them may have signed; none: nothing is accepted
 * @throws CfsError (image) with what is wrong with each that there is
 */
export function requireSignature(
  image: string,
  id: string,
  embedded: Uint8Array | undefined,
  keys: readonly TrustedKey[],
): ImageSignature {
  const trusted = keys.map(({ path, pem }) => ({ path, key: parsePublicKey(pem, path) }));
  const paths = signaturePathsOf(image);
  const candidates = [
    { where: 'embedded', what: 'its embedded signature', read: () => embedded },
    ...paths.map((path) => ({
      where: resolve(path),
      what: `its signature ${path}`,
      read: () => readSignatureFile(path),
    })),
  ];
  const problems: string[] = [];
  for (const { where, what, read } of candidates) {
    try {
      const bytes = read();
      if (bytes === undefined) continue;
      const message = decodeSign1(bytes);
      const { path, key } = findSigner(message, fromHex(id), trusted);
      return { where, algorithm: key.algorithm, key: path, keyId: keyIdText(key) };
    } catch (error) {
      if (!(error instanceof CfsError)) throw error;
      problems.push(`${what} is not accepted: ${error.message}`);
    }
  }
  if (problems.length === 0) {
    throw new CfsError('image', `it is not signed: no signature is in it, and there is no file ${paths.join(' or ')}`);
  }
  throw new CfsError('image', problems.join('; '));
}

/** Verifies the signatures of an image, embedded and beside it, against the trusted keys. */
import { resolve } from 'node:path';
import { fromHex } from '../base/bytes.ts';
import { CfsError } from '../base/error.ts';
import { decodeSign1, type SignatureAlgorithm } from '../sign/cose-sign1.ts';
import { keyIdText, parsePublicKey, type TrustedKey } from '../sign/keys.ts';
import { readSignatureFile, signaturePathsOf } from '../sign/signature-file.ts';
import { findSigner } from '../sign/verify-sign1.ts';

/** A good signature. */
export interface ImageSignature {
  /** The signature's file, or that it is embedded. */
  readonly where: 'embedded' | string;
  readonly algorithm: SignatureAlgorithm;
  /** The file of the public key that it is by. */
  readonly key: string;
  /** First 8 bytes of the SHA-256 of that key, hexadecimal. */
  readonly keyId: string;
}

/**
 * The first good signature of an image: the embedded one, else one beside it. One good signature is enough, whatever
 * the others are.
 * @param image the path that was opened
 * @param id 64 hexadecimal digits
 * @param embedded the result of `splitSignature`
 * @param keys a signature by any of them is accepted; without keys, none is
 * @throws CfsError (image) with the problem of each signature
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
    throw new CfsError(
      'image',
      `it is not signed: it has no embedded signature, and there is no file ${paths.join(' or ')}`,
    );
  }
  throw new CfsError('image', problems.join('; '));
}

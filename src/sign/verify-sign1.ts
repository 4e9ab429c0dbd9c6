/** Checks that a signature is over this image, by a trusted key. Pure. */
import { verify } from 'node:crypto';
import { equalBytes, toHex } from '../base/bytes.ts';
import { CfsError } from '../base/error.ts';
import { type Sign1, signedBytes } from './cose-sign1.ts';
import { keyIdText, signingParameters, type VerificationKey } from './keys.ts';

/** A key and the file that it came from, for messages. */
export interface NamedKey {
  readonly path: string;
  readonly key: VerificationKey;
}

/**
 * Finds the key that made the signature. The key id in the message is ignored: every key of the message's algorithm is
 * tried.
 * @param id of the image, 32 bytes
 * @throws CfsError (image) if it was none of them, or signed something else
 */
export function findSigner(message: Sign1, id: Uint8Array, trusted: readonly NamedKey[]): NamedKey {
  if (message.payload !== undefined && !equalBytes(message.payload, id)) {
    throw new CfsError('image', `it is over another image, ${toHex(message.payload)}`);
  }
  const bytes = signedBytes(message.protectedBytes, id);
  const signer = trusted.find(({ key }) => isBy(message, bytes, key));
  if (signer === undefined) throw new CfsError('image', whyNot(message, trusted));
  return signer;
}

function isBy({ algorithm, signature }: Sign1, bytes: Uint8Array, key: VerificationKey): boolean {
  if (key.algorithm !== algorithm) return false;
  const { digest, encoding } = signingParameters(algorithm);
  return verify(digest, bytes, { key: key.object, ...encoding }, signature);
}

/** By the key id, which anybody can forge: the distinction is for people only. */
function whyNot({ keyId }: Sign1, trusted: readonly NamedKey[]): string {
  const named = trusted.find(({ key }) => keyId !== undefined && equalBytes(key.keyId, keyId));
  if (named !== undefined) return `it names the key ${named.path}, but is not over this image, or was changed`;
  const keys = trusted.map(({ path, key }) => `${path} (${keyIdText(key)})`).join(', ');
  const whose = keyId === undefined ? 'names no key' : `is by key ${toHex(keyId.subarray(0, 32))}`;
  return `it ${whose}; trusted: ${keys}`;
}

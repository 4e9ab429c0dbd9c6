/** Creating the signature of an image. */
import { sign } from 'node:crypto';
import { Encoder, Tag } from 'cbor-x';
import { ALGORITHMS, HEADER, MEDIA_TYPE, SIGN1_TAG, signedBytes } from './cose-sign1.ts';
import { type SigningKey, signingParameters } from './keys.ts';

const encoder = new Encoder({ useRecords: false, mapsAsObjects: false, tagUint8Array: false });

/**
 * A COSE_Sign1 over the image id, with the payload detached: its location tells which image it belongs to. Ed25519
 * yields the same bytes each time, ES256 different ones.
 * @param id 32 bytes
 */
export function signImageId(id: Uint8Array, key: SigningKey): Uint8Array {
  const header = new Map<number, unknown>([
    [HEADER.algorithm, ALGORITHMS[key.algorithm]],
    [HEADER.contentType, MEDIA_TYPE],
  ]);
  const protectedBytes = copyOf(encoder.encode(header));
  const { digest, encoding } = signingParameters(key.algorithm);
  const signature = sign(digest, signedBytes(protectedBytes, id), { key: key.object, ...encoding });
  const message = [protectedBytes, new Map([[HEADER.keyId, key.keyId]]), null, Uint8Array.from(signature)];
  return copyOf(encoder.encode(new Tag(message, SIGN1_TAG)));
}

/** The encoder returns a view of a buffer that it reuses. */
const copyOf = (bytes: Uint8Array): Uint8Array => Uint8Array.from(bytes);

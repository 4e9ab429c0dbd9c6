/** Signatures for tests, and a second writer without cbor-x, which writes messages that the first never would. */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { CfsError } from '../../../src/base/error.ts';
import { parsePrivateKey, parsePublicKey, type SigningKey } from '../../../src/sign/keys.ts';
import type { NamedKey } from '../../../src/sign/verify-sign1.ts';
import { array, byteString, head, MAJOR, tagged, text, uint } from '../manifest/cbor-writer.ts';

export const NIL: Uint8Array = Uint8Array.of(0xf6);
export const negative = (value: number): Uint8Array => head(MAJOR.negative, -1 - value);

export type HeaderEntries = readonly (readonly [label: Uint8Array, value: Uint8Array])[];

export const header = (entries: HeaderEntries): Uint8Array =>
  Buffer.concat([head(MAJOR.map, entries.length), ...entries.flat()]);

export const ALG_EDDSA: HeaderEntries[number] = [uint(1), negative(-8)];
export const ALG_ES256: HeaderEntries[number] = [uint(1), negative(-7)];
export const CONTENT_TYPE: HeaderEntries[number] = [uint(3), text('application/vnd.cfs.image-id')];

/** The parts of a message; the defaults are those of a good message, except for the signature itself. */
export interface Parts {
  readonly tag?: number | undefined;
  readonly signed?: Uint8Array;
  readonly open?: Uint8Array;
  readonly payload?: Uint8Array;
  readonly signature?: Uint8Array;
}

export function messageOf(parts: Parts): Uint8Array {
  const { signed = header([ALG_EDDSA, CONTENT_TYPE]), open = header([]), payload = NIL } = parts;
  const message = array([byteString(signed), open, payload, parts.signature ?? byteString(new Uint8Array(64))]);
  const tag = 'tag' in parts ? parts.tag : 18;
  return tag === undefined ? message : tagged(tag, message);
}

export interface Pair {
  readonly signing: SigningKey;
  readonly trusted: NamedKey;
  readonly privatePem: string;
  readonly publicPem: string;
}

export function pairOf(privateKey: KeyObject, name = 'test'): Pair {
  const privatePem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const publicPem = createPublicKey(privateKey).export({ type: 'spki', format: 'pem' }).toString();
  const trusted = { path: `${name}.pub`, key: parsePublicKey(publicPem, `${name}.pub`) };
  return { signing: parsePrivateKey(privatePem, `${name}.pem`, undefined), trusted, privatePem, publicPem };
}

export const newPair = (algorithm: 'EdDSA' | 'ES256', name?: string): Pair =>
  pairOf(
    algorithm === 'EdDSA'
      ? generateKeyPairSync('ed25519').privateKey
      : generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
    name,
  );

/** The key of RFC 8032 section 7.1, test 1. */
export const RFC8032_SEED = '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60';
export const RFC8032_PUBLIC = 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a';

export function rfc8032Pair(): Pair {
  // the seed within a PrivateKeyInfo of RFC 8410 section 7
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.from(RFC8032_SEED, 'hex')]);
  return pairOf(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }), 'rfc8032');
}

/** The message of the error of kind `kind` that `action` throws. */
export function refusalOf(action: () => unknown, kind = 'image'): string {
  try {
    action();
  } catch (error) {
    if (!(error instanceof CfsError) || error.kind !== kind) throw error;
    return error.message;
  }
  throw new Error('it was not refused');
}

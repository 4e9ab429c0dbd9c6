/** Signing keys and trusted keys: PEM text to keys of node:crypto. Pure. */
import { createHash, createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { toHex } from '../base/bytes.ts';
import { CfsError } from '../base/error.ts';
import type { SignatureAlgorithm } from './cose-sign1.ts';

/** Plain data: the command reads it, the daemon uses it. */
export interface TrustedKey {
  /** Absolute; for messages, and to repeat the mount. */
  readonly path: string;
  /** A public key in PEM (SubjectPublicKeyInfo). */
  readonly pem: string;
}

interface Key {
  readonly algorithm: SignatureAlgorithm;
  /** The first 8 bytes of the SHA-256 of the public key's SubjectPublicKeyInfo. */
  readonly keyId: Uint8Array;
  readonly object: KeyObject;
}

export interface SigningKey extends Key {
  readonly use: 'sign';
}

export interface VerificationKey extends Key {
  readonly use: 'verify';
}

const KEY_ID_SIZE = 8;

const ACCEPTED = 'Accepted are Ed25519 and ECDSA P-256';

const cannotUse = (path: string, reason: string, cause?: unknown, hint?: string): CfsError =>
  new CfsError('usage', `Cannot use key ${path}: ${reason}`, { hint, cause });

/**
 * A public key.
 * @param path for messages
 * @throws CfsError (usage) unless `pem` is exactly one public key of an accepted kind
 */
export function parsePublicKey(pem: string, path: string): VerificationKey {
  const labels = labelsOf(pem);
  const [label] = labels;
  if (label === undefined)
    throw cannotUse(path, `it is not a key in PEM. ${ACCEPTED}, as 'openssl pkey -pubout' writes them`);
  if (labels.length > 1) throw cannotUse(path, `it contains ${labels.length} PEM blocks; a file contains one key`);
  if (label.endsWith('PRIVATE KEY')) {
    const hint = `'openssl pkey -in ${path} -pubout' writes the public one.`;
    throw cannotUse(path, 'it is a private key', undefined, hint);
  }
  // a certificate is refused, because its dates and purposes would not be checked
  if (label !== 'PUBLIC KEY') throw cannotUse(path, `it is a ${label}, not a PUBLIC KEY`);
  let object: KeyObject;
  try {
    object = createPublicKey(pem);
  } catch (error) {
    throw cannotUse(path, 'it is damaged, or of a kind that OpenSSL does not know', error);
  }
  return { use: 'verify', ...describe(object, object, path) };
}

/** The key in the form that `parsePublicKey` takes, without other contents of the text. */
export const formatPublicKey = ({ object }: VerificationKey): string =>
  object.export({ type: 'spki', format: 'pem' }).toString();

/**
 * A private key: PKCS #8 or SEC 1, encrypted or not.
 * @param passphrase undefined if there is none
 * @throws CfsError (usage)
 */
export function parsePrivateKey(pem: string, path: string, passphrase: string | undefined): SigningKey {
  const labels = labelsOf(pem).filter((label) => label !== 'EC PARAMETERS');
  const [label] = labels;
  if (label === undefined)
    throw cannotUse(path, `it is not a key in PEM. ${ACCEPTED}, as 'openssl genpkey' writes them`);
  if (labels.length > 1) throw cannotUse(path, `it contains ${labels.length} PEM blocks; a file contains one key`);
  if (!label.endsWith('PRIVATE KEY')) throw cannotUse(path, `it is a ${label}; signing takes the PRIVATE KEY`);
  const isEncrypted = label.startsWith('ENCRYPTED') || /^Proc-Type: *4,ENCRYPTED/m.test(pem);
  if (isEncrypted && passphrase === undefined) {
    throw cannotUse(path, 'it is encrypted', undefined, 'Give `passphrase`.');
  }
  let object: KeyObject;
  try {
    object = createPrivateKey({ key: pem, format: 'pem', ...(isEncrypted ? { passphrase } : {}) });
  } catch (error) {
    const reason = isEncrypted
      ? 'the passphrase does not decrypt it, or it is damaged'
      : 'it is damaged, or of a kind that OpenSSL does not know';
    throw cannotUse(path, `${reason}. ${ACCEPTED}, in PKCS #8 or SEC 1`, error);
  }
  return { use: 'sign', ...describe(object, createPublicKey(object), path) };
}

/**
 * Parameters for signing and verifying in node with a key of this kind: ES256 is r and s, not DER (RFC 9053 section
 * 2.1).
 */
export function signingParameters(algorithm: SignatureAlgorithm): {
  readonly digest: 'sha256' | null;
  readonly encoding: { readonly dsaEncoding?: 'ieee-p1363' };
} {
  return algorithm === 'ES256'
    ? { digest: 'sha256', encoding: { dsaEncoding: 'ieee-p1363' } }
    : { digest: null, encoding: {} };
}

/** The algorithm's name for people. */
export const keyIdText = ({ keyId }: Pick<Key, 'keyId'>): string => toHex(keyId);

const labelsOf = (pem: string): string[] =>
  [...pem.matchAll(/^-----BEGIN ([A-Z0-9 ]+)-----/gm)].map((m) => m[1] as string);

function describe(object: KeyObject, publicKey: KeyObject, path: string): Key {
  const algorithm = algorithmOf(publicKey);
  if (algorithm === undefined) throw cannotUse(path, `it is of type ${typeText(publicKey)}. ${ACCEPTED}`);
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  return { algorithm, keyId: createHash('sha256').update(spki).digest().subarray(0, KEY_ID_SIZE), object };
}

function algorithmOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): SignatureAlgorithm | undefined {
  if (asymmetricKeyType === 'ed25519') return 'EdDSA';
  return asymmetricKeyType === 'ec' && asymmetricKeyDetails?.namedCurve === 'prime256v1' ? 'ES256' : undefined;
}

function typeText({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string {
  const { namedCurve, modulusLength } = asymmetricKeyDetails ?? {};
  const more = namedCurve ?? (modulusLength === undefined ? undefined : `${modulusLength} bits`);
  return `${asymmetricKeyType}${more === undefined ? '' : ` (${more})`}`;
}

/**
 * The signature of an image: a COSE_Sign1 (RFC 9052 section 4.2) with the profile of docs/manifest.md, and the signed
 * bytes. This module only reads, for mounts: encode-sign1.ts writes.
 */
import { concatBytes } from '../base/bytes.ts';
import { DIGEST_SIZE } from '../base/digest.ts';
import { type CborItem, CborTag, malformed, readCbor, shown } from './cbor-reader.ts';

/** Numbers of RFC 9053 sections 2.1 and 2.2. */
export const ALGORITHMS = { EdDSA: -8, ES256: -7 } as const;

export type SignatureAlgorithm = keyof typeof ALGORITHMS;

/** Header parameters, RFC 9052 section 3.1. */
export const HEADER = { algorithm: 1, critical: 2, contentType: 3, keyId: 4 } as const;

/** The content type of signatures of images: a signature without it was made for something else. */
export const MEDIA_TYPE = 'application/vnd.cfs.image-id';

/** COSE_Sign1_Tagged. */
export const SIGN1_TAG = 18;

/** Ed25519: RFC 8032. ES256: r and s, 32 bytes each (RFC 9053 section 2.1). */
const SIGNATURE_SIZE = 64;

/** Signatures made by cfs have 130 bytes. This leaves room for certificates and the like in the headers. */
export const MAX_SIGN1_BYTES = 16_384;

/** The contents of a COSE_Sign1; nothing of it is verified. */
export interface Sign1 {
  readonly algorithm: SignatureAlgorithm;
  /** The signed header, as it is in the message. */
  readonly protectedBytes: Uint8Array;
  /** The signer's claim about the key. cfs does not sign it: for messages only. */
  readonly keyId: Uint8Array | undefined;
  /** The image id in the message; undefined if it is detached. */
  readonly payload: Uint8Array | undefined;
  readonly signature: Uint8Array;
}

type Header = ReadonlyMap<number | string, CborItem>;

/**
 * Reads a COSE_Sign1, tagged or not.
 * @throws CfsError (image) if it is not a COSE_Sign1, or not one over an image
 */
export function decodeSign1(bytes: Uint8Array): Sign1 {
  if (bytes.length > MAX_SIGN1_BYTES) {
    throw malformed(`it has ${bytes.length} bytes; at most ${MAX_SIGN1_BYTES} are accepted`);
  }
  const [protectedBytes, open, payload, signature] = partsOf(readCbor(bytes));
  if (!(protectedBytes instanceof Uint8Array)) throw malformed('its protected header is not a byte string');
  const signed = protectedBytes.length === 0 ? new Map() : readCbor(protectedBytes);
  if (!isMap(signed) || !isMap(open)) throw malformed('its headers are not maps');
  checkHeaders(signed, open);
  if (payload !== null && !(payload instanceof Uint8Array && payload.length === DIGEST_SIZE)) {
    throw malformed(`its payload is neither an image id of ${DIGEST_SIZE} bytes nor detached (nil)`);
  }
  if (!(signature instanceof Uint8Array) || signature.length !== SIGNATURE_SIZE) {
    throw malformed(`its signature does not have the ${SIGNATURE_SIZE} bytes of Ed25519 and ES256`);
  }
  const keyId = signed.get(HEADER.keyId) ?? open.get(HEADER.keyId);
  if (keyId !== undefined && !(keyId instanceof Uint8Array)) throw malformed('its key id is not a byte string');
  return { algorithm: algorithmOf(signed), protectedBytes, keyId, payload: payload ?? undefined, signature };
}

function partsOf(message: CborItem): readonly CborItem[] {
  if (message instanceof CborTag && message.tag !== SIGN1_TAG) {
    throw malformed(`it has the CBOR tag ${message.tag}; a COSE_Sign1 has ${SIGN1_TAG}`);
  }
  const parts = message instanceof CborTag ? message.item : message;
  if (!Array.isArray(parts) || parts.length !== 4) throw malformed('it is not a COSE_Sign1, an array of 4');
  return parts as readonly CborItem[];
}

const isMap = (item: CborItem | undefined): item is Header => item instanceof Map;

function checkHeaders(signed: Header, open: Header): void {
  for (const label of signed.keys()) {
    if (open.has(label)) throw malformed(`the header parameter ${shown(label)} occurs twice`);
  }
  if (signed.has(HEADER.critical) || open.has(HEADER.critical)) {
    throw malformed('it has critical header parameters (crit), of which none is known here');
  }
  for (const label of [HEADER.algorithm, HEADER.contentType]) {
    if (open.has(label)) throw malformed(`the header parameter ${label} is not protected by the signature`);
  }
  const type = signed.get(HEADER.contentType);
  if (type === MEDIA_TYPE) return;
  const what = type === undefined ? 'no content type' : `the content type ${shown(type)}`;
  throw malformed(`it has ${what}; a signature of an image has "${MEDIA_TYPE}"`);
}

function algorithmOf(signed: Header): SignatureAlgorithm {
  const number = signed.get(HEADER.algorithm);
  for (const [name, known] of Object.entries(ALGORITHMS)) if (known === number) return name as SignatureAlgorithm;
  const what = number === undefined ? 'names no algorithm' : `is of algorithm ${shown(number)}`;
  throw malformed(`it ${what}; known are EdDSA (-8) and ES256 (-7)`);
}

/**
 * The signed bytes: the Sig_structure of RFC 9052 section 4.4, with no external data. Four strings need no encoder, and
 * a mount loads none.
 * @param payload the image id, 32 bytes
 */
export function signedBytes(protectedBytes: Uint8Array, payload: Uint8Array): Uint8Array {
  const context = Buffer.from('Signature1');
  return concatBytes(
    Uint8Array.of(0x84, 0x60 + context.length),
    context,
    byteStringHead(protectedBytes.length),
    protectedBytes,
    byteStringHead(0),
    byteStringHead(payload.length),
    payload,
  );
}

/** @param length below MAX_SIGN1_BYTES */
function byteStringHead(length: number): Uint8Array {
  if (length < 24) return Uint8Array.of(0x40 + length);
  return length < 0x100 ? Uint8Array.of(0x58, length) : Uint8Array.of(0x59, length >> 8, length & 0xff);
}

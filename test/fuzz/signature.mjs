// Bytes as a signature, as an image file with one in it, and as a key: refused with one error that fits on a line, or
// read correctly. The signed bytes are computed here a second time, so that no false signature is accepted.
import { createHash, createPrivateKey, createPublicKey, verify } from 'node:crypto';
import { equalBytes, fromHex } from '../../dist/src/base/bytes.js';
import { blake3 } from '../../dist/src/base/digest.js';
import { CborTag, readCbor } from '../../dist/src/sign/cbor-reader.js';
import { decodeSign1 } from '../../dist/src/sign/cose-sign1.js';
import { signImageId } from '../../dist/src/sign/encode-sign1.js';
import { formatPublicKey, parsePrivateKey, parsePublicKey } from '../../dist/src/sign/keys.js';
import { asEmbedded, splitSignature } from '../../dist/src/sign/trailer.js';
import { findSigner } from '../../dist/src/sign/verify-sign1.js';

// the corpus is signed with these keys: seeds of 32 bytes, each of one repeated digit
const ED25519 = keyOf(`302e020100300506032b657004220420${'11'.repeat(32)}`);
const P256 = keyOf(`3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420${'22'.repeat(32)}`);
const FOREIGN = keyOf(`302e020100300506032b657004220420${'33'.repeat(32)}`);
const TRUSTED = [ED25519, P256];
/** The id of an image that is missing: signatures without an image sign it. */
const ID = fromHex('ab'.repeat(32));

function keyOf(pkcs8) {
  const key = createPrivateKey({ key: Buffer.from(pkcs8, 'hex'), format: 'der', type: 'pkcs8' });
  const pem = createPublicKey(key).export({ type: 'spki', format: 'pem' }).toString();
  return { path: 'key.pub', key: parsePublicKey(pem, 'key.pub') };
}

function demand(condition, what) {
  if (!condition) throw new Error(what);
}

/** The result of `read`; undefined if it refuses. */
function unlessRefused(kind, read) {
  try {
    return read();
  } catch (error) {
    if (error?.constructor?.name !== 'CfsError' || error.kind !== kind) throw error;
    demand(
      !/[\p{Cc}\p{Zl}\p{Zp}]/u.test(error.message),
      `a message moves the cursor: ${JSON.stringify(error.message)}`,
    );
    demand(error.message.length < 1000, `a message has ${error.message.length} characters`);
    return undefined;
  }
}

/** The head of a CBOR item, in its shortest form. */
function head(major, argument) {
  if (argument < 24) return Buffer.from([(major << 5) | argument]);
  const log = [8, 16, 32].findIndex((bits) => argument < 2 ** bits);
  const size = log < 0 ? 8 : 1 << log;
  const bytes = Buffer.alloc(1 + size);
  bytes[0] = (major << 5) | (24 + (log < 0 ? 3 : log));
  if (size === 8) bytes.writeBigUInt64BE(BigInt(argument), 1);
  else bytes.writeUIntBE(argument, 1, size);
  return bytes;
}

/** The only bytes from which an item may be read. */
function encode(item) {
  if (typeof item === 'number') return item < 0 ? head(1, -1 - item) : head(0, item);
  if (typeof item === 'string') return Buffer.concat([head(3, Buffer.byteLength(item)), Buffer.from(item)]);
  if (item === null || typeof item === 'boolean') return Buffer.from([item === null ? 0xf6 : item ? 0xf5 : 0xf4]);
  if (item instanceof Uint8Array) return Buffer.concat([head(2, item.length), item]);
  if (Array.isArray(item)) return Buffer.concat([head(4, item.length), ...item.map(encode)]);
  if (item instanceof CborTag) return Buffer.concat([head(6, item.tag), encode(item.item)]);
  return Buffer.concat([head(5, item.size), ...[...item].flat().map(encode)]);
}

/** Whether the signature is by this key over this image: by way of the DER form, and of the encoder above. */
function isSignedBy({ algorithm, protectedBytes, payload, signature }, { key }, id) {
  if (payload !== undefined && !equalBytes(payload, id)) return false;
  const signed = encode(['Signature1', protectedBytes, new Uint8Array(), id]);
  if (algorithm !== key.algorithm) return false;
  if (algorithm === 'EdDSA') return verify(null, signed, key.object, signature);
  const integer = (bytes) => Buffer.concat([Buffer.from([2, bytes.length + 1, 0]), bytes]);
  const shortest = (bytes) => {
    const from = bytes.findIndex((byte) => byte !== 0);
    if (from < 0) return Buffer.from([2, 1, 0]);
    const digits = bytes.subarray(from);
    return digits[0] < 0x80 ? Buffer.concat([Buffer.from([2, digits.length]), digits]) : integer(digits);
  };
  const body = Buffer.concat([shortest(signature.subarray(0, 32)), shortest(signature.subarray(32))]);
  return verify('sha256', signed, key.object, Buffer.concat([Buffer.from([0x30, body.length]), body]));
}

/** @param id of the image */
function checkSignature(bytes, id) {
  const message = unlessRefused('image', () => decodeSign1(bytes));
  if (message === undefined) return;
  demand(encode(readCbor(bytes)).equals(bytes), 'a signature was read from other bytes than its own');
  const protectedHeader = readCbor(message.protectedBytes);
  if (!(protectedHeader instanceof Map)) throw new Error('its protected header is no map');
  demand(protectedHeader.get(1) === (message.algorithm === 'EdDSA' ? -8 : -7), 'its algorithm is not the signed one');
  demand(protectedHeader.get(3) === 'application/vnd.cfs.image-id', 'it was made for something else');
  demand(message.signature.length === 64, `it has ${message.signature.length} bytes`);
  const other = Uint8Array.from(id);
  other[31] ^= 1;
  for (const [over, keys] of [
    [id, TRUSTED],
    [other, TRUSTED],
    [id, [FOREIGN]],
    [id, []],
  ]) {
    const signer = unlessRefused('image', () => findSigner(message, over, keys));
    demand(
      signer === keys.find((key) => isSignedBy(message, key, over)),
      signer === undefined ? 'a good signature is refused' : 'a false signature is accepted',
    );
  }
}

function checkImage(file) {
  const parts = unlessRefused('image', () => splitSignature(file));
  if (parts === undefined) return;
  const { manifest, signature } = parts;
  const trailer = signature === undefined ? new Uint8Array() : asEmbedded(signature);
  demand(Buffer.concat([manifest, trailer]).equals(file), 'an image file has other parts than it is made of');
  demand(manifest.buffer === file.buffer, 'a manifest was copied');
  if (signature !== undefined) checkSignature(Buffer.from(signature), blake3(manifest));
}

function checkKeys(text) {
  const key = unlessRefused('usage', () => parsePublicKey(text, 'key.pub'));
  if (key !== undefined) {
    const { type, asymmetricKeyType, asymmetricKeyDetails } = key.object;
    const kind = key.algorithm === 'EdDSA' ? 'ed25519' : 'ec';
    demand(
      type === 'public' && asymmetricKeyType === kind,
      `a ${type} key of ${asymmetricKeyType} is ${key.algorithm}`,
    );
    demand(kind !== 'ec' || asymmetricKeyDetails.namedCurve === 'prime256v1', 'a key of another curve is accepted');
    const spki = key.object.export({ type: 'spki', format: 'der' });
    demand(equalBytes(key.keyId, createHash('sha256').update(spki).digest().subarray(0, 8)), 'it has another id');
    const again = parsePublicKey(formatPublicKey(key), 'key.pub');
    demand(equalBytes(again.keyId, key.keyId), 'it is another one after it was written');
  }
  // without a passphrase: the key determines how long decrypting takes, and belongs to the signer
  const own = unlessRefused('usage', () => parsePrivateKey(text, 'key.pem', undefined));
  if (own === undefined) return;
  demand(key === undefined, 'a text is a public key and a private one');
  const pem = createPublicKey(own.object).export({ type: 'spki', format: 'pem' }).toString();
  const named = { path: 'key.pub', key: parsePublicKey(pem, 'key.pub') };
  const message = decodeSign1(signImageId(ID, own));
  demand(findSigner(message, ID, [FOREIGN, named]) === named, 'what it signs is not accepted');
}

export function fuzz(bytes) {
  checkSignature(bytes, ID);
  checkImage(bytes);
  if (bytes.includes('-----BEGIN')) checkKeys(bytes.toString('utf8'));
}

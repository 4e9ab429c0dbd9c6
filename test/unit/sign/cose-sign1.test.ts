import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { fromHex, toHex } from '../../../src/base/bytes.ts';
import { decodeSign1, MAX_SIGN1_BYTES, signedBytes } from '../../../src/sign/cose-sign1.ts';
import { signImageId } from '../../../src/sign/encode-sign1.ts';
import { asEmbedded } from '../../../src/sign/trailer.ts';
import { array, byteString, head, MAJOR, text, uint } from '../manifest/cbor-writer.ts';
import {
  ALG_EDDSA,
  ALG_ES256,
  CONTENT_TYPE,
  header,
  messageOf,
  negative,
  type Parts,
  RFC8032_PUBLIC,
  refusalOf,
  rfc8032Pair,
} from './sign1.ts';

const ID = new Uint8Array(32).map((_, i) => i);

describe('signImageId()', () => {
  test('writes the bytes of the specification', () => {
    const { signing } = rfc8032Pair();
    const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), Buffer.from(RFC8032_PUBLIC, 'hex')]);
    const keyId = createHash('sha256').update(spki).digest().subarray(0, 8);
    const message = signImageId(ID, signing);
    const open = header([[uint(4), byteString(keyId)]]);
    expect(message).toEqual(Uint8Array.from(messageOf({ open, signature: byteString(message.subarray(-64)) })));
    // signatures with Ed25519 are deterministic
    expect(signImageId(ID, signing)).toEqual(message);
  });
});

describe('docs/manifest.md', () => {
  test('contains the signature of its example', () => {
    const id = fromHex('68b7aa57916e4c713a9db7fe3232fa918d431b1f4ef452c62305dcda718af4ca');
    const page = readFileSync(new URL('../../../docs/manifest.md', import.meta.url), 'utf8');
    const dump = page.slice(page.indexOf('### An example of a signature')).match(/```\n(0000 .*?)```/s)?.[1] ?? '';
    const digits = dump
      .split('\n')
      .map((line) => line.slice(6, 53).replaceAll(' ', ''))
      .join('');
    expect(digits).toBe(toHex(asEmbedded(signImageId(id, rfc8032Pair().signing))));
  });
});

describe('signedBytes()', () => {
  test.each([0, 23, 24, 255, 256, 16_000])('is the Sig_structure, with a protected header of %d bytes', (size) => {
    const header = new Uint8Array(size).fill(0x61);
    const expected = array([text('Signature1'), byteString(header), byteString(new Uint8Array()), byteString(ID)]);
    expect(toHex(signedBytes(header, ID))).toBe(toHex(expected));
  });
});

describe('decodeSign1()', () => {
  test('accepts a message with its tag and without', () => {
    for (const tag of [18, undefined]) {
      const { protectedBytes, signature, ...rest } = decodeSign1(messageOf({ tag }));
      expect(rest).toEqual({ algorithm: 'EdDSA', keyId: undefined, payload: undefined });
      expect(toHex(signature)).toBe('00'.repeat(64));
      expect(toHex(protectedBytes)).toBe(toHex(header([ALG_EDDSA, CONTENT_TYPE])));
    }
  });

  test('accepts the image id as payload, a key id in either header, and unknown parameters', () => {
    const unknown: [Uint8Array, Uint8Array][] = [
      [uint(33), array([byteString(ID)])],
      [text('x'), header([[uint(1), Uint8Array.of(0xf5)]])],
    ];
    const keyId: [Uint8Array, Uint8Array] = [uint(4), byteString(Uint8Array.of(7))];
    const open = decodeSign1(messageOf({ payload: byteString(ID), open: header([keyId, ...unknown]) }));
    expect(toHex(open.payload as Uint8Array)).toBe(toHex(ID));
    expect(toHex(open.keyId as Uint8Array)).toBe('07');
    const signed = header([CONTENT_TYPE, keyId, ...unknown, ALG_ES256]);
    expect(decodeSign1(messageOf({ signed }))).toMatchObject({
      algorithm: 'ES256',
      keyId: Uint8Array.of(7),
    });
  });

  const crit: [Uint8Array, Uint8Array] = [uint(2), array([uint(3)])];
  const refusals: [string, Parts, string][] = [
    ['another tag', { tag: 98 }, 'it has the CBOR tag 98'],
    ['no algorithm', { signed: header([CONTENT_TYPE]) }, 'names no algorithm'],
    ['an empty protected header', { signed: new Uint8Array() }, 'it has no content type'],
    ['a protected header of an empty map', { signed: header([]) }, 'it has no content type'],
    ['ES384', { signed: header([[uint(1), negative(-35)], CONTENT_TYPE]) }, 'algorithm -35; known are'],
    ['an algorithm by name', { signed: header([[uint(1), text('EdDSA')], CONTENT_TYPE]) }, 'algorithm "EdDSA"'],
    [
      'an unprotected algorithm',
      { signed: header([CONTENT_TYPE]), open: header([ALG_EDDSA]) },
      'parameter 1 is not protected',
    ],
    [
      'an unprotected content type',
      { signed: header([ALG_EDDSA]), open: header([CONTENT_TYPE]) },
      'parameter 3 is not protected',
    ],
    ['an algorithm in both headers', { open: header([ALG_ES256]) }, 'parameter 1 occurs twice'],
    ['no content type', { signed: header([ALG_EDDSA]) }, 'it has no content type'],
    [
      'a signature of something else',
      { signed: header([ALG_EDDSA, [uint(3), text('text/plain\u001b[2J')]]) },
      'content type "text/plain\\x1b[2J"; a signature of an image has "application/vnd.cfs.image-id"',
    ],
    ['a content type of CoAP', { signed: header([ALG_EDDSA, [uint(3), uint(0)]]) }, 'the content type 0'],
    ['crit', { signed: header([ALG_EDDSA, CONTENT_TYPE, crit]) }, 'crit'],
    ['an unprotected crit', { open: header([crit]) }, 'crit'],
    ['a parameter twice', { signed: header([ALG_EDDSA, ALG_EDDSA, CONTENT_TYPE]) }, 'occurs twice'],
    ['a protected header that is not a map', { signed: uint(1) }, 'not maps'],
    ['a protected header with more behind it', { signed: Buffer.concat([header([]), uint(0)]) }, '1 bytes follow'],
    ['an unprotected header that is not a map', { open: array([]) }, 'not maps'],
    ['a payload of 31 bytes', { payload: byteString(new Uint8Array(31)) }, 'its payload is neither'],
    ['an empty payload', { payload: byteString(new Uint8Array()) }, 'its payload is neither'],
    ['a text as payload', { payload: text('x'.repeat(32)) }, 'its payload is neither'],
    ['a signature of 63 bytes', { signature: byteString(new Uint8Array(63)) }, 'does not have the 64 bytes'],
    ['a signature in DER', { signature: byteString(new Uint8Array(70)) }, 'does not have the 64 bytes'],
    ['no signature', { signature: Uint8Array.of(0xf6) }, 'does not have the 64 bytes'],
    ['a key id that is a text', { open: header([[uint(4), text('me')]]) }, 'its key id is not a byte string'],
  ];

  test.each(refusals)('refuses %s', (_, parts, reason) => {
    const message = refusalOf(() => decodeSign1(messageOf(parts)));
    expect(message).toMatch(/^malformed signature: /);
    expect(message).toContain(reason);
  });

  test.each([
    ['nothing', new Uint8Array(), 'cut off at byte 0'],
    ['an array of 3', array([byteString(new Uint8Array()), header([]), byteString(ID)]), 'not a COSE_Sign1'],
    ['an array of 5', array([0, 1, 2, 3, 4].map(uint)), 'not a COSE_Sign1'],
    ['a map', header([]), 'not a COSE_Sign1'],
    [
      'a protected header that is no byte string',
      array([header([]), header([]), uint(0), uint(0)]),
      'not a byte string',
    ],
    ['PEM', Buffer.from('-----BEGIN PUBLIC KEY-----'), 'malformed signature'],
    [
      'a message that is too large',
      messageOf({ open: header([[text('x'), byteString(new Uint8Array(MAX_SIGN1_BYTES))]]) }),
      'are accepted',
    ],
    [
      'a billion entries',
      Buffer.concat([head(MAJOR.array, 4), byteString(header([])), head(MAJOR.map, 1e9)]),
      'cut off',
    ],
  ])('refuses %s', (_, bytes, reason) => {
    expect(refusalOf(() => decodeSign1(bytes))).toContain(reason);
  });

  test('refuses a message that is cut off at any byte', () => {
    const message = signImageId(ID, rfc8032Pair().signing);
    for (let length = 0; length < message.length; length++) refusalOf(() => decodeSign1(message.subarray(0, length)));
  });
});

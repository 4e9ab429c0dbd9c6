import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { equalBytes, toHex } from '../../../src/base/bytes.ts';
import { CfsError } from '../../../src/base/error.ts';
import { decodeSign1, type Sign1, signedBytes } from '../../../src/sign/cose-sign1.ts';
import { signImageId } from '../../../src/sign/encode-sign1.ts';
import { parsePublicKey } from '../../../src/sign/keys.ts';
import { findSigner, type NamedKey } from '../../../src/sign/verify-sign1.ts';
import { array, byteString, text, uint } from '../manifest/cbor-writer.ts';
import { ALG_EDDSA, ALG_ES256, CONTENT_TYPE, header, messageOf, newPair, type Pair, refusalOf } from './sign1.ts';

const ID = new Uint8Array(32).fill(0xa5);
const OTHER_ID = new Uint8Array(32).fill(0xa4);
const ALGORITHM_NAMES = ['EdDSA', 'ES256'] as const;

const check = (message: Uint8Array, id: Uint8Array, ...pairs: readonly Pair[]): NamedKey =>
  findSigner(
    decodeSign1(message),
    id,
    pairs.map(({ trusted }) => trusted),
  );

describe.each(ALGORITHM_NAMES)('findSigner() with %s', (algorithm) => {
  const own = newPair(algorithm, 'own');
  const other = newPair(algorithm, 'other');
  const otherKind = newPair(algorithm === 'EdDSA' ? 'ES256' : 'EdDSA', 'other-kind');
  const good = signImageId(ID, own.signing);

  test('finds the key among others', () => {
    for (const pairs of [[own], [other, own], [own, other], [otherKind, other, own]]) {
      expect(check(good, ID, ...pairs).path).toBe('own.pub');
    }
  });

  test('refuses another key, of the same type and of the other, and lists all', () => {
    expect(refusalOf(() => check(good, ID, other))).toMatch(
      /^it is by key [0-9a-f]{16}; trusted: other.pub \([0-9a-f]{16}\)$/,
    );
    expect(refusalOf(() => check(good, ID, otherKind))).toContain('trusted: other-kind.pub');
    expect(refusalOf(() => check(good, ID))).toContain('it is by key');
  });

  test('refuses another image', () => {
    expect(refusalOf(() => check(good, OTHER_ID, own))).toBe(
      'it names the key own.pub, but is not over this image, or was changed',
    );
  });

  test('ignores the key id', () => {
    const { protectedBytes, signature } = decodeSign1(good);
    const parts = { signed: protectedBytes, signature: byteString(signature) };
    for (const open of [header([]), header([[uint(4), byteString(other.trusted.key.keyId)]])]) {
      expect(check(messageOf({ ...parts, open }), ID, other, own).path).toBe('own.pub');
    }
  });

  test('accepts the id as payload; refuses another one before any key is tried', () => {
    const { protectedBytes: signed, signature } = decodeSign1(good);
    const withPayload = (id: Uint8Array): Uint8Array =>
      messageOf({ signed, payload: byteString(id), signature: byteString(signature) });
    expect(check(withPayload(ID), ID, own).path).toBe('own.pub');
    expect(refusalOf(() => check(withPayload(OTHER_ID), ID, own))).toBe(`it is over another image, ${toHex(OTHER_ID)}`);
    refusalOf(() => check(withPayload(OTHER_ID), OTHER_ID, own));
  });

  test('refuses a message that names the other algorithm', () => {
    const { signature } = decodeSign1(good);
    const signed = header([algorithm === 'EdDSA' ? ALG_ES256 : ALG_EDDSA, CONTENT_TYPE]);
    const message = messageOf({ signed, signature: byteString(signature) });
    refusalOf(() => check(message, ID, own));
    refusalOf(() => check(message, ID, own, other, otherKind));
  });

  const isSameStatement = (a: Sign1, b: Sign1): boolean =>
    equalBytes(a.protectedBytes, b.protectedBytes) && equalBytes(a.signature, b.signature);

  /** True if the message is accepted; it must then have the content of the good one. */
  function isAccepted(bytes: Uint8Array): boolean {
    try {
      check(bytes, ID, own);
    } catch (error) {
      if (error instanceof CfsError && error.kind === 'image') return false;
      throw error;
    }
    expect(isSameStatement(decodeSign1(bytes), decodeSign1(good))).toBe(true);
    return true;
  }

  test('refuses a message with any bit flipped, except in unsigned parts', () => {
    const copy = Uint8Array.from(good);
    let accepted = 0;
    for (let i = 0; i < copy.length * 8; i++) {
      copy[i >> 3] = (copy[i >> 3] as number) ^ (1 << (i & 7));
      if (isAccepted(copy)) accepted++;
      copy[i >> 3] = good[i >> 3] as number;
    }
    // the 8 bytes of the key id, and some of its label
    expect(accepted).toBeGreaterThanOrEqual(64);
    expect(accepted).toBeLessThan(80);
  });

  test('refuses a message with random changes, unless it means the same', () => {
    const change = fc.record({
      at: fc.nat({ max: good.length - 1 }),
      drop: fc.nat({ max: 12 }),
      bytes: fc.uint8Array({ maxLength: 12 }),
    });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 3 }), (changes) => {
        let bytes = Buffer.from(good);
        for (const { at, drop, bytes: more } of changes)
          bytes = Buffer.concat([bytes.subarray(0, at), more, bytes.subarray(at + drop)]);
        isAccepted(bytes);
      }),
      { numRuns: 3000 },
    );
  });

  test('refuses signatures of zeros, ones and the order of the curve', () => {
    const order = 'ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551';
    for (const digits of ['00'.repeat(64), 'ff'.repeat(64), order + order, `${'00'.repeat(31)}01`.repeat(2)]) {
      const { protectedBytes: signed } = decodeSign1(good);
      const message = messageOf({ signed, signature: byteString(Buffer.from(digits, 'hex')) });
      refusalOf(() => check(message, ID, own));
    }
  });
});

describe('openssl', () => {
  let directory: string;
  const at = (name: string): string => join(directory, name);
  const openssl = (...args: readonly string[]): string =>
    execFileSync('openssl', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'cfs-sign-'));
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  /** The Sig_structure, by an implementation of the test. */
  const signatureStructure = (signed: Uint8Array, id: Uint8Array): Uint8Array =>
    array([text('Signature1'), byteString(signed), byteString(new Uint8Array()), byteString(id)]);

  /** ECDSA-Sig-Value (RFC 3279 section 2.2.3) from r and s, and back. */
  function derOf(raw: Uint8Array): Uint8Array {
    const integer = (bytes: Uint8Array): Uint8Array => {
      let start = 0;
      while (start < bytes.length - 1 && bytes[start] === 0) start++;
      const digits = bytes.subarray(start);
      const padded = (digits[0] as number) >= 0x80 ? Buffer.concat([Uint8Array.of(0), digits]) : digits;
      return Buffer.concat([Uint8Array.of(0x02, padded.length), padded]);
    };
    const body = Buffer.concat([integer(raw.subarray(0, 32)), integer(raw.subarray(32))]);
    return Buffer.concat([Uint8Array.of(0x30, body.length), body]);
  }

  function rawOf(der: Uint8Array): Uint8Array {
    const out = Buffer.alloc(64);
    let offset = 2;
    for (const end of [32, 64]) {
      const length = der[offset + 1] as number;
      const digits = Buffer.from(der.subarray(offset + 2, offset + 2 + length)).subarray(-32);
      out.set(digits, end - digits.length);
      offset += 2 + length;
    }
    return out;
  }

  test.each(ALGORITHM_NAMES)('verifies signatures by %s made here', (algorithm) => {
    const { signing, publicPem } = newPair(algorithm);
    writeFileSync(at('pub'), publicPem);
    for (const id of [ID, OTHER_ID]) {
      const { protectedBytes, signature } = decodeSign1(signImageId(id, signing));
      writeFileSync(at('data'), signatureStructure(protectedBytes, id));
      writeFileSync(at('sig'), algorithm === 'ES256' ? derOf(signature) : signature);
      const files = ['-pubin', '-inkey', at('pub'), '-rawin', '-in', at('data'), '-sigfile', at('sig')];
      const digest = algorithm === 'ES256' ? ['-digest', 'sha256'] : [];
      expect(openssl('pkeyutl', '-verify', ...digest, ...files)).toContain('Signature Verified Successfully');
      writeFileSync(at('data'), signatureStructure(protectedBytes, new Uint8Array(32)));
      expect(() => openssl('pkeyutl', '-verify', ...digest, ...files)).toThrow();
    }
  });

  test.each(ALGORITHM_NAMES)('signs with %s messages that are verified here', (algorithm) => {
    const kind =
      algorithm === 'EdDSA' ? ['-algorithm', 'ed25519'] : ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'];
    openssl('genpkey', ...kind, '-out', at('key'));
    const pair = newPair(algorithm);
    const publicPem = openssl('pkey', '-in', at('key'), '-pubout');
    const signed = header([algorithm === 'EdDSA' ? ALG_EDDSA : ALG_ES256, CONTENT_TYPE]);
    writeFileSync(at('data'), signatureStructure(signed, ID));
    const digest = algorithm === 'ES256' ? ['-digest', 'sha256'] : [];
    openssl('pkeyutl', '-sign', '-inkey', at('key'), '-rawin', ...digest, '-in', at('data'), '-out', at('sig'));
    const bytes = execFileSync('cat', [at('sig')]);
    const signature = byteString(algorithm === 'ES256' ? rawOf(bytes) : bytes);
    const key = { path: 'openssl.pub', key: parsePublicKey(publicPem, 'openssl.pub') };
    expect(findSigner(decodeSign1(messageOf({ signed, signature })), ID, [pair.trusted, key])).toBe(key);
    expect(signedBytes(signed, ID)).toEqual(Uint8Array.from(signatureStructure(signed, ID)));
  });
});

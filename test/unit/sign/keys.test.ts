import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { readSigningKey, readTrustedKeys } from '../../../src/sign/key-file.ts';
import { formatPublicKey, keyIdText, parsePrivateKey, parsePublicKey } from '../../../src/sign/keys.ts';
import { newPair, refusalOf } from './sign1.ts';

const refusal = (action: () => unknown): string => refusalOf(action, 'usage');

const publicPem = (key: KeyObject): string => key.export({ type: 'spki', format: 'pem' }).toString();
const privatePem = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();

const ed = newPair('EdDSA');
const es = newPair('ES256');
const others = [
  ['rsa (2048 bits)', generateKeyPairSync('rsa', { modulusLength: 2048 })],
  ['ec (secp384r1)', generateKeyPairSync('ec', { namedCurve: 'P-384' })],
  ['ec (secp256k1)', generateKeyPairSync('ec', { namedCurve: 'secp256k1' })],
  ['ed448', generateKeyPairSync('ed448')],
  ['x25519', generateKeyPairSync('x25519')],
] as const;

describe('keys', () => {
  test.each([
    ['EdDSA', ed],
    ['ES256', es],
  ] as const)('of %s have the same id on both sides: that of their SubjectPublicKeyInfo', (algorithm, pair) => {
    const key = parsePublicKey(pair.publicPem, 'k');
    const der = Buffer.from(pair.publicPem.replace(/-----.*-----/g, ''), 'base64');
    expect(keyIdText(key)).toBe(createHash('sha256').update(der).digest('hex').slice(0, 16));
    expect(key.algorithm).toBe(algorithm);
    const signing = parsePrivateKey(pair.privatePem, 'k', undefined);
    expect([signing.algorithm, keyIdText(signing)]).toEqual([algorithm, keyIdText(key)]);
    expect(formatPublicKey(key)).toBe(pair.publicPem);
  });

  test.each(others)('of type %s are refused, with a list of the accepted types', (type, { publicKey, privateKey }) => {
    const message = `Cannot use key k.pem: it is of type ${type}. Accepted are Ed25519 and ECDSA P-256`;
    expect(refusal(() => parsePublicKey(publicPem(publicKey), 'k.pem'))).toBe(message);
    expect(refusal(() => parsePrivateKey(privatePem(privateKey), 'k.pem', undefined))).toBe(message);
  });
});

describe('parsePublicKey()', () => {
  const certificate = '-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n';
  test.each([
    ['', 'it is not a key in PEM'],
    ['ssh-ed25519 AAAAC3 me', 'it is not a key in PEM'],
    [ed.privatePem, 'it is a private key'],
    [ed.publicPem + es.publicPem, 'it contains 2 PEM blocks'],
    [certificate, 'it is a CERTIFICATE'],
    ['-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n', 'it is damaged'],
    ['-----BEGIN PUBLIC KEY-----\n', 'it is damaged'],
  ])('refuses %j', (pem, reason) => {
    expect(refusal(() => parsePublicKey(pem, 'k'))).toContain(reason);
  });

  test('keeps only the key of a file', () => {
    const key = parsePublicKey(`comment\n${ed.publicPem}more\n`, 'k');
    expect(formatPublicKey(key)).toBe(ed.publicPem);
  });
});

describe('parsePrivateKey()', () => {
  const encrypted = ed.signing.object
    .export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'secret' })
    .toString();
  const sec1 = es.signing.object.export({ type: 'sec1', format: 'pem' }).toString();
  const sec1Encrypted = es.signing.object
    .export({ type: 'sec1', format: 'pem', cipher: 'aes-128-cbc', passphrase: 'secret' })
    .toString();

  test('accepts PKCS #8 and SEC 1, encrypted and unencrypted', () => {
    const parameters = '-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n';
    for (const pem of [sec1, parameters + sec1]) expect(parsePrivateKey(pem, 'k', undefined).algorithm).toBe('ES256');
    expect(parsePrivateKey(encrypted, 'k', 'secret').keyId).toEqual(ed.signing.keyId);
    expect(parsePrivateKey(sec1Encrypted, 'k', 'secret').keyId).toEqual(es.signing.keyId);
    // a passphrase that is not needed is no error
    expect(parsePrivateKey(ed.privatePem, 'k', 'secret').keyId).toEqual(ed.signing.keyId);
  });

  test.each([encrypted, sec1Encrypted])('explains how to pass a passphrase, and reports a wrong one', (pem) => {
    expect(() => parsePrivateKey(pem, 'k', undefined)).toThrow(
      expect.objectContaining({ message: 'Cannot use key k: it is encrypted', hint: 'Give `passphrase`.' }),
    );
    for (const wrong of ['Secret', '', 'x'.repeat(1000)])
      expect(refusal(() => parsePrivateKey(pem, 'k', wrong))).toContain('the passphrase does not decrypt it');
  });

  test.each([
    ['', 'it is not a key in PEM'],
    [ed.publicPem, 'it is a PUBLIC KEY; signing takes the PRIVATE KEY'],
    [ed.privatePem + es.privatePem, 'it contains 2 PEM blocks'],
    ['-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n', 'it is damaged'],
  ])('refuses %j', (pem, reason) => {
    expect(refusal(() => parsePrivateKey(pem, 'k', undefined))).toContain(reason);
  });
});

describe('key files', () => {
  let directory: string;
  const at = (name: string): string => join(directory, name);
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'cfs-keys-'));
  });
  afterAll(() => rmSync(directory, { recursive: true }));
  afterEach(() => void vi.unstubAllEnvs());

  test('readTrustedKeys() returns absolute paths and only the keys', () => {
    writeFileSync(at('pub'), `# mine\n${ed.publicPem}`);
    expect(readTrustedKeys([at('pub')])).toEqual([{ path: at('pub'), pem: ed.publicPem }]);
  });

  test('readSigningKey() takes the passphrase from the first line of a file, or from the environment', () => {
    const pem = ed.signing.object.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'a b ü' });
    writeFileSync(at('key'), pem);
    for (const text of ['a b ü', 'a b ü\n', 'a b ü\r\nmore\n']) {
      writeFileSync(at('passphrase'), text);
      expect(readSigningKey(at('key'), at('passphrase')).keyId).toEqual(ed.signing.keyId);
    }
    vi.stubEnv('CFS_PASSPHRASE', 'a b ü');
    expect(readSigningKey(at('key'), undefined).keyId).toEqual(ed.signing.keyId);
    writeFileSync(at('passphrase'), 'another\n');
    expect(refusal(() => readSigningKey(at('key'), at('passphrase')))).toContain('does not decrypt it');
  });

  test('are refused if they are missing, directories or large', () => {
    expect(refusal(() => readTrustedKeys([at('none')]))).toBe(
      `Cannot read key ${at('none')}: no such file or directory`,
    );
    expect(refusal(() => readTrustedKeys([directory]))).toContain('illegal operation on a directory');
    expect(refusal(() => readTrustedKeys(['/dev/zero']))).toContain('it has more than 65536 bytes');
    writeFileSync(at('key'), ed.privatePem);
    expect(refusal(() => readSigningKey(at('key'), '/dev/zero'))).toContain('Cannot read passphrase /dev/zero');
  });
});

/** Reading keys and passphrases from files. */
import { closeSync, constants, openSync } from 'node:fs';
import { resolve } from 'node:path';
import { CfsError, reasonOf } from '../base/error.ts';
import { readAtMost } from './bounded-file.ts';
import { formatPublicKey, parsePrivateKey, parsePublicKey, type SigningKey, type TrustedKey } from './keys.ts';

/** The environment variable with the passphrase of a private key. */
const PASSPHRASE = 'CFS_PASSPHRASE';
/** A private key of RSA with 16,384 bits has 13 KB. */
const MAX_KEY_BYTES = 65_536;
/** OpenSSL takes 1,024. */
const MAX_PASSPHRASE_BYTES = 1024;

/**
 * Public keys, in the form that the daemon receives.
 * @throws CfsError (usage) that names the file
 */
export function readTrustedKeys(paths: readonly string[]): TrustedKey[] {
  return paths.map((path) => {
    const key = parsePublicKey(readText(path, 'key', MAX_KEY_BYTES), path);
    return { path: resolve(path), pem: formatPublicKey(key) };
  });
}

/**
 * A private key.
 * @param passphraseFile its first line decrypts the key; if undefined, CFS_PASSPHRASE does
 * @throws CfsError (usage)
 */
export function readSigningKey(path: string, passphraseFile: string | undefined): SigningKey {
  const passphrase = passphraseFile === undefined ? process.env[PASSPHRASE] : readPassphrase(passphraseFile);
  return parsePrivateKey(readText(path, 'key', MAX_KEY_BYTES), path, passphrase);
}

/** As with `openssl -passin file:`: the first line, without its end. */
function readPassphrase(path: string): string {
  return readText(path, 'passphrase', MAX_PASSPHRASE_BYTES + 2).split(/\r?\n/, 1)[0] as string;
}

function readText(path: string, what: string, limit: number): string {
  let bytes: Uint8Array | undefined;
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NOCTTY);
    try {
      bytes = readAtMost(fd, limit);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw new CfsError('usage', `Cannot read ${what} ${path}: ${reasonOf(error)}`, { cause: error });
  }
  if (bytes === undefined) throw new CfsError('usage', `Cannot read ${what} ${path}: it has more than ${limit} bytes`);
  return Buffer.from(bytes).toString('utf8');
}

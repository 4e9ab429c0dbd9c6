/** Certificates that are trusted beside those of node. */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { CfsError, reasonOf } from '../base/error.ts';

const CERTIFICATE = /-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----/gs;

/**
 * The text of a file with certificates in PEM.
 * @throws CfsError (usage) if it cannot be read, or has other contents
 */
export const readCertificates = (file: string): string => {
  try {
    const text = readFileSync(file, 'utf8');
    const certificates = text.match(CERTIFICATE) ?? [];
    if (certificates.length === 0) throw new Error('it has no certificate in PEM');
    for (const certificate of certificates) new X509Certificate(certificate);
    return text;
  } catch (error) {
    throw new CfsError('usage', `Cannot read certificates ${file}: ${reasonOf(error)}`, { cause: error });
  }
};

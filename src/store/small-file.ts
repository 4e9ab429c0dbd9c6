/** Small files of a repository that are replaced as a whole: written in tmp/, and renamed into place. */
import { randomBytes } from 'node:crypto';
import { closeSync } from 'node:fs';
import { fsyncSync } from '../system/file-calls.ts';
import { writeAll } from './content-copier.ts';
import type { LocalRepository } from './local-repository.ts';
import { remove } from './remove-file.ts';
import type { StoreDirectory } from './store-directory.ts';

/**
 * Writes a file, in place of one with its name. Readers see the old bytes or the new ones.
 * @param directory of the repository, open
 * @param kind a word in the name of the temporary file
 * @param durable wait until it is on the device
 * @throws errors of node:fs
 */
export function replaceSmallFile(
  repository: LocalRepository,
  directory: StoreDirectory,
  name: string,
  bytes: Uint8Array,
  kind: string,
  durable: boolean,
): void {
  const temporary = repository.directory('tmp');
  const written = `${randomBytes(8).toString('hex')}-${kind}`;
  try {
    const fd = temporary.create(written, 0o644);
    try {
      writeAll(fd, bytes, 0);
      if (durable) fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    temporary.rename(written, directory, name);
  } catch (error) {
    remove(temporary, written);
    throw error;
  } finally {
    temporary.close();
  }
  if (durable) directory.sync();
}

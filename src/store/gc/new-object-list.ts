/** New keep lists: written in tmp/, with the mode of files that processes lock, and renamed into place. */
import { randomBytes } from 'node:crypto';
import { closeSync } from 'node:fs';
import { fsyncSync } from '../../system/file-calls.ts';
import type { LocalRepository } from '../local-repository.ts';
import { giveTo, type Lockers, narrow } from '../lockable.ts';
import { remove } from '../remove-file.ts';
import type { StoreDirectory } from '../store-directory.ts';
import { type KeptImage, writeKeepList } from './object-list-file.ts';

/** The allowed mode bits of a list: it is never written again. */
export const LIST_MODE = 0o644;

/**
 * Writes a list into a new file.
 * @param durable wait until its bytes are on the device
 * @param place renames the file from tmp/; if it throws, the file is deleted
 * @throws errors of node:fs
 */
export async function placeNewList(
  repository: LocalRepository,
  image: KeptImage,
  durable: boolean,
  place: (temporary: StoreDirectory, written: string) => void,
): Promise<void> {
  const temporary = repository.directory('tmp');
  const name = `${randomBytes(8).toString('hex')}-keep`;
  try {
    const fd = temporary.create(name, 0o600);
    try {
      giveTo(fd, repository.lockers, LIST_MODE);
      await writeKeepList(fd, image);
      if (durable) fsyncSync(fd);
    } catch (error) {
      remove(temporary, name);
      throw error;
    } finally {
      closeSync(fd);
    }
    try {
      place(temporary, name);
    } catch (error) {
      remove(temporary, name);
      throw error;
    }
  } finally {
    temporary.close();
  }
}

/** For a list that an older version created: see lockable.ts. Does nothing if it is missing or another user's. */
export function narrowList(directory: StoreDirectory, name: string, lockers: Lockers): void {
  try {
    const fd = directory.openFile(name);
    try {
      narrow(fd, lockers);
    } finally {
      closeSync(fd);
    }
  } catch {
    // a malformed list is reported when it is read
  }
}

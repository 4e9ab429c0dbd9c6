/**
 * Where damaged objects go: `quarantine/`, on the same file system, so that nobody opens them again and nothing is lost.
 * A file there has the digits of the digest that it does not have, and ".2" and so on where there is one already.
 */

import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { ENOENT, errnoOf } from '../base/errno.ts';
import { readdirSync, renameSync } from './file-calls.ts';
import { type LocalRepository, makeDirectory } from './local.ts';

const NAME = /^([0-9a-f]{64})(?:\.\d+)?$/;

/**
 * Moves an object's file away. Only one process at a time may; repair.ts sees to it.
 * @returns where it is now, from the repository's directory
 * @throws what node:fs throws
 */
export function quarantine(repository: LocalRepository, object: string): string {
  const directory = repository.quarantineDirectory;
  makeDirectory(directory);
  let name = object;
  for (let i = 2; isThere(join(directory, name)); i++) name = `${object}.${i}`;
  renameSync(join(repository.path, 'objects', object.slice(0, 2), object.slice(2)), join(directory, name));
  return `quarantine/${name}`;
}

const isThere = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined;

/** What lies there: the objects that these files should have been, and files that no check has put there. */
export function listQuarantine(repository: LocalRepository): {
  readonly objects: ReadonlySet<string>;
  readonly names: readonly string[];
  readonly strange: readonly string[];
} {
  let names: readonly string[];
  try {
    names = readdirSync(repository.quarantineDirectory);
  } catch (error) {
    if (errnoOf(error) !== ENOENT) throw error;
    names = [];
  }
  const digests = names.map((name) => NAME.exec(name)?.[1]);
  return {
    objects: new Set(digests.filter((digest) => digest !== undefined)),
    names: names.filter((_, i) => digests[i] !== undefined),
    strange: names.filter((_, i) => digests[i] === undefined),
  };
}

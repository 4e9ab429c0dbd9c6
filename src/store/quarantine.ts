/**
 * The place of damaged objects: `quarantine/`, on the same file system, so that they are not opened again and nothing
 * is lost. A file there has the digits of the digest that it should have, and ".2" and so on if that name is taken.
 */

import type { LocalRepository } from './local-repository.ts';
import { LOCK } from './lock.ts';

const NAME = /^([0-9a-f]{64})(?:\.\d+)?$/;

/**
 * Moves an object's file away. Only one process at a time may do that, which repair.ts ensures.
 * @returns its new path, from the repository's directory
 * @throws errors of node:fs
 */
export function quarantine(repository: LocalRepository, object: string): string {
  const objects = repository.directory(`objects/${object.slice(0, 2)}`);
  try {
    const directory = repository.makeDirectory('quarantine');
    try {
      let name = object;
      for (let i = 2; directory.stat(name) !== undefined; i++) name = `${object}.${i}`;
      objects.rename(object.slice(2), directory, name);
      return `quarantine/${name}`;
    } finally {
      directory.close();
    }
  } finally {
    objects.close();
  }
}

/** The contents of quarantine: the objects that these files should have been, and files that no check has put there. */
export function listQuarantine(repository: LocalRepository): {
  readonly objects: ReadonlySet<string>;
  readonly names: readonly string[];
  readonly strange: readonly string[];
} {
  const all = repository.within('quarantine', (directory) => directory.names()) ?? [];
  // the lock of lockForRepair
  const names = all.filter((name) => name !== LOCK);
  const digests = names.map((name) => NAME.exec(name)?.[1]);
  return {
    objects: new Set(digests.filter((digest) => digest !== undefined)),
    names: names.filter((_, i) => digests[i] !== undefined),
    strange: names.filter((_, i) => digests[i] === undefined),
  };
}

/** Deletes the files that checks have put there. @returns their number */
export function emptyQuarantine(repository: LocalRepository, dryRun: boolean): number {
  const { names } = listQuarantine(repository);
  if (!dryRun) {
    repository.within('quarantine', (directory) => {
      for (const name of names) directory.removeTree(name);
    });
  }
  return names.length;
}

/** `--repair-from`: repositories, and mounts of images, which mean their repositories. */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { printable } from '../../src/base/bytes.ts';
import { CfsError } from '../../src/base/error.ts';
import { askMountAt } from '../../src/mount-info/ask-mount-at.ts';
import type { LocalRepository } from '../../src/store/local-repository.ts';
import { openRepository } from '../../src/store/open-repository.ts';

/**
 * The repositories of the arguments, in their order, each once and without `target` itself.
 * @throws CfsError: `usage` for any other argument, `store` for a repository of another hash
 */
export function repairSources(target: LocalRepository, words: readonly string[]): LocalRepository[] {
  const seen = new Set([placeOf(target)]);
  const sources: LocalRepository[] = [];
  for (const word of words) {
    const found = isRepository(word) ? [openRepository(word, target.hash)] : ofMount(target, word);
    for (const repository of found) {
      if (seen.has(placeOf(repository))) continue;
      seen.add(placeOf(repository));
      sources.push(repository);
    }
  }
  if (words.length > 0 && sources.length === 0) {
    throw new CfsError(
      'usage',
      `--repair-from ${words.join(', ')}: that is ${target.path} itself, and no other repository`,
    );
  }
  return sources;
}

function isRepository(word: string): boolean {
  try {
    openRepository(word);
    return true;
  } catch (error) {
    // an existing one that cannot be used reports the reason
    if (statSync(resolve(word, 'meta.json'), { throwIfNoEntry: false }) !== undefined) throw error;
    return false;
  }
}

function ofMount(target: LocalRepository, word: string): LocalRepository[] {
  let sources: ReturnType<typeof askMountAt>['sources'];
  try {
    ({ sources } = askMountAt(word));
  } catch (error) {
    if (!(error instanceof CfsError)) throw error;
    throw new CfsError(
      'usage',
      `--repair-from ${word}: it is neither a repository nor a mount of an image: ${error.message}`,
      { hint: error.hint },
    );
  }
  return sources
    .filter(({ kind }) => kind === 'repository')
    .map(({ path }) => {
      if (path !== undefined) return openRepository(printable(path), target.hash);
      throw new CfsError('store', `--repair-from ${word}: a repository of this mount is gone`);
    });
}

const placeOf = ({ path }: LocalRepository): string => {
  const { dev, ino } = statSync(path);
  return `${dev}:${ino}`;
};

/** `--repo URL`: objects of remote repositories for a command, in a repository that is removed at its end. */
import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import type { HashAlgorithm } from '../../src/base/digest.ts';
import { CfsError, reasonOf } from '../../src/base/error.ts';
import { walkPaths } from '../../src/manifest/dump.ts';
import { objectOf } from '../../src/manifest/lookup.ts';
import { type ManifestTables, objectCount } from '../../src/manifest/tables.ts';
import { isRemote } from '../../src/remote/remote-url.ts';
import { defaultRepositories } from '../../src/store/default-store.ts';
import type { LocalRepository } from '../../src/store/local-repository.ts';
import { initRepository, openRepository } from '../../src/store/open-repository.ts';
import type { RemoteSource } from '../../src/transfer/remote-objects.ts';
import { printError } from '../cli.ts';
import { formatBytes, formatCounted } from '../format.ts';
import { closeRemotes, openRemotes } from '../network.ts';
import { ProgressLine } from '../progress.ts';
import { withSignals } from '../signals.ts';
import { say } from '../verbose.ts';
import { openRepositories, type RepositoryWords } from './repositories.ts';

/** Threads that fetch. */
const THREADS = 4;
/** Objects that could not be fetched, shown one by one. */
const MOST_SHOWN = 3;

/** An image whose objects are read. */
export interface ReadImage {
  readonly id: string;
  readonly tables: ManifestTables;
}

/** All words, in their order; without any, the default repositories. */
export const wordsOf = ({ repo, store }: RepositoryWords): readonly string[] =>
  repo.length + store.length === 0 ? defaultRepositories() : [...repo, ...store];

export const hasRemote = (options: RepositoryWords): boolean => wordsOf(options).some(isRemote);

/** The local repositories; without any words, the default one. @throws CfsError (store) */
export const localOnes = (options: RepositoryWords, hash: HashAlgorithm): LocalRepository[] =>
  hasRemote(options)
    ? wordsOf(options).flatMap((word) => (isRemote(word) ? [] : [openRepository(word, hash)]))
    : openRepositories(wordsOf(options), hash);

/**
 * Fetches the objects that no local repository has, and calls `work` with the repositories. No server is asked if none
 * is missing. Objects that cannot be fetched are lines on stderr; what needs them fails.
 * @param objects rows of the objects that `work` reads
 * @throws CfsError: `usage`, `store`, `system`; what `work` throws
 */
export async function withFetched<T>(
  { id, tables }: ReadImage,
  objects: Iterable<number>,
  options: RepositoryWords,
  work: (repositories: readonly LocalRepository[], signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { hash } = tables.header;
  const locals = localOnes(options, hash);
  return await withSignals('nothing of it is left', async (signal) => {
    const { absentFrom, fetchMissing } = await import('../../src/transfer/fetch-missing.ts');
    const missing = absentFrom(locals, tables, objects);
    if (missing.length === 0) return await work(locals, signal);
    const remotes = await openRemotes(wordsOf(options).filter(isRemote), hash, options, signal);
    let place: string | undefined;
    const line = new ProgressLine(true);
    try {
      place = await temporaryDirectory();
      const fetched = initRepository(join(place, 'objects'), hash);
      const { copied, copiedBytes, failures } = await fetchMissing([...remotes.values()], fetched, {
        image: { id, tables },
        objects: missing,
        locals,
        threads: THREADS,
        durable: false,
        signal,
        onProgress: ({ objects, bytes }) =>
          line.draw(() => `fetched ${formatCounted(objects, 'object')}, ${formatBytes(bytes)}`),
      });
      line.end();
      say(() => `fetched ${formatCounted(copied, 'object')}, ${formatBytes(copiedBytes)}`);
      for (const { object, problem } of failures.slice(0, MOST_SHOWN))
        warn(`Cannot fetch object ${object}: ${problem}`);
      if (failures.length > MOST_SHOWN) warn(`and ${formatCounted(failures.length - MOST_SHOWN, 'more object')}`);
      return await work([...locals, fetched], signal);
    } finally {
      line.end();
      await closeRemotes(remotes);
      if (place !== undefined) rmSync(place, { recursive: true, force: true });
    }
  });
}

/**
 * Calls `work` with the repositories for some paths: all files below them are read. Without remote ones it gets no
 * signal. As `withFetched`.
 * @param paths absolute, in the image
 */
export async function withObjects<T>(
  image: ReadImage,
  paths: readonly Uint8Array[],
  words: RepositoryWords,
  work: (repositories: readonly LocalRepository[], signal?: AbortSignal) => Promise<T>,
): Promise<T> {
  const { tables } = image;
  if (!hasRemote(words)) {
    const needsNone = objectCount(tables) === 0 && words.repo.length + words.store.length === 0;
    return await work(needsNone ? [] : localOnes(words, tables.header.hash));
  }
  const objects: number[] = [];
  walkPaths(tables, paths, (row) => {
    const object = objectOf(tables, row);
    if (object >= 0) objects.push(object);
  });
  return await withFetched(image, objects, words, work);
}

const warn = (text: string): void => printError('cfs-info', text);

async function temporaryDirectory(): Promise<string> {
  const where = process.env['TMPDIR'] || '/var/tmp';
  try {
    return await mkdtemp(join(where, 'cfs-'));
  } catch (error) {
    throw new CfsError('system', `Cannot make a directory for objects in ${where}: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

/** Calls `work` with all repositories of the options; remote ones are only asked. */
export async function withRemotesOf<T>(
  options: RepositoryWords,
  hash: HashAlgorithm,
  work: (locals: readonly LocalRepository[], remotes: readonly RemoteSource[], signal?: AbortSignal) => Promise<T>,
): Promise<T> {
  const locals = localOnes(options, hash);
  if (!hasRemote(options)) return await work(locals, []);
  return await withSignals('nothing was changed', async (signal) => {
    const remotes = await openRemotes(wordsOf(options).filter(isRemote), hash, options, signal);
    try {
      return await work(locals, [...remotes.values()], signal);
    } finally {
      await closeRemotes(remotes);
    }
  });
}

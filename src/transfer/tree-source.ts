/** Trees of remote repositories that are copied file by file: on servers, or in a directory. */
import { closeSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { errnoOf } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import type { HttpOptions } from '../remote/http-client.ts';
import { isRefName, isRemote, parseRemoteAddress } from '../remote/remote-url.ts';
import { isDirectory, isRegular, StoreDirectory } from '../store/store-directory.ts';
import { RemoteRepository } from './remote-repository.ts';

/** Looks at the content of a file. @returns what is wrong with it */
export type FileCheck = (bytes: Uint8Array) => string | undefined;

export interface TreeSource {
  /** For messages. */
  readonly text: string;
  /** The names of images that are copied. */
  readonly names: readonly string[];
  /**
   * The content of a file; undefined if there is none.
   * @param name relative to the repository
   * @param most bytes; a longer one is refused
   * @throws CfsError (store) if it cannot be read, or `check` refuses it; the reason of the signal
   */
  file(name: string, most: number, check: FileCheck, signal?: AbortSignal): Promise<Uint8Array | undefined>;
  close(): Promise<void>;
}

/**
 * Opens `URL#NAME`, a directory with all its names, or `DIR#NAME`. Call `close` at the end.
 * @throws CfsError: `usage` for a URL without a name; `store` if it is no repository; the reason of the signal
 */
export async function openTree(
  word: string,
  options: HttpOptions & { readonly insecure: boolean },
  signal?: AbortSignal,
): Promise<TreeSource> {
  if (!isRemote(word)) return openDirectory(word);
  const address = parseRemoteAddress(word, options.insecure);
  if (address.ref === undefined) {
    throw new CfsError('usage', `${word} names no image: a web server does not list its files, so add #NAME`);
  }
  const remote = await RemoteRepository.open(address, options, signal);
  return {
    text: address.text,
    names: [address.ref],
    file: (name, most, check, signal) => remote.file(name, most, check, signal),
    close: () => remote.close(),
  };
}

function openDirectory(word: string): TreeSource {
  const [, path = word, name] = /^(.+)#([^#]+)$/.exec(word) ?? [];
  const isNamed = name !== undefined && isRefName(name);
  const text = resolve(isNamed ? path : word);
  const fail = (reason: string): CfsError => new CfsError('store', `Cannot use repository ${text}: ${reason}`);
  const guarded = <T>(work: () => T): T => {
    try {
      return work();
    } catch (error) {
      if (error instanceof CfsError || errnoOf(error) === undefined) throw error;
      throw fail(reasonOf(error));
    }
  };
  const root = guarded(() => StoreDirectory.at(text));
  try {
    const names = isNamed ? [name] : guarded(() => namesIn(root));
    if (names.length === 0) throw fail('there is no name of an image in refs');
    return {
      text,
      names,
      async file(name, most, check) {
        return guarded(() => {
          const stat = root.stat(name);
          if (stat === undefined) return undefined;
          if (!isRegular(stat) || stat.size > most) throw fail(`${name} is not a file that belongs here`);
          const fd = root.openFile(name);
          try {
            const bytes = readFileSync(fd);
            const wrong = bytes.length > most ? 'it grew while it was read' : check(bytes);
            if (wrong !== undefined) throw fail(`${name}: ${wrong}`);
            return bytes;
          } finally {
            closeSync(fd);
          }
        });
      },
      async close() {
        root.close();
      },
    };
  } catch (error) {
    root.close();
    throw error;
  }
}

/** Directories of names within each other. */
const DEPTH = 100;

/** All names, sorted. What has no name of an image is left out: files that are being written, for example. */
function namesIn(root: StoreDirectory): string[] {
  const names: string[] = [];
  const visit = (path: string, depth: number): void => {
    const stat = root.stat(path);
    if (stat === undefined) return;
    const name = path.slice('refs/'.length);
    if (isDirectory(stat) && depth < DEPTH) {
      const directory = root.open(path);
      try {
        for (const each of directory.names()) visit(`${path}/${each}`, depth + 1);
      } finally {
        directory.close();
      }
    } else if (isRegular(stat) && isRefName(name)) names.push(name);
  };
  visit('refs', 0);
  return names.sort();
}

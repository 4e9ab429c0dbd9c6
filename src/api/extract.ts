/**
 * Copying files out of images, without a mount.
 * @module
 */
import { availableParallelism } from 'node:os';
import { CfsError, type ErrorKind } from '../base/error.ts';
import { pathBytes, pathText, shownText } from '../base/path-text.ts';
import { extractTree } from '../extract/extract-tree.ts';
import { tarOf } from '../extract/tar-image.ts';
import { lookupPath } from '../manifest/lookup.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import { abortable, given, pathGiven, stopIfAborted } from './arguments.ts';
import { fetchedRepositories } from './fetched.ts';
import { type Image, openImage } from './image.ts';
import { IMAGE_TABLES } from './image-tables.ts';
import type { NetworkOptions } from './network.ts';
import type { Repository } from './repository.ts';

/**
 * Options of extracting.
 * @example
 * import { type ExtractOptions, extractImage } from '@cfs-images/cfs/extract';
 *
 * const options: ExtractOptions = { repositories: ['/srv/store'], paths: ['/etc'] };
 * await extractImage('/srv/rootfs.cfs', '/srv/extracted', options);
 */
export interface ExtractOptions extends NetworkOptions {
  /**
   * Repositories with the contents, searched in this order. From URLs of remote ones, objects are fetched that no local
   * one has, into a directory below `TMPDIR` (default: /var/tmp) that is removed at the end.
   */
  readonly repositories?: readonly (string | Repository)[];
  /** Paths in the image: files, or directories with all that is in them; default: the whole image. */
  readonly paths?: readonly (string | Uint8Array)[];
  /** The number of threads that copy and verify; default: one per processor, at most 8. */
  readonly threads?: number;
  /** Do not set owners. */
  readonly skipOwners?: boolean;
  /** Do not set extended attributes. */
  readonly skipXattrs?: boolean;
  /** Aborts the work, which then rejects with a CfsError (interrupted). Files that are there are complete. */
  readonly signal?: AbortSignal;
  /** Called with a line for people if a bad copy of an object was passed over. */
  readonly onWarning?: (line: string) => void;
  /** Called often, with the numbers of what is done. */
  readonly onProgress?: (progress: { readonly entries: number; readonly bytes: number }) => void;
}

/**
 * A file that was not extracted, or not with all its attributes.
 * @example
 * import { type ExtractFailure, extractImage } from '@cfs-images/cfs/extract';
 *
 * const { failures } = await extractImage('/srv/rootfs.cfs', '/srv/extracted', { repositories: ['/srv/store'] });
 * const [first]: readonly ExtractFailure[] = failures;
 * console.log(first?.message ?? 'complete');
 */
export interface ExtractFailure {
  /** Its path in the image. A byte that is not UTF-8 becomes a lone surrogate, U+DC80 to U+DCFF. */
  readonly path: string;
  readonly kind: ErrorKind;
  readonly message: string;
}

/**
 * The result of extracting.
 * @example
 * import { type ExtractResult, extractImage } from '@cfs-images/cfs/extract';
 *
 * const result: ExtractResult = await extractImage('/srv/rootfs.cfs', '/srv/extracted', {
 *   repositories: ['/srv/store'],
 * });
 * console.log(result.entries, result.bytes, result.failures.length);
 */
export interface ExtractResult {
  /** Names that are there now, directories included. */
  readonly entries: number;
  /** Of contents. */
  readonly bytes: number;
  readonly failures: readonly ExtractFailure[];
  /** Numbers of files whose owner, of extended attributes, and of devices that only root could have set or made. */
  readonly leftOut: { readonly owners: number; readonly xattrs: number; readonly devices: number };
}

/**
 * Copies the tree of an image, or parts of it, into a directory, as `cfs-info extract` does: with owners, modes, times,
 * extended attributes, hard links and holes; every content is verified. The directory is created if it is missing.
 * @returns also if some files could not be extracted
 * @throws CfsError: `usage` if the image has no such path; `system` if the directory cannot be used; `image`, `store`,
 *   `interrupted`
 * @example
 * import { extractImage } from '@cfs-images/cfs/extract';
 *
 * const { entries, failures } = await extractImage('/srv/rootfs.cfs', '/srv/extracted', {
 *   repositories: ['/srv/store'],
 * });
 * console.log(`${entries} entries, ${failures.length} failures`);
 * await extractImage('/srv/rootfs.cfs', '/srv/from-server', { repositories: ['https://example.org/images'] });
 */
export function extractImage(
  image: Image | string,
  directory: string,
  options: ExtractOptions = {},
): Promise<ExtractResult> {
  const { signal, onWarning, onProgress, repositories = [], paths = ['/'] } = options;
  return abortable(signal, async () => {
    const { path: name, id, tables } = opened(image);
    const failures: ExtractFailure[] = [];
    const wanted = paths.map((path) => pathInImage(tables, name, path));
    const target = pathGiven('directory', directory);
    const fetched = await fetchedRepositories({ id, tables }, wanted, repositories, options);
    try {
      const { entries, bytes, leftOut } = await extractTree(tables, target, {
        image: name,
        repositories: fetched.repositories,
        paths: wanted,
        threads: options.threads ?? Math.min(availableParallelism(), 8),
        owners: options.skipOwners !== true,
        xattrs: options.skipXattrs !== true,
        onProblem: ({ path, kind, message }) => failures.push({ path: pathText(path), kind, message }),
        ...given({ signal, onWarning, onProgress }),
      });
      return { entries, bytes, failures, leftOut };
    } finally {
      fetched.remove();
    }
  });
}

/**
 * Options of writing an archive.
 * @example
 * import { type TarOptions, tarImage } from '@cfs-images/cfs/extract';
 *
 * const options: TarOptions = { repositories: ['/srv/store'], paths: ['/etc'] };
 * let size = 0;
 * for await (const { length } of tarImage('/srv/rootfs.cfs', options)) size += length;
 * console.log(size);
 */
export interface TarOptions extends NetworkOptions {
  /** Repositories with the contents, searched in this order; URLs as in `ExtractOptions`. */
  readonly repositories?: readonly (string | Repository)[];
  /** Paths in the image: files, or directories with all that is in them; default: the whole image. */
  readonly paths?: readonly (string | Uint8Array)[];
  /** The number of threads that read ahead; 0 reads in the calling thread. Default: 1, or 2 with several processors. */
  readonly threads?: number;
  /** Checked before each piece. */
  readonly signal?: AbortSignal;
  /** Called with a line for people about each socket, which an archive cannot have, and about bad copies. */
  readonly onWarning?: (line: string) => void;
}

/**
 * The bytes of a tar archive of an image, or of parts of it, in the pax format: the same for the same image. Every
 * content is verified before a byte of it is returned.
 * @throws CfsError: `usage` if the image has no such path; `image`; `store` if no repository has a good copy of a
 *   content: the archive has no end then; `interrupted`
 * @example
 * import { createWriteStream } from 'node:fs';
 * import { Readable } from 'node:stream';
 * import { pipeline } from 'node:stream/promises';
 * import { tarImage } from '@cfs-images/cfs/extract';
 *
 * const archive = Readable.from(tarImage('/srv/rootfs.cfs', { repositories: ['/srv/store'] }));
 * await pipeline(archive, createWriteStream('/srv/rootfs.tar'));
 */
export async function* tarImage(
  image: Image | string,
  options: TarOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const { repositories = [], paths = ['/'], threads, signal, onWarning } = options;
  stopIfAborted(signal);
  const { path, id, tables } = opened(image);
  const wanted = paths.map((each) => pathInImage(tables, path, each));
  const fetched = await abortable(signal, () => fetchedRepositories({ id, tables }, wanted, repositories, options));
  try {
    const archive = tarOf(tables, {
      image: path,
      repositories: fetched.repositories,
      paths: wanted,
      threads: threads ?? Math.min(availableParallelism(), 2),
      warn: (line) => onWarning?.(line),
    });
    for await (const bytes of archive) {
      stopIfAborted(signal);
      // a copy, which slice() of a Buffer is not: the memory is used again
      yield Uint8Array.from(bytes);
    }
  } finally {
    fetched.remove();
  }
}

function opened(image: Image | string): {
  readonly path: string;
  readonly id: string;
  readonly tables: ManifestTables;
} {
  const open = typeof image === 'string' ? openImage(image) : image;
  return { path: open.path, id: open.id, tables: IMAGE_TABLES.get(open) as ManifestTables };
}

/** @throws CfsError (usage) */
function pathInImage(tables: ManifestTables, image: string, path: string | Uint8Array): Uint8Array {
  const bytes = typeof path === 'string' ? pathBytes(path) : path;
  const row = lookupPath(tables, bytes);
  if (row >= 0) {
    const names = Buffer.from(bytes)
      .toString('latin1')
      .split('/')
      .filter((name) => name !== '');
    return Buffer.from(`/${names.join('/')}`, 'latin1');
  }
  const shown = shownText(typeof path === 'string' ? path : pathText(path));
  throw new CfsError('usage', `Cannot extract ${shown} of image ${image}: there is no such path in it`);
}

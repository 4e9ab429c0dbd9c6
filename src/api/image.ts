/**
 * Reading images: their tree, and the contents of their files, without a mount.
 * @module
 */
import { toHex } from '../base/bytes.ts';
import type { HashAlgorithm } from '../base/digest.ts';
import { CfsError } from '../base/error.ts';
import { formatImageDigest } from '../base/image-digest.ts';
import { pathBytes, shownText } from '../base/path-text.ts';
import { ImageContents } from '../extract/image-contents.ts';
import { type ImageFile, imageVerityDigest, readImage } from '../image/image-file.ts';
import type { ImageSignature } from '../image/image-signature.ts';
import {
  direntName,
  direntRange,
  inlineOf,
  isDirectory,
  lookupPath,
  objectName,
  objectOf,
} from '../manifest/lookup.ts';
import { inodeCount, type ManifestTables, objectCount, u64 } from '../manifest/tables.ts';
import { readTrustedKeys } from '../sign/key-file.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import { localOf, pathGiven } from './arguments.ts';
import { ImageEntry } from './entry.ts';
import { IMAGE_TABLES } from './image-tables.ts';
import { isUrl } from './network.ts';
import type { Repository } from './repository.ts';

export type { FileType } from './entry.ts';
export { ImageEntry } from './entry.ts';

/**
 * Options of opening an image.
 * @example
 * import { type ImageOptions, openImage } from '@cfs-images/cfs/image';
 *
 * const options: ImageOptions = { repositories: ['/srv/store'] };
 * console.log(openImage('/srv/rootfs.cfs', options).readFile('/etc/hostname').toString());
 */
export interface ImageOptions {
  /**
   * Repositories with the contents, searched in this order. Needed to read files whose content is not in the image
   * itself.
   */
  readonly repositories?: readonly (string | Repository)[];
  /** Refuse any other image than the one with this id, or this fs-verity digest. */
  readonly digest?: string;
  /** Files of public keys in PEM: refuse an image that is signed by none of them. */
  readonly keys?: readonly string[];
}

/**
 * A part of a file.
 * @example
 * import { type FileRange, openImage } from '@cfs-images/cfs/image';
 *
 * const head: FileRange = { length: 16 };
 * const image = openImage('/srv/rootfs.cfs', { repositories: ['/srv/store'] });
 * console.log(image.readFile('/etc/hostname', head).length <= 16);
 */
export interface FileRange {
  /** The offset of the first byte; default: 0. */
  readonly offset?: number;
  /** The number of bytes, fewer if the file ends before; default: all that follow. */
  readonly length?: number;
}

/**
 * Reads and validates an image file. Synchronous: an image of a million files takes about a second.
 * @throws CfsError: `image` if there is none at `path`, it is malformed, or not the requested one; `store` if a
 *   repository cannot be used; `usage` if the digest or a key is invalid, or for a URL
 * @example
 * import { openImage } from '@cfs-images/cfs/image';
 *
 * const image = openImage('/srv/rootfs.cfs');
 * console.log(image.id, image.inodes);
 * for (const entry of image.walk('/etc')) console.log(entry.type, entry.path, entry.size);
 */
export function openImage(path: string, options: ImageOptions = {}): Image {
  const url = [path, ...(options.repositories ?? [])].find(isUrl);
  if (url !== undefined) {
    throw new CfsError('usage', `Cannot use ${url}: reading is synchronous, and waits for no server`, {
      hint: '`fetchImage` fetches an image; `extractImage`, `tarImage` and `mount` take URLs of repositories.',
    });
  }
  const keys = options.keys === undefined ? undefined : readTrustedKeys(options.keys);
  return new Image(path, readImage(pathGiven('image', path), options.digest, keys), options);
}

/**
 * An image in memory: its file may be deleted. Paths in it are absolute or relative to its root, as text or bytes;
 * symbolic links are not followed.
 * @example
 * import { type Image, openImage } from '@cfs-images/cfs/image';
 *
 * const describe = (image: Image): string => `${image.path}: ${image.inodes} inodes, ${image.objects} objects`;
 * console.log(describe(openImage('/srv/rootfs.cfs')));
 */
export class Image {
  /** The path as given to `openImage`. */
  readonly path: string;
  /** The BLAKE3 of the manifest, 64 hexadecimal digits. */
  readonly id: string;
  /** Size of the image file. */
  readonly bytes: number;
  /** The signature that was accepted; undefined if no keys were given. */
  readonly signature: ImageSignature | undefined;
  readonly #tables: ManifestTables;
  readonly #repositories: readonly LocalRepository[];
  #reader: ImageContents | undefined;

  /** Use `openImage`. */
  constructor(path: string, { id, bytes, tables, signature }: ImageFile, { repositories = [] }: ImageOptions) {
    this.path = path;
    this.id = id;
    this.bytes = bytes;
    this.signature = signature;
    this.#tables = tables;
    IMAGE_TABLES.set(this, tables);
    this.#repositories = repositories.map((repository) => localOf(repository, tables.header.hash));
  }

  /** The algorithm that names objects. */
  get hash(): HashAlgorithm {
    return this.#tables.header.hash;
  }

  /** The number of files, directories and so on; one with several names counts once. */
  get inodes(): number {
    return inodeCount(this.#tables);
  }

  /** The number of different contents that are stored in repositories. */
  get objects(): number {
    return objectCount(this.#tables);
  }

  /**
   * The fs-verity digest of the image file, as accepted by the option `digest`. Reads the file again, unless it is
   * sealed.
   */
  get verityDigest(): string {
    return formatImageDigest(imageVerityDigest(this.path));
  }

  /** The entry at `path`; undefined if there is none. */
  lookup(path: string | Uint8Array): ImageEntry | undefined {
    const bytes = bytesOf(path);
    const row = lookupPath(this.#tables, bytes);
    return row < 0 ? undefined : new ImageEntry(this.#tables, row, normalized(bytes));
  }

  /**
   * The entries of a directory, sorted by the bytes of their names. @throws CfsError (usage) if it is not a directory
   */
  *list(path: string | Uint8Array = '/'): Generator<ImageEntry, void, undefined> {
    const row = this.#rowOf(path, 'list');
    if (!isDirectory(this.#tables, row)) throw this.#cannot('list', path, 'it is not a directory');
    yield* this.#entriesOf(row, normalized(bytesOf(path)));
  }

  /**
   * `path` and everything below it, in path order; a file with several names appears at each of them. @throws CfsError
   * (usage)
   */
  *walk(path: string | Uint8Array = '/'): Generator<ImageEntry, void, undefined> {
    const start = normalized(bytesOf(path));
    const row = this.#rowOf(path, 'walk');
    yield new ImageEntry(this.#tables, row, start);
    if (!isDirectory(this.#tables, row)) return;
    const open = [this.#entriesOf(row, start)];
    for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
      const { done, value } = top.next();
      if (done === true) {
        open.pop();
        continue;
      }
      yield value;
      if (value.type !== 'directory') continue;
      open.push(this.#entriesOf(lookupPath(this.#tables, value.pathBytes), value.pathBytes));
    }
  }

  /**
   * The content of a file, or a part of it. Every 64 KiB block is checked against the image before a byte of it is
   * returned. If a copy is bad or missing, the next repository's is used. Synchronous.
   * @throws CfsError: `usage` if there is no file at `path`; `store` if no repository has a good copy
   */
  readFile(path: string | Uint8Array, { offset = 0, length = Number.POSITIVE_INFINITY }: FileRange = {}): Buffer {
    const row = this.#rowOf(path, 'read');
    for (const [name, value] of Object.entries({ offset, length })) {
      if (value >= 0 && (Number.isSafeInteger(value) || value === Number.POSITIVE_INFINITY)) continue;
      throw this.#cannot('read', path, `${name} must be a whole number from 0 up, not ${value}`);
    }
    const inline = inlineOf(this.#tables, row);
    if (inline !== undefined) return Buffer.from(inline.subarray(offset, offset + length));
    const index = objectOf(this.#tables, row);
    if (index < 0) throw this.#cannot('read', path, 'it is not a regular file');
    const size = u64(this.#tables.objects.size, index);
    const into = Buffer.alloc(Math.max(0, Math.min(length, size - offset)));
    const shown = shownText(typeof path === 'string' ? path : pathTextOf(path));
    this.#contents().read(row, offset, into, () => shown);
    return into;
  }

  /** The objects that are in none of the repositories: their digests, hexadecimal, and sizes. */
  *missing(): Generator<{ readonly digest: string; readonly size: number }, void, undefined> {
    for (let index = 0; index < objectCount(this.#tables); index++) {
      const { digest, size } = objectName(this.#tables, index);
      if (!this.#repositories.some((repository) => repository.size(digest) === size)) {
        yield { digest: toHex(digest), size: u64(this.#tables.objects.size, index) };
      }
    }
  }

  /** Closes the objects that reading keeps open, up to 256. Reading opens them again. */
  close(): void {
    this.#reader?.close();
  }

  *#entriesOf(row: number, path: Uint8Array): Generator<ImageEntry, void, undefined> {
    const [from, to] = direntRange(this.#tables, row);
    const prefix = path.length === 1 ? path : Buffer.concat([path, SLASH]);
    for (let dirent = from; dirent < to; dirent++) {
      const child = Buffer.concat([prefix, direntName(this.#tables, dirent)]);
      yield new ImageEntry(this.#tables, this.#tables.dirents.inode[dirent] as number, child);
    }
  }

  #contents(): ImageContents {
    const hint = this.#repositories.length === 0 ? 'Open the image with `repositories`.' : undefined;
    this.#reader ??= new ImageContents(this.#tables, this.path, this.#repositories, { hint });
    return this.#reader;
  }

  #rowOf(path: string | Uint8Array, action: string): number {
    const row = lookupPath(this.#tables, bytesOf(path));
    if (row < 0) throw this.#cannot(action, path, 'there is no such path in it');
    return row;
  }

  #cannot(action: string, path: string | Uint8Array, reason: string): CfsError {
    const shown = shownText(typeof path === 'string' ? path : pathTextOf(path));
    return new CfsError('usage', `Cannot ${action} ${shown} of image ${this.path}: ${reason}`);
  }
}

const SLASH = Uint8Array.of(0x2f);

const bytesOf = (path: string | Uint8Array): Uint8Array => (typeof path === 'string' ? pathBytes(path) : path);

const pathTextOf = (path: Uint8Array): string => Buffer.from(path).toString();

/** An absolute path with one slash between its names and none at its end. */
function normalized(path: Uint8Array): Uint8Array {
  const names = Buffer.from(path)
    .toString('latin1')
    .split('/')
    .filter((name) => name !== '');
  return Buffer.from(`/${names.join('/')}`, 'latin1');
}

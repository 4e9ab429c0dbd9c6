/**
 * Mirrors a remote repository: copies the files of its images that a target does not have, as they are, each verified.
 * In the order packs, map, image, name, so that readers never see a name whose image is incomplete.
 */
import { equalBytes } from '../base/bytes.ts';
import { blake3, digestContent, type HashAlgorithm } from '../base/digest.ts';
import { eachAtOnce } from '../base/each-at-once.ts';
import { CfsError } from '../base/error.ts';
import { decodeImage } from '../image/image-file.ts';
import { objectDigest, objectSizes } from '../manifest/lookup.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import { storedMap } from '../remote/image-map.ts';
import { ALONE, mapLimit, type ObjectMap } from '../remote/map-format.ts';
import { IMAGE_LIMIT } from '../remote/remote-files.ts';
import {
  decodeRef,
  encodeRef,
  imageName,
  mapName,
  objectFile,
  packName,
  REF_LIMIT,
  refName,
} from '../remote/tree-names.ts';
import { knownMap, packsGone } from './known-packs.ts';
import { checkTarget } from './push-images.ts';
import type { PushTarget } from './push-target.ts';
import { storedImage } from './stored-image.ts';
import type { FileCheck, TreeSource } from './tree-source.ts';
import { Uploads } from './uploads.ts';

export interface SyncOptions {
  /** Files that are copied at the same time. */
  readonly connections: number;
  readonly signal?: AbortSignal | undefined;
  /** Called for each file that was written, with all so far. */
  readonly onProgress?: ((done: { readonly files: number; readonly bytes: number }) => void) | undefined;
}

export interface Synced {
  readonly images: readonly { readonly source: string; readonly name: string; readonly id: string }[];
  /** Files that were written, and their bytes; and packs and files of objects that were there. */
  readonly files: number;
  readonly bytes: number;
  readonly existing: number;
}

/** Bytes of an object that is a file: it is in memory as a whole. */
const OBJECT_LIMIT = 2 ** 30;
/** Files of objects of more bytes than this are copied one after another. */
const LARGE = 16 << 20;

/**
 * Copies all names of the sources with their images.
 * @throws CfsError: `usage` if a name is in two sources; `image` if a source lacks it; `store` if a file is missing or
 *   damaged, or the target cannot be written; the reason of the signal
 */
export async function syncImages(
  sources: readonly TreeSource[],
  target: PushTarget,
  options: SyncOptions,
): Promise<Synced> {
  const all = sources.flatMap((source) => source.names.map((name) => ({ source, name })));
  const seen = new Map<string, TreeSource>();
  for (const { source, name } of all) {
    const other = seen.get(name);
    if (other !== undefined) {
      throw new CfsError('usage', `Cannot copy ${name} from ${source.text}: it comes from ${other.text}, too`);
    }
    seen.set(name, source);
  }
  const sync = new Sync(target, options);
  const images: Synced['images'][number][] = [];
  for (const { source, name } of all) images.push({ source: source.text, name, id: await sync.copy(source, name) });
  return { images, ...sync.statistics };
}

class Sync {
  readonly #target: PushTarget;
  readonly #options: SyncOptions;
  readonly #uploads: Uploads;
  #existing = 0;

  constructor(target: PushTarget, options: SyncOptions) {
    this.#target = target;
    this.#options = options;
    this.#uploads = new Uploads(target, options.connections, options.signal);
  }

  get statistics(): Omit<Synced, 'images'> {
    const { files, bytes } = this.#uploads.statistics;
    return { files, bytes, existing: this.#existing };
  }

  /** @returns the id of the image */
  async copy(source: TreeSource, name: string): Promise<string> {
    const { signal } = this.#options;
    const id = await this.#idOf(source, name);
    const stored = await source.file(
      imageName(id),
      IMAGE_LIMIT,
      (bytes) => wrongIn(() => storedImage(id, bytes)),
      signal,
    );
    if (stored === undefined) throw new CfsError('image', `There is no image ${source.text}@${id}`);
    const tables = decodeImage(`${source.text}@${id}`, storedImage(id, stored).parts);
    await checkTarget(this.#target, { path: `${source.text}#${name}`, tables }, this.#uploads, signal);
    await this.#copyContents(source, id, tables);
    // the id says nothing about the signature
    await this.#replace(imageName(id), stored, IMAGE_LIMIT, (there) =>
      equalBytes(there, stored) ? undefined : 'it is another one',
    );
    await this.#replace(refName(name), encodeRef({ image: id }), REF_LIMIT, (there) => {
      const wrong = wrongIn(() => decodeRef(there));
      return wrong ?? (decodeRef(there).image === id ? undefined : 'it names another image');
    });
    return id;
  }

  async #idOf(source: TreeSource, name: string): Promise<string> {
    const check: FileCheck = (bytes) => wrongIn(() => decodeRef(bytes));
    const ref = await source.file(refName(name), REF_LIMIT, check, this.#options.signal);
    if (ref === undefined) throw new CfsError('image', `${source.text} has no image named ${name}`);
    return decodeRef(ref).image;
  }

  /** Packs and files of objects, and then the map. */
  async #copyContents(source: TreeSource, id: string, tables: ManifestTables): Promise<void> {
    const { signal } = this.#options;
    const image = { hash: tables.header.hash, sizes: objectSizes(tables) };
    const check: FileCheck = (bytes) => wrongIn(() => storedMap(id, bytes, image));
    const stored = await source.file(mapName(id), mapLimit(image.sizes), check, signal);
    const map = stored && storedMap(id, stored, image);
    // packs that the target has are as good as files
    if (map === undefined && (await this.#hasPacks(id, tables))) return;
    await this.#copyPacks(source, map?.packs ?? []);
    await this.#copyObjects(source, tables, map);
    if (stored === undefined || map === undefined) return;
    // those that were there may have been deleted since
    const [gone] = await packsGone(this.#target, map, signal);
    if (gone !== undefined) {
      const name = packName((map.packs[gone] as ObjectMap['packs'][number]).digest);
      throw new CfsError('store', `Cannot copy to ${this.#target.text}: ${name} was deleted in the meantime`, {
        hint: 'The next run copies it.',
      });
    }
    // readers of another map still find its packs
    await this.#replace(mapName(id), stored, mapLimit(image.sizes), (there) =>
      equalBytes(there, stored) ? undefined : 'it is another one',
    );
  }

  async #hasPacks(id: string, tables: ManifestTables): Promise<boolean> {
    const { signal } = this.#options;
    const map = await knownMap(this.#target, { id, tables }, signal);
    if (map === undefined || map.frameOf.includes(ALONE) || (await packsGone(this.#target, map, signal)).size > 0) {
      return false;
    }
    this.#existing += map.packs.length;
    return true;
  }

  async #copyPacks(source: TreeSource, packs: ObjectMap['packs']): Promise<void> {
    await eachAtOnce(packs, this.#options.connections, async ({ digest, size }) => {
      const check: FileCheck = (bytes) =>
        bytes.length === size && equalBytes(blake3(bytes), digest) ? undefined : 'it is damaged';
      await this.#copyFile(source, packName(digest), size, check);
    });
  }

  /** The objects that no pack has. */
  async #copyObjects(source: TreeSource, tables: ManifestTables, map: ObjectMap | undefined): Promise<void> {
    const sizes = objectSizes(tables);
    const rows = [...sizes.keys()].filter((row) => map === undefined || map.frameOf[row] === ALONE);
    const isLarge = (row: number): boolean => (sizes[row] as number) > LARGE;
    const copy = async (row: number): Promise<void> => {
      const size = sizes[row] as number;
      const digest = objectDigest(tables, row);
      const name = objectFile(digest);
      if (size > OBJECT_LIMIT) {
        throw new CfsError('store', `Cannot copy ${name} of ${source.text}: a file of ${size} bytes is too large`, {
          hint: 'A push puts it into packs.',
        });
      }
      await this.#copyFile(source, name, size, (bytes) => wrongObject(tables.header.hash, bytes, digest));
    };
    const small = rows.filter((row) => !isLarge(row));
    await eachAtOnce(small, this.#options.connections, copy);
    await eachAtOnce(rows.filter(isLarge), 1, copy);
  }

  /** Copies a file that is named by its content, unless it is there. */
  async #copyFile(source: TreeSource, name: string, size: number, check: FileCheck): Promise<void> {
    const { signal } = this.#options;
    signal?.throwIfAborted();
    if (await this.#target.has(name, signal)) {
      this.#existing++;
      return;
    }
    const bytes = await source.file(name, size, check, signal);
    if (bytes === undefined) throw new CfsError('store', `Cannot copy ${name}: ${source.text} does not have it`);
    await this.#write(name, bytes);
  }

  /** Writes a file, unless a good one is there. */
  async #replace(name: string, bytes: Uint8Array, most: number, check: FileCheck): Promise<void> {
    const { signal } = this.#options;
    const there = (await this.#target.has(name, signal)) ? await this.#target.get(name, most, signal) : undefined;
    if (there === undefined || check(there) !== undefined) await this.#write(name, bytes);
  }

  async #write(name: string, bytes: Uint8Array): Promise<void> {
    await this.#uploads.write(name, bytes);
    const { files, bytes: written } = this.#uploads.statistics;
    this.#options.onProgress?.({ files, bytes: written });
  }
}

function wrongObject(hash: HashAlgorithm, bytes: Uint8Array, digest: Uint8Array): string | undefined {
  return equalBytes(digestContent(hash, bytes).digest, digest) ? undefined : 'its content is corrupted';
}

/** The message of a CfsError; undefined if there is none. */
function wrongIn(work: () => unknown): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    if (error instanceof CfsError) return error.message;
    throw error;
  }
}

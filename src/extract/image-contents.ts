/** The contents of an image's files, without a mount: every block is checked before a byte of it is returned. */
import { isErrno } from '../base/errno.ts';
import { CfsError } from '../base/error.ts';
import { blocksOf } from '../fs/image-blocks.ts';
import { inlineOf, objectName, objectOf } from '../manifest/lookup.ts';
import { type ManifestTables, objectCount } from '../manifest/tables.ts';
import type { BlockObjects } from '../objects/block-objects.ts';
import { allocateObjectState, saidOf } from '../objects/object-state.ts';
import type { Repository } from '../objects/repository.ts';

/** Optional parts of ImageContents. */
export interface ImageContentsOptions {
  /** Receives a line if the copy of a repository is bad, and the next repository's is used. */
  readonly warn?: (line: string) => void;
  /** The remedy if there is no good copy. */
  readonly hint?: string | undefined;
}

/** One per thread. Objects stay open, up to 256, until `close`. */
export class ImageContents {
  readonly #tables: ManifestTables;
  readonly #image: string;
  readonly #hint: string | undefined;
  readonly #reader: BlockObjects;
  readonly #said: Uint8Array;
  #problems: string[] = [];

  /**
   * @param image its name in messages
   * @param repositories searched in this order
   */
  constructor(
    tables: ManifestTables,
    image: string,
    repositories: readonly Repository[],
    { warn = () => undefined, hint }: ImageContentsOptions = {},
  ) {
    this.#tables = tables;
    this.#image = image;
    this.#hint = hint;
    const state = allocateObjectState(objectCount(tables));
    this.#said = saidOf(state);
    this.#reader = blocksOf(tables, repositories, state, (line, severity) => {
      if (severity === 'error') this.#problems.push(line);
      else warn(line);
    });
  }

  /**
   * Reads at `offset` into all of `into`, which must not reach beyond the end of the content.
   * @param row of a regular file
   * @param path returns a path of the file, for messages
   * @throws CfsError (store) if no repository has a good copy
   */
  read(row: number, offset: number, into: Uint8Array, path: () => string): void {
    if (into.length === 0) return;
    const inline = inlineOf(this.#tables, row);
    if (inline !== undefined) {
      into.set(inline.subarray(offset, offset + into.length));
      return;
    }
    const object = objectName(this.#tables, objectOf(this.#tables, row));
    // a problem is reported once per object, but each error needs its lines
    this.#said[object.index] = 0;
    this.#problems = [];
    if (!isErrno(this.#reader.read(object, offset, into, path))) return;
    throw new CfsError('store', `Cannot read a file of image ${this.#image}: ${this.#problems.join('; ')}`, {
      hint: this.#hint,
    });
  }

  /** Closes the objects that are kept open; reading opens them again. */
  close(): void {
    this.#reader.close();
  }
}

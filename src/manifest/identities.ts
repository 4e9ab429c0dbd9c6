/**
 * An image whose inodes have other identities in one mount: after a rebase, the kernel still knows them by those of
 * before (docs/writable.md, "Rebase"). The tables get the identities of the mount, so that everything that serves from
 * them uses these alone; only what is written to the disk has those of the image.
 */
import type { InodeIdentity } from '../base/handle-format.ts';
import { orderById } from './id-order.ts';
import { rowOfId } from './lookup.ts';
import { inodeCount, type ManifestTables, tablesFrom, u64 } from './tables.ts';

/** One inode. */
export interface OtherIdentity {
  /** In the image. */
  readonly image: InodeIdentity;
  /** In the mount. */
  readonly mount: InodeIdentity;
}

const TWO_TO_32 = 0x1_0000_0000;
/** Two words for each id, one for each generation. */
const WORDS = 6;

/** The bytes in which a later server finds them, in the byte order of the machine. */
export function encodeIdentities(identities: readonly OtherIdentity[]): Uint8Array {
  const words = new Uint32Array(identities.length * WORDS);
  identities.forEach(({ image, mount }, i) => {
    words.set([...wordsOf(image), ...wordsOf(mount)], i * WORDS);
  });
  return new Uint8Array(words.buffer);
}

const wordsOf = ({ id, generation }: InodeIdentity): readonly number[] => [
  id % TWO_TO_32,
  Math.floor(id / TWO_TO_32),
  generation,
];

/** The inverse. */
export function decodeIdentities(bytes: Uint8Array): OtherIdentity[] {
  // a copy: the bytes may be at an odd address
  const words = new Uint32Array(new Uint8Array(bytes).buffer, 0, Math.floor(bytes.length / 4));
  const identities: OtherIdentity[] = [];
  for (let at = 0; at + WORDS <= words.length; at += WORDS) {
    identities.push({ image: identityAt(words, at), mount: identityAt(words, at + WORDS / 2) });
  }
  return identities;
}

const identityAt = (words: Uint32Array, at: number): InodeIdentity => ({
  id: (words[at] as number) + (words[at + 1] as number) * TWO_TO_32,
  generation: words[at + 2] as number,
});

/**
 * The tables with other identities; the given ones stay as they are.
 * @param identities each inode at most once; those that are not in the image are left out
 * @throws RangeError if two inodes would have one id, or the root another one
 */
export function withIdentities(tables: ManifestTables, identities: readonly OtherIdentity[]): ManifestTables {
  const count = inodeCount(tables);
  const ids = new Float64Array(count);
  for (let row = 0; row < count; row++) ids[row] = u64(tables.inodes.id, row);
  const generations = tables.inodes.generation.slice();
  for (const { image, mount } of identities) {
    const row = rowOfId(tables, image.id);
    if (row < 0) continue;
    ids[row] = mount.id;
    generations[row] = mount.generation;
  }
  // rows are in the order of ids
  const order = orderById(ids);
  const rowOf = new Uint32Array(count);
  order.forEach((before, row) => {
    rowOf[before] = row;
    if (row > 0 && ids[before] === ids[order[row - 1] as number]) {
      throw new RangeError(`two inodes with the id ${ids[before]}`);
    }
  });
  if (order[0] !== 0) throw new RangeError('the root has the lowest id');
  const rows = (column: Uint32Array): Uint32Array => column.map((row) => rowOf[row] as number);
  return tablesFrom(tables.header, (table, name, type) => {
    const column = (tables[table] as Readonly<Record<string, Uint8Array | Uint32Array>>)[name] as Uint32Array;
    if (table === 'inodes') return inodeColumn(column, name, type === 'u64' || type === 'i64');
    const isOfRows = (table === 'directories' && name !== 'first') || (table === 'dirents' && name === 'inode');
    return isOfRows ? rows(column) : column;
  });

  function inodeColumn(column: Uint32Array, name: string, isLong: boolean): Uint32Array {
    const sorted = new Uint32Array(column.length);
    for (let row = 0; row < count; row++) {
      const before = order[row] as number;
      if (name === 'id') {
        sorted[row * 2] = (ids[before] as number) % TWO_TO_32;
        sorted[row * 2 + 1] = Math.floor((ids[before] as number) / TWO_TO_32);
      } else if (name === 'generation') sorted[row] = generations[before] as number;
      else if (isLong) {
        sorted[row * 2] = column[before * 2] as number;
        sorted[row * 2 + 1] = column[before * 2 + 1] as number;
      } else sorted[row] = column[before] as number;
    }
    return sorted;
  }
}

/** Translates identities between a mount and its image; those that are the same in both are not in it. */
export class Identities {
  readonly #ofMount = new Map<number, InodeIdentity>();
  readonly #ofImage = new Map<number, InodeIdentity>();

  constructor(identities: readonly OtherIdentity[] = []) {
    for (const { image, mount } of identities) {
      this.#ofMount.set(mount.id, image);
      this.#ofImage.set(image.id, mount);
    }
  }

  get isEmpty(): boolean {
    return this.#ofMount.size === 0;
  }

  /** The identity in the image of an inode of the mount. An inode that the image does not have keeps its own. */
  inImage(identity: InodeIdentity): InodeIdentity {
    return this.#ofMount.get(identity.id) ?? identity;
  }

  /** The identity in the mount of an inode of the image. */
  inMount(identity: InodeIdentity): InodeIdentity {
    return this.#ofImage.get(identity.id) ?? identity;
  }
}

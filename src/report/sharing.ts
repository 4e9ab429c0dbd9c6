/** The objects that registered images have in common. Reads the lists of objects in the repository. */
import { DIGEST_SIZE } from '../base/digest.ts';
import { type ManifestTables, objectCount, u64 } from '../manifest/tables.ts';
import { KeepListFile } from '../store/gc/object-list-file.ts';
import { registeredIds } from '../store/gc/roots.ts';
import { PREFIXES } from '../store/layout.ts';
import type { LocalRepository } from '../store/local-repository.ts';

/** The objects of an image, without the rest of its tables. */
export interface ImageObjects {
  /** 32 bytes each, ascending. */
  readonly digests: Uint8Array;
  readonly sizes: Float64Array;
}

/** A copy: the tables need not stay in memory. */
export function objectsOf(tables: ManifestTables): ImageObjects {
  const sizes = new Float64Array(objectCount(tables));
  for (let row = 0; row < sizes.length; row++) sizes[row] = u64(tables.objects.size, row);
  return { digests: Uint8Array.from(tables.objects.digest), sizes };
}

export interface Sharing {
  /** For each image 1 at the rows of objects that no other registered image needs. */
  readonly unique: readonly Uint8Array[];
  /** `bytes[a][b]`: of objects that both images need; `bytes[a][a]`: of all objects of the image. */
  readonly bytes: readonly Float64Array[];
}

/**
 * @param images by their ids; registered images that are not among them count, too, by their lists
 * @throws CfsError (store) if the repository cannot be read
 */
export function sharingOf(repository: LocalRepository, images: ReadonlyMap<string, ImageObjects>): Sharing {
  const known = [...images.values()];
  const unique = known.map(({ sizes }) => new Uint8Array(sizes.length));
  const bytes = known.map(() => new Float64Array(known.length));
  const others = otherLists(repository, images);
  try {
    const next = known.map(() => 0);
    for (let prefix = 0; prefix < PREFIXES; prefix++) {
      const needed = new Set<string>();
      for (const list of others) for (const digest of digestsIn(list.digests(prefix))) needed.add(digest);
      const rows = new Map<string, [image: number, row: number][]>();
      for (const [image, { digests, sizes }] of known.entries()) {
        let row = next[image] as number;
        for (; row < sizes.length && digests[row * DIGEST_SIZE] === prefix; row++) {
          const digest = textOf(digests, row);
          const found = rows.get(digest);
          if (found === undefined) rows.set(digest, [[image, row]]);
          else found.push([image, row]);
        }
        next[image] = row;
      }
      for (const [digest, users] of rows) {
        const [image, row] = users[0] as [number, number];
        const size = (known[image] as ImageObjects).sizes[row] as number;
        if (users.length === 1 && !needed.has(digest)) (unique[image] as Uint8Array)[row] = 1;
        for (const [a] of users) {
          const line = bytes[a] as Float64Array;
          for (const [b] of users) line[b] = (line[b] as number) + size;
        }
      }
    }
    return { unique, bytes };
  } finally {
    for (const list of others) list.close();
  }
}

/** Lists that cannot be read are left out: `repositoryUsage` reports them. */
function otherLists(repository: LocalRepository, images: ReadonlyMap<string, unknown>): KeepListFile[] {
  const lists: KeepListFile[] = [];
  repository.within('roots', (roots) => {
    for (const id of registeredIds(repository)) {
      if (images.has(id)) continue;
      try {
        lists.push(KeepListFile.open(roots, id, repository.hash));
      } catch {
        // what it needs is unknown
      }
    }
  });
  return lists;
}

const textOf = (digests: Uint8Array, row: number): string =>
  Buffer.from(digests.buffer, digests.byteOffset + row * DIGEST_SIZE, DIGEST_SIZE).toString('latin1');

function* digestsIn(list: Uint8Array): Generator<string> {
  for (let row = 0; row < list.length / DIGEST_SIZE; row++) yield textOf(list, row);
}

/** `cfs-info objects` and `cfs-info missing`. */
import { toHex } from '../../src/base/bytes.ts';
import { ENOENT, errnoName, isErrno } from '../../src/base/errno.ts';
import { CfsError } from '../../src/base/error.ts';
import { objectDigest, objectHex, objectOf } from '../../src/manifest/lookup.ts';
import { inodeCount, type ManifestTables, objectCount, u64 } from '../../src/manifest/tables.ts';
import type { Repository } from '../../src/objects/repository.ts';
import type { RemoteSource } from '../../src/transfer/remote-objects.ts';
import type { Output } from './output.ts';

/** Lists every object by digest: digest, size, and the number of inodes with this content. */
export function listObjects(tables: ManifestTables, json: boolean, out: Output): void {
  const inodes = inodesOfObjects(tables);
  for (let object = 0; object < objectCount(tables); object++) {
    const digest = objectHex(tables, object);
    const size = u64(tables.objects.size, object);
    if (json) out.jsonElement({ digest, size, inodes: inodes[object] });
    else out.text(`${digest} ${size} ${inodes[object]}\n`);
  }
  if (json) out.jsonEnd();
}

function inodesOfObjects(tables: ManifestTables): Uint32Array {
  const counts = new Uint32Array(objectCount(tables));
  for (let row = 0; row < inodeCount(tables); row++) {
    const object = objectOf(tables, row);
    if (object >= 0) counts[object] = (counts[object] as number) + 1;
  }
  return counts;
}

/** The result of `listMissing`. */
export interface Missing {
  readonly objects: number;
  readonly bytes: number;
}

/**
 * The rows of the objects that none of the repositories has. An object's file of another size is damaged and does not
 * count; contents are not read. Remote repositories are asked for what local ones lack.
 * @throws CfsError (store) if a repository cannot be searched
 */
export async function missingObjects(
  image: { readonly id: string; readonly tables: ManifestTables },
  repositories: readonly Repository[],
  remotes: readonly RemoteSource[],
  signal?: AbortSignal,
): Promise<number[]> {
  const { tables } = image;
  let rows: number[] = [];
  for (let object = 0; object < objectCount(tables); object++) {
    const digest = objectDigest(tables, object);
    const size = u64(tables.objects.size, object);
    if (!repositories.some((repository) => hasObject(repository, digest, size))) rows.push(object);
  }
  if (remotes.length === 0) return rows;
  const { objectsThere } = await import('../../src/transfer/fetch-missing.ts');
  for (const remote of remotes) {
    const there = await objectsThere(remote, image, rows, signal);
    rows = rows.filter((row) => !there.has(row));
  }
  return rows;
}

/** Lists objects by their rows: digest and size. */
export function listMissing(tables: ManifestTables, rows: readonly number[], json: boolean, out: Output): Missing {
  let bytes = 0;
  for (const object of rows) {
    const digest = objectHex(tables, object);
    const size = u64(tables.objects.size, object);
    bytes += size;
    if (json) out.jsonElement({ digest, size });
    else out.text(`${digest} ${size}\n`);
  }
  if (json) out.jsonEnd();
  return { objects: rows.length, bytes };
}

function hasObject(repository: Repository, digest: Uint8Array, size: number): boolean {
  const found = repository.size(digest);
  if (!isErrno(found)) return found === size;
  if (found === ENOENT) return false;
  throw new CfsError(
    'store',
    `Cannot look for object ${toHex(digest)} in repository ${repository.path}: ${errnoName(found)}`,
  );
}

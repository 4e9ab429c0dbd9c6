/** Composition: the data that the store needs to keep an image's objects. */
import { type ManifestTables, objectCount, u64 } from '../manifest/tables.ts';
import type { KeptImage } from '../store/gc/object-list-file.ts';

/** @returns `digests` is a view of the tables, not a copy */
export function keptImageOf(tables: ManifestTables, about: Pick<KeptImage, 'image' | 'path' | 'complete'>): KeptImage {
  let bytes = 0;
  for (let i = 0; i < objectCount(tables); i++) bytes += u64(tables.objects.size, i);
  return { ...about, hash: tables.header.hash, bytes, digests: tables.objects.digest };
}

/** Composition: the objects of an image, read block by block. */
import { DIGEST_SIZE } from '../base/digest.ts';
import type { Log } from '../base/log.ts';
import { blockHashIndex } from '../manifest/lookup.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import { type BlockHashes, BlockObjects } from '../objects/block-objects.ts';
import type { Elsewhere } from '../objects/content-source.ts';
import type { OutcomeCounter } from '../objects/copy-problems.ts';
import type { ObjectState } from '../objects/object-state.ts';
import type { Repository } from '../objects/repository.ts';

/**
 * The source that verifies each block as it is read, and nothing else.
 * @param log receives one line for each object that could not be served
 * @param count receives the outcome at each repository
 * @param elsewhere asked for objects that no repository has
 */
export const blocksOf = (
  tables: ManifestTables,
  repositories: readonly Repository[],
  state: ObjectState,
  log: Log,
  count?: OutcomeCounter,
  elsewhere?: Elsewhere,
): BlockObjects => new BlockObjects(repositories, blockHashesOf(tables), state, log, count, elsewhere);

/** The block hashes of each object; if it has none, its digest is the hash of its only block. */
function blockHashesOf(tables: ManifestTables): BlockHashes {
  const first = blockHashIndex(tables);
  const { blockHashes } = tables.objects;
  return ({ index, digest }) => {
    const from = (first[index] as number) * DIGEST_SIZE;
    const to = (first[index + 1] as number) * DIGEST_SIZE;
    return from === to ? digest : blockHashes.subarray(from, to);
  };
}

/** Composition: where the contents of a mount come from, as `verify=` asks. */
import { DIGEST_SIZE, type HashAlgorithm } from '../base/digest.ts';
import type { Log } from '../base/log.ts';
import { blockHashIndex } from '../manifest/lookup.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import { type BlockHashes, BlockReader } from '../objects/block-objects.ts';
import type { OutcomeCounter } from '../objects/copy-problems.ts';
import type { ObjectName, Repository, VerifyMode, WholeMode } from '../objects/repository.ts';
import { type ObjectState, ObjectStore } from '../objects/whole-objects.ts';

/** `Contents` of a mount; no opener where all is verified block by block. */
export type StoredContents =
  | { readonly opener: ObjectStore; readonly reader: BlockReader }
  | { readonly opener?: undefined; readonly reader: BlockReader };

/**
 * @param log receives one line for each object that could not be served
 * @param count is told what became of asking each repository
 */
export function contentsOf(
  tables: ManifestTables,
  repositories: readonly Repository[],
  verify: VerifyMode,
  state: ObjectState,
  log: Log,
  count?: OutcomeCounter,
): StoredContents {
  const reader = new BlockReader(repositories, blockHashesOf(tables), state, log, count);
  if (verify === 'read') return { reader };
  const adopt = (object: ObjectName, fd: number): void => reader.adopt(object, fd);
  const options = { adopt, ...(count === undefined ? {} : { count }) };
  return { opener: new ObjectStore(repositories, wholeMode(verify, tables.header.hash), state, log, options), reader };
}

/** How an image's objects are verified as a whole: fs-verity knows nothing of those named by BLAKE3, so nobody asks it. */
export function wholeMode(verify: WholeMode, hash: HashAlgorithm): WholeMode {
  return verify === 'auto' && hash !== 'fsverity-sha256' ? 'open' : verify;
}

/** The block hashes of each object; where it has none, its digest is the hash of its only block. */
function blockHashesOf(tables: ManifestTables): BlockHashes {
  const first = blockHashIndex(tables);
  const { blockHashes } = tables.objects;
  return ({ index, digest }) => {
    const from = (first[index] as number) * DIGEST_SIZE;
    const to = (first[index + 1] as number) * DIGEST_SIZE;
    return from === to ? digest : blockHashes.subarray(from, to);
  };
}

/** Composition: the content source of a mount, as requested by `verify=`. */
import type { HashAlgorithm } from '../base/digest.ts';
import type { Log } from '../base/log.ts';
import { blocksOf } from '../fs/image-blocks.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import type { ContentSource, Elsewhere } from '../objects/content-source.ts';
import type { OutcomeCounter } from '../objects/copy-problems.ts';
import type { ObjectState } from '../objects/object-state.ts';
import type { Repository, VerifyMode, WholeMode } from '../objects/repository.ts';
import { WholeObjects } from '../objects/whole-objects.ts';

/**
 * @param log receives one line for each object that could not be served
 * @param count receives the outcome at each repository
 * @param elsewhere asked for objects that no repository has
 */
export function contentsOf(
  tables: ManifestTables,
  repositories: readonly Repository[],
  verify: VerifyMode,
  state: ObjectState,
  log: Log,
  count?: OutcomeCounter,
  elsewhere?: Elsewhere,
): ContentSource {
  const blocks = blocksOf(tables, repositories, state, log, count, elsewhere);
  if (isOpenless(verify)) return blocks;
  const options = { blocks, elsewhere, ...(count === undefined ? {} : { count }) };
  return new WholeObjects(repositories, wholeMode(verify, tables.header.hash), state, log, options);
}

/** Whether the content source is `openless`: every block is verified as it is read. */
export const isOpenless = (verify: VerifyMode): verify is 'read' => verify === 'read';

/**
 * How an image's objects are verified as a whole: objects named by BLAKE3 are unknown to fs-verity, so their seals are
 * not checked.
 */
export function wholeMode(verify: WholeMode, hash: HashAlgorithm): WholeMode {
  return verify === 'auto' && hash !== 'fsverity-sha256' ? 'open' : verify;
}

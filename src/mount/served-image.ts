/** What the threads of a mount know of it. */
import type { View } from '../fs/image-filesystem.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import type { MountRecord } from '../mount-info/mount-record.ts';
import type { ObjectState } from '../objects/object-state.ts';
import type { VerifyMode } from '../objects/repository.ts';
import { LocalRepository } from '../store/local-repository.ts';
import type { CounterMemory } from './counters.ts';
import type { MountSource } from './mount-sources.ts';

/** What all threads of a mount are told of it; plain data but for shared memory. */
export interface ServedImage {
  readonly record: MountRecord;
  /** The image, then the repositories in the order in which they are asked. */
  readonly sources: readonly MountSource[];
  readonly verify: VerifyMode;
  readonly view: View;
  readonly objectState: ObjectState;
  readonly counters: CounterMemory;
  /** How many servers the mount had before this one. */
  readonly restarts: number;
  /** Every request is logged. */
  readonly debug: boolean;
  /** ProblemMemory */
  readonly problems: SharedArrayBuffer;
  /** Whether others than root and who mounted may use the mount. */
  readonly isForOthers: boolean;
}

/** The repositories of a mount, without a look at their meta.json, which was read when the mount was made. */
export function repositoriesOf({ sources }: ServedImage, tables: ManifestTables): LocalRepository[] {
  const { hash } = tables.header;
  return sources.slice(1).map(({ path, id, fd }) => new LocalRepository(path, { hash, uuid: id }, fd));
}

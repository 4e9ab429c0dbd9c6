/** Composition: the file system that a mount serves. Each thread has its own, over the same tables and states. */

import type { CounterMemory, Counters } from '../base/counters.ts';
import type { Log } from '../base/log.ts';
import { ImageFilesystem, type View } from '../fs/image-filesystem.ts';
import { MountIdentity } from '../fs/mount-identity.ts';
import type { ReadingEvents } from '../fs/reading-events.ts';
import { Topology, type Verification } from '../fs/topology.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import type { MountRecord } from '../records/mount-record.ts';
import type { SourceRecord } from '../records/source-record.ts';
import { LocalRepository } from '../store/local.ts';
import type { ObjectState, ObjectStore, VerifyMode } from '../store/object-store.ts';
import { contentsOf } from './contents.ts';
import { describeSource, type MountSource, verifyModeOf } from './mount-sources.ts';
import { statisticsOf } from './mount-statistics.ts';
import { ProblemMemory } from './problem-memory.ts';

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

/**
 * @param counters those of the thread that it is for
 * @param tell is told what readers do
 */
export function servedFilesystem(
  served: ServedImage,
  tables: ManifestTables,
  log: Log,
  counters: Counters,
  tell?: ReadingEvents['tell'],
): ImageFilesystem {
  const { verify, objectState, sources, record } = served;
  const repositories = repositoriesOf(served, tables);
  const contents = contentsOf(tables, repositories, verify, objectState, log, (repository, outcome) =>
    counters.repository(repositories.indexOf(repository as LocalRepository), outcome),
  );
  const memory = new ProblemMemory(served.problems);
  const topology = new Topology(tables, repositories, verificationOf(contents.opener, served), ({ index }) => {
    const { time, copies = [] } = memory.lastAbout(index) ?? {};
    return time === undefined ? undefined : { time, copies };
  });
  const source = (index: number): SourceRecord => describeSource(sources, index);
  const statistics = (): string => JSON.stringify(statisticsOf(served));
  const problems = (isRoot: boolean): string | undefined => (isRoot || !served.isForOthers ? memory.json() : undefined);
  const identity = new MountIdentity(tables, topology, { record, source, statistics, problems });
  return new ImageFilesystem(tables, contents, tell, identity, served.view);
}

function verificationOf(opener: ObjectStore | undefined, { verify, sources }: ServedImage): Verification {
  if (verify === 'off' || opener === undefined) return { mode: verify === 'read' ? 'read' : 'off' };
  return {
    mode: 'whole',
    proofOf: (object, status) => opener.proofOf(object, status),
    isReadByBlocks: (repository) => verifyModeOf(sources[1 + repository] as MountSource, verify) === 'read',
  };
}

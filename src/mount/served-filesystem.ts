/** Composition: the file system that a mount serves. Each thread has its own, over the same tables and states. */

import type { Log } from '../base/log.ts';
import { ImageFilesystem } from '../fs/image-filesystem.ts';
import type { ReadingEvents } from '../fs/reading-events.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import type { SourceRecord } from '../mount-info/source-record.ts';
import type { ContentSource, Elsewhere } from '../objects/content-source.ts';
import type { OutcomeCounter } from '../objects/copy-problems.ts';
import type { Repository } from '../objects/repository.ts';
import { contentsOf } from './contents.ts';
import type { Counters } from './counters.ts';
import { MountIdentity } from './mount-identity.ts';
import { describeSource, type MountSource, verifyModeOf } from './mount-sources.ts';
import { activityOf, statisticsOf } from './mount-statistics.ts';
import { remoteKnowledge } from './object-origins.ts';
import { ProblemMemory } from './problem-memory.ts';
import { repositoriesOf, type ServedImage } from './served-image.ts';
import { type Refusals, type RemoteKnower, Topology, type Verification } from './topology.ts';

/**
 * @param counters those of its thread
 * @param tell notified of reads
 * @param pathOf one path of an inode, if the image alone does not have it
 * @param elsewhere asked for objects that no repository has
 */
export function servedFilesystem(
  served: ServedImage,
  tables: ManifestTables,
  log: Log,
  counters: Counters,
  tell?: ReadingEvents['tell'],
  pathOf?: (ino: number) => string | undefined,
  elsewhere?: Elsewhere,
): ImageFilesystem {
  const { verify, objectState, sources, record } = served;
  const repositories: readonly Repository[] = repositoriesOf(served, tables);
  const count: OutcomeCounter = (repository, outcome) => counters.repository(repositories.indexOf(repository), outcome);
  const contents = contentsOf(tables, repositories, verify, objectState, log, count, elsewhere);
  const memory = new ProblemMemory(served.problems);
  const refusals: Refusals = ({ index }) => {
    const { time, copies = [] } = memory.lastAbout(index) ?? {};
    return time === undefined ? undefined : { time, copies };
  };
  const { remote } = served;
  // the cache is the last repository
  const knower: RemoteKnower = ({ index }) => remote && remoteKnowledge(remote, repositories.length, index);
  const topology = new Topology(tables, repositories, verificationOf(contents, served), refusals, knower);
  const allSources = [...sources, ...served.layerSources];
  const source = (index: number): SourceRecord => describeSource(allSources, index);
  const statistics = (): string => JSON.stringify(statisticsOf(served));
  const mayKnowPaths = (isRoot: boolean): boolean => isRoot || !served.isForOthers;
  const problems = (isRoot: boolean): string | undefined => (mayKnowPaths(isRoot) ? memory.json() : undefined);
  const shownPath = pathOf ?? remembering((ino) => fs.pathOf(ino));
  const activity = (isRoot: boolean): string =>
    JSON.stringify(activityOf(served, tables, mayKnowPaths(isRoot) ? shownPath : () => undefined));
  const upperSource = served.layerSources.length === 0 ? undefined : sources.length;
  const parts = { record, source, statistics, activity, problems, upperSource };
  const identity = new MountIdentity(tables, topology, parts);
  const fs = new ImageFilesystem(tables, contents, tell, identity, served.view);
  return fs;
}

const MOST_PATHS = 256;

/** In an image the path of an inode stays the same, and costs a scan of all names. */
function remembering(pathOf: (ino: number) => string | undefined): (ino: number) => string | undefined {
  const known = new Map<number, string | undefined>();
  return (ino) => {
    if (!known.has(ino)) {
      if (known.size >= MOST_PATHS) known.clear();
      known.set(ino, pathOf(ino));
    }
    return known.get(ino);
  };
}

/** Objects as whole files, verified, whatever the mount verifies: for copying them. */
export function originalsOf(served: ServedImage, tables: ManifestTables, log: Log, counters: Counters): ContentSource {
  const repositories: readonly Repository[] = repositoriesOf(served, tables);
  return contentsOf(tables, repositories, 'open', served.objectState, log, (repository, outcome) =>
    counters.repository(repositories.indexOf(repository), outcome),
  );
}

function verificationOf(contents: ContentSource, { verify, sources }: ServedImage): Verification {
  if (verify === 'off' || contents.openless) return { mode: verify === 'read' ? 'read' : 'off' };
  return {
    mode: 'whole',
    proofOf: (object, status) => contents.proofOf(object, status),
    isReadByBlocks: (repository) => verifyModeOf(sources[1 + repository] as MountSource, verify) === 'read',
  };
}

/** Composition: the file system that a mount serves. Each thread has its own, over the same tables and states. */
import { contentsOf } from './contents.ts';
import { type Contents, ImageFilesystem } from './fs/image-filesystem.ts';
import { MountIdentity } from './fs/mount-identity.ts';
import type { ReadingEvents } from './fs/reading-events.ts';
import { Topology, type Verification } from './fs/topology.ts';
import type { ManifestTables } from './manifest/tables.ts';
import type { MountRecord } from './mount-record.ts';
import { describeSource, type MountSource } from './mount-sources.ts';
import type { SourceRecord } from './source-record.ts';
import { LocalRepository } from './store/local.ts';
import type { ObjectState, VerifyMode } from './store/object-store.ts';

/** What all threads of a mount are told of it; plain data but for shared memory. */
export interface ServedImage {
  readonly record: MountRecord;
  /** The image, then the repositories in the order in which they are asked. */
  readonly sources: readonly MountSource[];
  readonly verify: VerifyMode;
  readonly objectState: ObjectState;
}

/** The repositories of a mount, without a look at their meta.json, which was read when the mount was made. */
export function repositoriesOf({ sources }: ServedImage, tables: ManifestTables): LocalRepository[] {
  const { hash } = tables.header;
  return sources.slice(1).map(({ path, id, fd }) => new LocalRepository(path, { hash, uuid: id }, fd));
}

/** @param tell is told what readers do */
export function servedFilesystem(
  served: ServedImage,
  tables: ManifestTables,
  log: (line: string) => void,
  tell?: ReadingEvents['tell'],
): ImageFilesystem {
  const { verify, objectState, sources, record } = served;
  const repositories = repositoriesOf(served, tables);
  const contents = contentsOf(tables, repositories, verify, objectState, log);
  const topology = new Topology(tables, repositories, verificationOf(contents, verify));
  const source = (index: number): SourceRecord => describeSource(sources, index);
  const identity = new MountIdentity(tables, topology, { record, source });
  return new ImageFilesystem(tables, contents, tell, identity);
}

function verificationOf(contents: Contents, verify: VerifyMode): Verification {
  if (verify !== 'open' || !('opener' in contents)) return { mode: verify === 'read' ? 'read' : 'off' };
  const { opener } = contents;
  return { mode: 'open', isVerified: (object, status) => opener.isVerified(object, status) };
}

/**
 * The decision of a rebase: whether the new image can take the place of the old one, and the step that puts it there.
 * Until that step the mount is as before.
 */
import { randomUUID } from 'node:crypto';
import { printable } from '../base/bytes.ts';
import { type Errno, isErrno } from '../base/errno.ts';
import { CfsError } from '../base/error.ts';
import type { Log } from '../base/log.ts';
import { BackingJournal } from '../fuse/backing-journal.ts';
import { DeviceBackingRegistry, isKnownInode } from '../fuse/device.ts';
import { openImage, readOpenImage } from '../image/image-file.ts';
import { keptImageOf } from '../image/objects-needed.ts';
import { allocateLayerState } from '../layered/layer-state.ts';
import { type HasContent, type Plan, RebasedLayer } from '../layered/rebase/rebase-layer.ts';
import type { Refusal } from '../layered/rebase/rows.ts';
import {
  decodeIdentities,
  encodeIdentities,
  Identities,
  type OtherIdentity,
  withIdentities,
} from '../manifest/identities.ts';
import { objectName, objectOf } from '../manifest/lookup.ts';
import { type ManifestTables, objectCount, u64 } from '../manifest/tables.ts';
import { LocalRepository } from '../store/local-repository.ts';
import { COPY_NAME } from '../survival/image-keeper.ts';
import { closeFd } from '../system/descriptors.ts';
import { writeAll } from '../system/file-content-calls.ts';
import { takeFileLease } from '../system/file-lease.ts';
import { errnoText } from '../system/libc.ts';
import { isSealedMemfd, memfdCreate } from '../system/memfd.ts';
import { closeUpper, type PreparedUpper, reopenUpper } from '../upper/prepare-upper.ts';
import { type RebasePlan, requireRoom, writePlan } from '../upper/rebase-plan.ts';
import { makeNextTable, resumeTable } from '../upper/table-file.ts';
import { Counters } from './counters.ts';
import { MountLeases } from './mount-leases.ts';
import { closeSource, imageSource, type MountSource, repositorySource } from './mount-sources.ts';
import type { MountSettings } from './options.ts';
import { type ParkedLayer, type ParkedMount, replaceParkedMount } from './parked-mount.ts';
import { openRepositories, remembering, servedOf } from './prepare.ts';
import type { RebaseRequest } from './rebase-request.ts';
import { originalsOf, servedFilesystem } from './served-filesystem.ts';
import type { LeftMount } from './session.ts';
import { keyOf, readIdentities } from './upper-layer.ts';
import type { UpperOptions } from './upper-options.ts';

const MOST_SHOWN = 10;
const TWO_TO_32 = 0x1_0000_0000;

/** Closes the directories that `reopenUpper` has opened, and not those that it was given. */
export const closeReopened = (opened: PreparedUpper): void =>
  closeUpper({ ...opened, upper: -1, base: -1, lock: -1, mark: -1 });

/** Descriptors of this process that the next server gets with the parked mount. */
class Opened {
  readonly #closers: (() => void)[] = [];

  add(fd: number): number {
    this.#closers.push(() => closeFd(fd));
    return fd;
  }

  addSource(source: MountSource): MountSource {
    this.#closers.push(() => closeSource(source));
    return source;
  }

  close(): void {
    for (const close of this.#closers.reverse()) close();
  }
}

/**
 * Plans, and replaces the parked mount.
 * @param cfs W/cfs, an open directory, which gets the plan
 * @returns the number of files that stay in the upper layer
 * @throws CfsError, or any other error: the mount is as before
 */
export async function decideRebase<Settings extends MountSettings>(
  { ends, mount }: LeftMount<Settings>,
  layer: ParkedLayer,
  request: RebaseRequest,
  cfs: number,
  log: Log,
): Promise<number> {
  const { settings } = mount;
  const options = settings.upper as UpperOptions;
  if (!options.index) throw refused('a mount with index=off cannot be rebased');
  const opened = new Opened();
  let upper: PreparedUpper | undefined;
  let leases: MountLeases | undefined;
  let isDecided = false;
  try {
    const fd = openImage(request.image);
    const image = opened.addSource(imageSource(request.given, request.id, fd));
    const { tables: own, id } = readOpenImage(fd, request.image, request.id, settings.trustedKeys);
    const sources = [image, ...repositorySources(mount, own, opened)];
    const repositories = sources
      .slice(1)
      .map((source) => new LocalRepository(source.path, { hash: own.header.hash, uuid: source.id }, source.fd));
    upper = reopenUpper(layer, layer.features, options.index);
    const old = oldLayer(mount, layer, upper, log);
    const plan = old.layer.plan(own, contentsOf(request));
    if (!('root' in plan)) throw refusal(plan);
    requireContents(own, plan, repositories);
    const identities = identitiesOf(own, plan);
    const tables = withIdentities(own, identities);
    old.closeDropped(plan);
    const file = required(makeNextTable(upper.work, keyOf(layer.upper, id, options.index)), 'the table of identities');
    const table = opened.add(file.fd);
    if (!old.layer.fill(file.table, tables, plan)) throw refused('there is no room for the table of identities');
    const memory = opened.add(inMemory('cfs-identities', encodeIdentities(identities)));
    const copy = opened.add(inMemory(COPY_NAME, new Uint8Array(0)));
    // the signal would end this process; the server looks whether a process waits
    process.on('SIGIO', () => undefined);
    takeFileLease(fd);
    leases = await MountLeases.take(repositories, id, log);
    await leases.write(keptImageOf(own, { image: id, path: request.image, complete: false }));
    const name = randomUUID();
    const next: RebasePlan = { version: 1, name, image: id, path: request.image, root: plan.root, index: plan.index };
    writePlan(cfs, next);
    requireRoom(upper.work, plan.root);
    replaceParkedMount(ends, {
      ...mount,
      settings: settingsOf(settings, request),
      sources,
      imageCopy: copy,
      leases: leases.parked,
      layer: { ...layer, table, identities: memory, plan: name },
    });
    isDecided = true;
    return plan.files;
  } finally {
    if (!isDecided) leases?.end();
    else for (const lease of leases?.parked ?? []) closeFd(lease.fd);
    if (upper !== undefined) closeReopened(upper);
    opened.close();
  }
}

/** The settings with the other image, which a later server, or another mount from its list, uses. */
function settingsOf<Settings extends MountSettings>(settings: Settings, { image, given, id }: RebaseRequest): Settings {
  const repositories = settings.given?.repositories ?? settings.repositories;
  return {
    ...settings,
    image,
    given: { image: given, repositories },
    ...(settings.digest === undefined ? {} : { digest: id }),
  };
}

/** The repositories of the mount; a mount of an image without objects has none open. */
function repositorySources(
  { sources, settings }: ParkedMount<MountSettings>,
  own: ManifestTables,
  opened: Opened,
): readonly MountSource[] {
  if (sources.length > 1 || objectCount(own) === 0) return sources.slice(1);
  return openRepositories({ ...settings, log: () => undefined }, own).map(({ path, uuid }, i) =>
    opened.addSource(repositorySource(settings.given?.repositories[i] ?? path, path, uuid)),
  );
}

interface OldLayer {
  readonly layer: RebasedLayer;
  closeDropped(plan: Plan): void;
}

/** The layer as it is, over the old image. */
function oldLayer(
  mount: ParkedMount<MountSettings>,
  { identities: encoded, table }: ParkedLayer,
  upper: PreparedUpper,
  log: Log,
): OldLayer {
  const { connection, sources, settings, imageCopy = -1 } = mount;
  const [image] = sources as [MountSource];
  const isCopied = imageCopy >= 0 && isSealedMemfd(imageCopy);
  const { tables: own } = readOpenImage(isCopied ? imageCopy : image.fd, settings.image, image.id);
  const others = encoded === undefined ? [] : decodeIdentities(readIdentities(encoded));
  const tables = others.length === 0 ? own : withIdentities(own, others);
  const { options, problems } = remembering({ ...settings, log });
  const served = servedOf(options, connection.mountpoint, tables, sources, 0, problems);
  const counters = new Counters(served.counters, 0);
  const file = required(resumeTable(table), 'the table of identities');
  if (file.salvaged !== undefined) throw refused('the table of identities was damaged', 'Try it again.');
  const { work, index, orphans, claims } = upper;
  const { userxattr, volatile, readOnly, redirectDir, metacopy, index: hasIndex } = settings.upper as UpperOptions;
  const layer = new RebasedLayer({
    image: servedFilesystem(served, tables, options.log, counters),
    tables,
    identities: new Identities(others),
    directories: { upper: upper.upper, work, index, orphans, claims },
    settings: { userxattr, volatile, readOnly, redirectDir, metacopy, index: hasIndex },
    table: file.table,
    state: allocateLayerState(),
    originals: originalsOf(served, tables, options.log, counters),
    log: (line) => log(line),
    isKnown: (ino) => isKnownInode(connection.fd, ino),
  });
  const registry = new DeviceBackingRegistry(connection.fd);
  const journal = connection.journal < 0 ? undefined : new BackingJournal(connection.journal);
  return {
    layer,
    closeDropped: (plan) =>
      layer.closeDropped(
        plan,
        (row, ino) => journal?.write(row, ino, 0),
        (backing) => registry.close(backing),
      ),
  };
}

/** Contents that the process that asks has compared, in the state in which they were then. */
function contentsOf({ contents }: RebaseRequest): HasContent {
  const states = new Map(contents.map(([inode, ...state]) => [inode, state.join(' ')]));
  return ({ inoLow, inoHigh, size, ctimeLow, ctimeHigh, ctimeNsec }) =>
    states.get((inoLow >>> 0) + (inoHigh >>> 0) * TWO_TO_32) ===
    [size, (ctimeLow >>> 0) + (ctimeHigh | 0) * TWO_TO_32, ctimeNsec].join(' ');
}

/** What the upper layer had and the mount is to read from a repository is there. */
function requireContents(own: ManifestTables, { contents }: Plan, repositories: readonly LocalRepository[]): void {
  let missing = 0;
  for (const row of contents) {
    const object = objectOf(own, row);
    if (object < 0) continue;
    const { digest, size } = objectName(own, object);
    if (!repositories.some((repository) => repository.size(digest) === size)) missing++;
  }
  if (missing === 0) return;
  const where = repositories.map(({ path }) => path).join(', ');
  throw refused(
    `${missing} of its new objects are in no repository of the mount${where === '' ? '' : `: ${where}`}`,
    'Copy them there, or make the image with a repository of the mount.',
  );
}

function identitiesOf({ inodes: { id, generation } }: ManifestTables, { identities }: Plan): OtherIdentity[] {
  return [...identities].map(([row, mount]) => ({
    image: { id: u64(id, row), generation: generation[row] as number },
    mount,
  }));
}

function inMemory(name: string, bytes: Uint8Array): number {
  const fd = required(memfdCreate(name), 'a file in memory');
  required(writeAll(fd, bytes, 0), 'a file in memory');
  return fd;
}

function refusal(reasons: readonly Refusal[]): CfsError {
  const shown = reasons.slice(0, MOST_SHOWN).map(({ path, why }) => `${printable(path)}: ${why}`);
  const more = reasons.length > MOST_SHOWN ? '; …' : '';
  return refused(
    `it does not have what the mount has. ${shown.join('; ')}${more}`,
    'Make another image of the mount, and rebase on that.',
  );
}

const refused = (why: string, hint?: string): CfsError => new CfsError('mount', why, { hint });

function required<T>(result: T | Errno, what: string): T {
  if (isErrno(result as number)) throw refused(`cannot make ${what}: ${errnoText(result as Errno)}`);
  return result as T;
}

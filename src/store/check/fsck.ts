/** Checks a whole repository, and repairs what can be repaired. */
import { fromHex, toHex } from '../../base/bytes.ts';
import { DIGEST_SIZE } from '../../base/digest.ts';
import { ELOOP, ENOENT, ENOTDIR, errnoOf } from '../../base/errno.ts';
import { CfsError, reasonOf } from '../../base/error.ts';
import { systemError } from '../../system/libc.ts';
import { mergeDigests } from '../gc/digest-merge.ts';
import { type KeptDigests, KeptInMemory } from '../gc/live-set.ts';
import { listRoots, openRootIfThere, type Root } from '../gc/roots.ts';
import { rememberRun } from '../last-runs.ts';
import { PREFIXES, prefixName } from '../layout.ts';
import type { LocalRepository } from '../local-repository.ts';
import { listQuarantine } from '../quarantine.ts';
import { isDirectory as isDirectoryStat, isRegular, linkText, type StoreDirectory } from '../store-directory.ts';
import { distrust } from '../trust.ts';
import { checkOne, type Damage, type Oddity } from './check-directory.ts';
import { type CheckProgress, checkAll } from './check-pool.ts';
import { mendMode, type Repaired, repairAll } from './repair.ts';

export type { CheckProgress } from './check-pool.ts';

export interface FsckOptions {
  /** Repositories that may have good copies, in search order. */
  readonly sources: readonly LocalRepository[];
  readonly threads: number;
  /** Only check, change nothing. */
  readonly dryRun: boolean;
  readonly signal?: AbortSignal;
  /** Receives a line for people if another program keeps the repository locked for long. */
  readonly onWait?: (line: string) => void;
  readonly onProgress?: (progress: CheckProgress) => void;
}

export interface FsckResult {
  /** Objects that were checked, and their bytes. */
  readonly objects: number;
  readonly bytes: number;
  readonly damaged: readonly Repaired[];
  /** Registered images. Those that had all their objects when they were registered must have them now. */
  readonly roots: number;
  /** Malformed roots: nothing can be deleted as long as they exist. */
  readonly badRoots: readonly { readonly image: string; readonly problem: string }[];
  readonly oddities: readonly Oddity[];
  /** Files in tmp/: of active writers, or of killed ones. */
  readonly temporaries: number;
  /** Damaged files that were moved away, now and earlier. */
  readonly quarantined: number;
}

/**
 * Checks every object's shape, place and content, and that registered images have theirs; moves bad ones to quarantine,
 * and fetches good ones. Takes a lock only for repairs: files that are deleted during the check are skipped.
 * @throws CfsError (store) if the repository cannot be read
 */
export async function checkRepository(repository: LocalRepository, options: FsckOptions): Promise<FsckResult> {
  const started = performance.now();
  try {
    const result = await check(repository, options);
    if (!options.dryRun) rememberCheck(repository, result, performance.now() - started);
    return result;
  } catch (error) {
    if (error instanceof CfsError || errnoOf(error) === undefined) throw error;
    throw new CfsError('store', `Cannot check repository ${repository.path}: ${reasonOf(error)}`, { cause: error });
  }
}

/**
 * Records the result, for reports: again, if more was repaired after `checkRepository`.
 * @param ms how long it took
 */
export function rememberCheck(
  repository: LocalRepository,
  result: Pick<FsckResult, 'objects' | 'bytes' | 'damaged' | 'badRoots'>,
  ms: number,
): void {
  const { objects, bytes, damaged, badRoots } = result;
  const repaired = damaged.filter(({ from }) => from !== undefined).length;
  rememberRun(repository, 'fsck', { objects, bytes, damaged: damaged.length, repaired, badRoots: badRoots.length }, ms);
}

async function check(repository: LocalRepository, options: FsckOptions): Promise<FsckResult> {
  const { signal, onWait, dryRun, sources } = options;
  const around = lookAround(repository);
  const { roots, bad, odd } = rootsOf(repository);
  const whole = roots.filter(({ header }) => header?.complete === true).map(({ image }) => image);
  const checked = await checkAll(repository, whole, options.threads, signal, options.onProgress);
  const { objects, bytes } = checked;
  const damage = withoutGivenUp(repository, whole, checked.damage);
  const all = [...damage, ...stillInQuarantine(repository, damage)].sort((a, b) => (a.object < b.object ? -1 : 1));
  const oddities = [...around, ...odd, ...checked.oddities].map((oddity) =>
    dryRun ? oddity : mended(repository, oddity),
  );
  return {
    objects,
    bytes,
    damaged: dryRun ? all : await repairAll(repository, all, sources, { signal, onWait }),
    roots: roots.length,
    badRoots: bad,
    oddities,
    temporaries: namesIn(repository, 'tmp').length,
    quarantined: quarantineOf(repository).names.length,
  };
}

/**
 * Leaves out objects that are missing because they are no longer needed: their images were unregistered, and gc ran,
 * during the check.
 * @param roots the images whose objects were looked for
 */
function withoutGivenUp(
  repository: LocalRepository,
  roots: readonly string[],
  damage: readonly Damage[],
): readonly Damage[] {
  if (damage.every(({ kind }) => kind !== 'missing')) return damage;
  const registered = roots.map((root) => openRootIfThere(repository, root)).filter((list) => list !== undefined);
  try {
    if (registered.length === roots.length) return damage;
    const needed = neededOf(damage, registered);
    return damage.filter(({ kind, object }) => kind !== 'missing' || needed.has(object));
  } finally {
    for (const list of registered) list.close();
  }
}

/** The missing objects that are in one of the lists, which are read once. */
function neededOf(damage: readonly Damage[], lists: readonly KeptDigests[]): ReadonlySet<string> {
  const objects = damage.filter(({ kind }) => kind === 'missing').map(({ object }) => object);
  const missing = new KeptInMemory(fromHex(objects.sort().join('')));
  const needed = new Set<string>();
  for (let prefix = 0; prefix < PREFIXES; prefix++) {
    const own = missing.digests(prefix);
    if (own.length === 0) continue;
    for (const list of lists) {
      mergeDigests(own, list.digests(prefix), (row) => {
        needed.add(toHex(own.subarray(row * DIGEST_SIZE, (row + 1) * DIGEST_SIZE)));
      });
    }
  }
  return needed;
}

/** The allowed names in a repository's directory, and whether each is a directory. */
const KNOWN: ReadonlyMap<string, boolean> = new Map([
  ['meta.json', false],
  ['lock', false],
  ['objects', true],
  ['tmp', true],
  ['cache', true],
  ['roots', true],
  ['runs', true],
  ['paths', true],
  ['leases', true],
  ['quarantine', true],
  ['lost+found', true],
]);
const LEFT_BY_INIT = /^meta\.json\.[0-9a-f]{12}\.tmp$/;

/** The oddities in the repository's directory, in objects/ and in quarantine/. */
function lookAround(repository: LocalRepository): Oddity[] {
  const strange = (path: string, problem = 'it does not belong to a repository'): Oddity => ({
    kind: 'strange',
    path,
    problem,
  });
  const root = repository.enter();
  try {
    const own = root.names();
    const odd = new Map(own.flatMap((name) => oddKind(root, name) ?? []));
    const prefixes = new Set(Array.from({ length: PREFIXES }, (_, prefix) => prefixName(prefix)));
    const inObjects = odd.has('objects') ? prefixes : new Set(namesIn(repository, 'objects'));
    const missing = [
      ...['lock', 'tmp'].filter((name) => !own.includes(name)),
      ...[...prefixes].filter((name) => !inObjects.has(name)).map((name) => `objects/${name}`),
    ];
    return [
      ...own.filter((name) => !KNOWN.has(name) && !LEFT_BY_INIT.test(name)).map((name) => strange(name)),
      ...[...odd].map(([name, problem]) => strange(name, problem)),
      ...[...inObjects].filter((name) => !prefixes.has(name)).map((name) => strange(`objects/${name}`)),
      ...quarantineOf(repository).strange.map((name) => strange(`quarantine/${name}`)),
      ...missing.map((path): Oddity => ({ kind: 'missing', path, problem: 'it is missing' })),
    ];
  } finally {
    root.close();
  }
}

/** The problem with the type of a file in the repository's directory. */
function oddKind(root: StoreDirectory, name: string): [name: string, problem: string][] | undefined {
  const isDirectory = KNOWN.get(name);
  const stat = isDirectory === undefined ? undefined : root.stat(name);
  if (stat === undefined || (isDirectory ? isDirectoryStat(stat) : isRegular(stat))) return undefined;
  return [[name, linkText(root.fd, name) ?? `it is not a ${isDirectory ? 'directory' : 'regular file'}`]];
}

/** Nothing if another kind of file has the directory's place: `lookAround` reports it. */
function orNothing<T>(read: () => T, nothing: T): T {
  try {
    return read();
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === ELOOP || errno === ENOTDIR) return nothing;
    throw error;
  }
}

function namesIn(repository: LocalRepository, name: string): readonly string[] {
  const names = orNothing(() => repository.within(name, (directory) => directory.names()), []);
  if (names === undefined && name !== 'tmp') throw systemError(ENOENT, 'open', `${repository.path}/${name}`);
  return names ?? [];
}

const quarantineOf = (repository: LocalRepository): ReturnType<typeof listQuarantine> =>
  orNothing(() => listQuarantine(repository), { objects: new Set(), names: [], strange: [] });

/** All roots and their problems; also if the list itself cannot be read. */
function rootsOf(repository: LocalRepository): {
  readonly roots: readonly Root[];
  readonly bad: FsckResult['badRoots'];
  readonly odd: readonly Oddity[];
} {
  try {
    const roots = listRoots(repository);
    const bad = roots.flatMap(({ image, problem, isDenied = false }) =>
      problem === undefined || isDenied ? [] : [{ image, problem }],
    );
    const denied = roots.filter(({ isDenied = false }) => isDenied).length;
    const problem = `${denied} lists are readable only with write permission on the repository: their objects were not checked`;
    return { roots, bad, odd: denied === 0 ? [] : [{ kind: 'strange', path: 'roots', problem }] };
  } catch (error) {
    const errno = error instanceof CfsError ? errnoOf(error.cause) : undefined;
    if (errno !== ELOOP && errno !== ENOTDIR) throw error;
    return { roots: [], bad: [{ image: 'roots', problem: reasonOf(error) }], odd: [] };
  }
}

/** Objects whose bad files were moved away earlier, and that have not been replaced: they must not be forgotten. */
function stillInQuarantine(repository: LocalRepository, damage: readonly Damage[]): Damage[] {
  const known = new Set(damage.map(({ object }) => object));
  const problem = 'it is in quarantine, and there is no good copy yet';
  return [...quarantineOf(repository).objects]
    .filter((object) => !known.has(object) && checkOne(repository, object)?.kind === 'missing')
    .map((object) => ({ object, kind: 'quarantined', problem }));
}

/** Why root must not mend anything there. */
function distrusted(repository: LocalRepository): string | undefined {
  const root = repository.enter();
  try {
    return distrust(root);
  } finally {
    root.close();
  }
}

/** Creates missing directories again, and makes files read-only. */
function mended(repository: LocalRepository, oddity: Oddity): Oddity {
  const { kind, path } = oddity;
  const hindrance = distrusted(repository);
  if (hindrance !== undefined && kind !== 'strange') {
    return { ...oddity, problem: `${oddity.problem}, and is left: ${hindrance}` };
  }
  try {
    if (kind === 'mode') mendMode(repository, path);
    else if (kind === 'missing' && path !== 'lock') repository.makeDirectory(path).close();
    else return oddity;
    return { ...oddity, mended: true };
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return { ...oddity, problem: `${oddity.problem}, and cannot be mended: ${reasonOf(error)}` };
  }
}

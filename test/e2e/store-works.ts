/**
 * Stores with work to do, for store-faults.test.ts: packing, gc, repair, sealing, unregistering; and the checks after
 * each.
 */
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { mknod } from '../support/libc.ts';
import { Random } from '../support/random.ts';
import { objectsIn, temporariesIn } from './cli.ts';
import { objectPath } from './damage.ts';
import { succeed } from './run.ts';

// set before the fail points are loaded, so that they can be set later in this process, too
process.env['CFS_FAIL_AT'] = 'nowhere';
const dist = (name: string): string => new URL(`../../dist/src/${name}.js`, import.meta.url).href;
export const { failAt } = (await import(
  dist('system/fail-points')
)) as typeof import('../../src/system/fail-points.ts');
const { checkRepository } = (await import(dist('store/check/fsck'))) as typeof import('../../src/store/check/fsck.ts');
const { checkPrefix } = (await import(
  dist('store/check/check-directory')
)) as typeof import('../../src/store/check/check-directory.ts');
const { listRoots, openRoot } = (await import(dist('store/gc/roots'))) as typeof import('../../src/store/gc/roots.ts');
const { initRepository, openRepository } = (await import(
  dist('store/open-repository')
)) as typeof import('../../src/store/open-repository.ts');

export const PROGRAM: string = join(import.meta.dirname, 'store-work.mjs');

/** The result of a work, or the kind and message of its error. */
export interface Result {
  readonly id?: string;
  readonly registered?: unknown;
  readonly unregistered?: boolean;
  readonly damaged?: readonly { readonly hindrance?: string }[];
  readonly sealed?: number;
  readonly already?: number;
  readonly problems?: readonly { readonly reason: string }[];
  readonly image?: { readonly digest?: string };
  readonly kind?: string;
  readonly message?: string;
}

export const { doWork } = (await import(PROGRAM)) as {
  doWork: (what: string, store: string, args: readonly string[]) => Promise<Result>;
};

export interface Work {
  readonly what: 'pack' | 'gc' | 'repair' | 'seal' | 'unregister';
  /** The store before the work, with the image beside it. */
  readonly template: string;
  readonly args: (store: string) => readonly string[];
  /** The part of the result that does not depend on earlier attempts. */
  readonly outcome: (result: Result) => unknown;
  /** Findings of fsck that are permitted after an unfinished work, beside leftovers. */
  readonly unfinished: readonly string[];
  /** The content of the store at the end, after gc. */
  readonly expected: readonly string[];
}

const imageOf = (store: string): string => `${store}.cfs`;
const plain = (name: string): string => name.replace('/', '');

/**
 * Makes stores with work to do.
 * @param sources the directory for the trees that are packed
 * @param stores another directory, on a file system in memory, where fsync costs nothing
 * @param files the number of small files of each tree, beside a large one
 */
export async function makeWorks(sources: string, stores: string, files: number): Promise<Record<Work['what'], Work>> {
  for (const directory of [sources, stores]) mkdirSync(directory);
  const at = (name: string): string => join(stores, name);
  const [old, fresher] = makeTrees(sources, files);
  const make = (name: string, hash: 'blake3' | 'fsverity-sha256' = 'blake3'): string => {
    initRepository(at(name), hash);
    return at(name);
  };
  const pack = (store: string, source: string): Promise<Result> => doWork('pack', store, [imageOf(store), source]);
  const copy = (from: string, name: string): string => {
    cpSync(from, at(name), { recursive: true });
    return at(name);
  };

  const unpacked = make('unpacked');
  const { id: oldId } = (await pack(unpacked, old)) as { id: string };
  writeFileSync(join(unpacked, 'tmp', '0123456789abcdef-left'), 'over');
  const good = make('good');
  await pack(good, fresher);
  const onlyNew = objectsIn(good).sort();
  await pack(good, old);
  const both = objectsIn(good).sort();

  const garbage = copy(good, 'garbage');
  cpSync(join(garbage, 'roots', oldId), join(garbage, 'leases', `${oldId}-0123456789abcdef`));
  rmSync(join(garbage, 'roots', oldId));
  writeFileSync(join(garbage, 'tmp', '0123456789abcdef-left'), 'over');
  mkdirSync(join(garbage, 'quarantine'));
  writeFileSync(join(garbage, 'quarantine', plain(both[0] as string)), 'damage');

  const damaged = copy(good, 'damaged');
  damage(onlyNew.map((name) => objectPath(damaged, plain(name))));

  const unsealed = make('unsealed', 'fsverity-sha256');
  await pack(unsealed, fresher);

  return {
    pack: {
      what: 'pack',
      template: unpacked,
      args: (store) => [imageOf(store), fresher],
      outcome: ({ id }) => id,
      unfinished: [],
      expected: both,
    },
    gc: {
      what: 'gc',
      template: garbage,
      args: () => [],
      outcome: ({ registered }) => registered,
      unfinished: [],
      expected: onlyNew,
    },
    repair: {
      what: 'repair',
      template: damaged,
      args: () => [good],
      outcome: ({ damaged }) => damaged?.flatMap(({ hindrance }) => hindrance ?? []),
      unfinished: ['corrupt', 'shape', 'missing', 'quarantined'],
      expected: both,
    },
    seal: {
      what: 'seal',
      template: unsealed,
      args: (store) => [imageOf(store)],
      outcome: ({ sealed = 0, already = 0, problems, image }) => [sealed + already, problems, image?.digest],
      unfinished: ['mode'],
      expected: objectsIn(unsealed).sort(),
    },
    unregister: {
      what: 'unregister',
      template: good,
      args: () => [oldId],
      outcome: ({ kind }) => kind,
      unfinished: [],
      expected: onlyNew,
    },
  };
}

/** Two trees that share a file; in each, two files have the same content. */
function makeTrees(directory: string, files: number): [old: string, fresher: string] {
  const random = new Random(77);
  const shared = random.bytes(3000);
  const make = (name: string, small: number): string => {
    const path = join(directory, name);
    mkdirSync(path);
    writeFileSync(join(path, 'shared'), shared);
    for (let i = 0; i < small; i++) writeFileSync(join(path, `small${i}`), random.bytes(500 + i));
    writeFileSync(join(path, 'large'), random.bytes(1_500_000));
    cpSync(join(path, 'small0'), join(path, 'twice'));
    return path;
  };
  return [make('old', files - 1), make('fresher', files)];
}

/** Damages every second object, at least three: by another content, a fifo, removal. The large one is among them. */
function damage(objects: readonly string[]): void {
  const size = (path: string): number => statSync(path).size;
  const chosen = [...objects].sort((a, b) => size(b) - size(a)).slice(0, Math.max(3, objects.length / 2));
  for (const [i, path] of chosen.entries()) {
    rmSync(path);
    if (i % 3 === 0) writeFileSync(path, 'damage', { mode: 0o444 });
    else if (i % 3 === 1) mknod(path, 0o010644);
  }
}

/** A copy of a store in a new directory, in which the work is done once. */
export async function copyOf({ template }: Work, directory: string): Promise<string> {
  mkdirSync(directory);
  const store = join(directory, 'store');
  await succeed(['cp', '-a', template, store]);
  if (existsSync(imageOf(template))) cpSync(imageOf(template), imageOf(store));
  return store;
}

/** After a fault: nothing is worse than leftovers, and a repetition has the same result, with nothing left after gc. */
export async function expectRecovery(
  store: string,
  work: Work,
  undisturbed: Result,
  what: string,
  check: (store: string) => Promise<readonly string[]> = findings,
): Promise<void> {
  const found = (await check(store)).filter((finding) => !work.unfinished.includes(finding.split(' ')[0] as string));
  expect(found, what).toEqual([]);
  const again = await doWork(work.what, store, work.args(store));
  expect(work.outcome(again), what).toEqual(work.outcome(undisturbed));
  await doWork('gc', store, []);
  expect(temporariesIn(store), what).toEqual([]);
  expect(leasesIn(store), what).toEqual([]);
  expect(await findings(store), what).toEqual([]);
  expect(objectsIn(store).sort(), what).toEqual(work.expected);
}

const leasesIn = (store: string): string[] => {
  const directory = join(store, 'leases');
  return existsSync(directory) ? readdirSync(directory) : [];
};

/** The findings of fsck in the objects. It runs in this thread: starting another takes ten times as long. */
async function findings(store: string): Promise<string[]> {
  const repository = openRepository(store);
  const found: string[] = [];
  const there = new Set<string>();
  for (let prefix = 0; prefix < 256; prefix++) {
    const names = checkPrefix(repository, prefix, {
      damage: ({ kind, object, problem }) => found.push(`${kind} ${object}: ${problem}`),
      oddity: ({ kind, path, problem }) => found.push(`${kind} ${path}: ${problem}`),
      object: () => undefined,
      bytes: () => undefined,
    });
    for (const name of names) there.add(prefix.toString(16).padStart(2, '0') + name);
  }
  for (const { image, problem } of listRoots(repository)) {
    if (problem !== undefined) found.push(`root ${image}: ${problem}`);
    else found.push(...objectsOf(store, image).flatMap((object) => (there.has(object) ? [] : [`missing ${object}`])));
  }
  return found;
}

/** The objects that a registered image needs. */
function objectsOf(store: string, image: string): readonly string[] {
  const list = openRoot(openRepository(store), image);
  const all = Buffer.concat(Array.from({ length: 256 }, (_, prefix) => list.digests(prefix)));
  list.close();
  return all.toString('hex').match(/.{64}/g) ?? [];
}

/** The findings of fsck without leftovers. */
export async function fsck(store: string): Promise<string[]> {
  const options = { sources: [], threads: 1, dryRun: true };
  const { damaged, badRoots, oddities } = await checkRepository(openRepository(store), options);
  return [
    ...damaged.map(({ kind, object, problem }) => `${kind} ${object}: ${problem}`),
    ...oddities.map(({ kind, path, problem }) => `${kind} ${path}: ${problem}`),
    ...badRoots.map(({ image, problem }) => `root ${image}: ${problem}`),
  ];
}

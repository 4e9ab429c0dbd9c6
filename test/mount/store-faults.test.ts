/**
 * Packing, gc and repair fail, or are killed, at each of their file system calls in turn. After each: nothing is lost,
 * nothing is worse than leftovers that gc removes, and the same again succeeds with the same result.
 */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { mknod } from '../libc.ts';
import { Random } from '../random.ts';
import { mountTmpfs, objectsIn, temporariesIn } from './cli.ts';
import { objectPath } from './damage.ts';
import { useScratch } from './harness.ts';
import { type Outcome, run, succeed } from './run.ts';

const dist = (name: string): string => new URL(`../../dist/src/${name}.js`, import.meta.url).href;
const { checkRepository } = (await import(dist('store/fsck'))) as typeof import('../../src/store/fsck.ts');
const { collectGarbage } = (await import(dist('store/gc'))) as typeof import('../../src/store/gc.ts');
const { checkOne } = (await import(dist('store/prefix-check'))) as typeof import('../../src/store/prefix-check.ts');
const { listRoots, openRoot } = (await import(dist('store/roots'))) as typeof import('../../src/store/roots.ts');
const { initRepository, openRepository } = (await import(
  dist('store/local')
)) as typeof import('../../src/store/local.ts');

const PROGRAM = join(import.meta.dirname, 'store-work.mjs');
const { doWork } = (await import(PROGRAM)) as {
  doWork: (what: string, store: string, args: readonly string[]) => Promise<Result>;
};

const scratch = useScratch();
const ERRORS = ['ENOSPC', 'EIO', 'EACCES'] as const;

interface Result {
  readonly id?: string;
  readonly kind?: string;
  readonly message?: string;
}

interface Work {
  readonly what: 'pack' | 'gc' | 'repair' | 'unregister';
  /** The store before, which is copied. */
  readonly template: () => string;
  readonly args: (store: string) => readonly string[];
  /** What the store has in the end, when gc was there, too. */
  readonly expected: () => readonly string[];
}

const workOn = (store: string, { what, args }: Work, failAt?: string): Promise<Outcome> =>
  run([process.execPath, PROGRAM, what, store, ...args(store)], {
    env: { ...process.env, ...(failAt === undefined ? {} : { CFS_FAIL_AT: failAt }) },
  });

const resultOf = ({ stdout }: Outcome): Result => JSON.parse(stdout) as Result;

/** A copy of the template, in which the work is done once. */
let serial = 0;
async function fresh({ template }: Work): Promise<string> {
  const store = join(stores, `store-${++serial}`);
  await succeed(['cp', '-a', template(), store]);
  return store;
}

interface Point {
  readonly thread: 'main' | 'worker';
  readonly number: number;
  readonly name: string;
}

/** Calls that change nothing: of each, only some are tried. There is one for each of 256 directories. */
const READING: ReadonlySet<string> = new Set(['readdir', 'statx', 'pread', 'openat', 'open']);
const SOME = 1;

/** The calls of a run: all that change something, and of those that read the first and the last ones. */
async function pointsOf(work: Work): Promise<Point[]> {
  const file = scratch.at(`trace-${++serial}`);
  const store = await fresh(work);
  const outcome = await workOn(store, work, `trace:${file}`);
  expect(outcome, outcome.stdout).toMatchObject({ status: 0 });
  remove(store);
  const counts = { main: 0, worker: 0 };
  const all = readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line): Point => {
      const [thread, ...name] = line.split(' ') as ['main' | 'worker', ...string[]];
      return { thread, number: ++counts[thread], name: name.join(' ') };
    });
  return all.filter((point, i) => {
    if (!READING.has(point.name)) return true;
    const isSame = (other: Point): boolean => other.thread === point.thread && other.name === point.name;
    const before = all.slice(0, i).filter(isSame).length;
    return before < SOME || !all.slice(i + 1).some(isSame);
  });
}

/** Has the work go wrong at one point, and looks at what is left. */
async function tryPoint(
  work: Work,
  { thread, number, name }: Point,
  how: string,
  id: string | undefined,
): Promise<void> {
  const store = await fresh(work);
  const what = `${work.what}: ${thread} ${number} (${name}): ${how}`;
  const outcome = await workOn(store, work, `${thread}:${number}:${how}`);
  if (how === 'kill') expect(outcome.signal, what).toBe('SIGKILL');
  else if (outcome.status !== 0) {
    const { kind, message } = resultOf(outcome);
    expect(['store', 'system', 'source', 'usage'], `${what}: ${message}`).toContain(kind);
    expect(message, what).not.toMatch(/undefined|\[object|\bE[A-Z]{3,}: /);
  }
  expectNoLoss(store, work, what);
  const again = await doWork(work.what, store, work.args(store));
  if (work.what === 'pack') expect(again.id, what).toBe(id);
  await expectClean(store, work, what);
  // a killed writer of an image may leave a temporary file beside it
  for (const name of readdirSync(stores).filter((each) => each.startsWith(`${store.slice(stores.length + 1)}.cfs`))) {
    remove(join(stores, name));
  }
  remove(store);
}

/** What fsck would say, without its threads. */
function expectNoLoss(store: string, work: Work, what: string): void {
  const repository = openRepository(store);
  const roots = listRoots(repository);
  expect(
    roots.flatMap(({ problem }) => problem ?? []),
    what,
  ).toEqual([]);
  const kinds = work.what === 'repair' ? ['corrupt', 'shape', 'missing'] : [];
  const objects = new Set(objectsIn(store).map((name) => name.replace('/', '')));
  for (const { image } of roots) {
    const list = openRoot(repository, image);
    const needed = Buffer.concat(Array.from({ length: 256 }, (_, prefix) => list.digests(prefix)));
    list.close();
    for (const object of needed.toString('hex').match(/.{64}/g) ?? []) objects.add(object);
  }
  for (const object of objects) {
    const found = checkOne(store, repository.hash, object);
    if (found !== undefined) expect(kinds, `${what}: ${object}`).toContain(found.kind);
  }
}

async function expectClean(store: string, { expected }: Work, what: string): Promise<void> {
  const repository = openRepository(store);
  await collectGarbage(repository, { keep: [], minAgeMs: 0, dryRun: false, keepNone: false, emptyQuarantine: true });
  expect(temporariesIn(store), what).toEqual([]);
  if (existsSync(join(store, 'leases'))) expect(readdirSync(join(store, 'leases')), what).toEqual([]);
  const { damaged, badRoots, oddities } = await checkRepository(repository, { sources: [], threads: 1, dryRun: true });
  expect({ damaged, badRoots, oddities }, what).toEqual({ damaged: [], badRoots: [], oddities: [] });
  expect(objectsIn(store).sort(), what).toEqual(expected());
}

const remove = (path: string): void => rmSync(path, { recursive: true, force: true });

/** Two at a time. */
async function tryAll(work: Work, points: readonly Point[], how: (i: number) => string, id?: string): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let i = next++; i < points.length; i = next++) await tryPoint(work, points[i] as Point, how(i), id);
  };
  await Promise.all([lane(), lane()]);
}

const random = new Random(77);
/** A file system in memory: fsync costs nothing there. */
const stores = scratch.at('stores');
const template = scratch.at('template');
const damagedTemplate = scratch.at('damaged');
const old = scratch.at('old');
const fresher = scratch.at('fresher');
let both: string[];
let onlyNew: string[];
let oldId: string;
let newId: string;

beforeAll(async () => {
  await mountTmpfs(stores, '1g');
  const shared = random.bytes(3000);
  for (const [path, extra] of [
    [old, 2],
    [fresher, 3],
  ] as const) {
    mkdirSync(path);
    writeFileSync(join(path, 'shared'), shared);
    for (let i = 0; i < extra; i++) writeFileSync(join(path, `small${i}`), random.bytes(500 + i));
    writeFileSync(join(path, 'large'), random.bytes(1_500_000));
    writeFileSync(join(path, 'twice'), readFileSync(join(path, 'small0')));
  }
  const full = scratch.at('full');
  initRepository(full, 'blake3');
  const pack = (store: string, source: string): Promise<Outcome> =>
    workOn(store, {
      what: 'pack',
      args: () => [source, scratch.at('image.cfs')],
      template: () => '',
      expected: () => [],
    });
  newId = resultOf(await pack(full, fresher)).id as string;
  onlyNew = objectsIn(full).sort();
  // what is to be packed upon: the old image, and a leftover
  initRepository(template, 'blake3');
  oldId = resultOf(await pack(template, old)).id as string;
  await pack(full, old);
  both = objectsIn(full).sort();
  writeFileSync(join(template, 'tmp', 'left'), 'over');
  // what is to be cleaned and repaired
  cpSync(full, scratch.at('good'), { recursive: true });
  cpSync(full, damagedTemplate, { recursive: true });
  const [corrupt, missing, fifo] = onlyNew.map((name) => objectPath(damagedTemplate, name.replace('/', ''))) as [
    string,
    string,
    string,
  ];
  for (const path of [corrupt, missing, fifo]) rmSync(path);
  writeFileSync(corrupt, 'damage', { mode: 0o444 });
  mknod(fifo, 0o010644);
});

/** The points of a work, and that each of them failing and being killed there is no harm. */
function describeWork(name: string, work: () => Work, id?: () => string): void {
  describe(name, () => {
    let points: Point[];
    beforeAll(async () => {
      points = await pointsOf(work());
    });

    test('killed at each call', async () => {
      await tryAll(work(), points, () => 'kill', id?.());
    });

    test('failing at each call', async () => {
      await tryAll(work(), points, (i) => ERRORS[i % ERRORS.length] as string, id?.());
      console.log(`${name}: ${points.length} points: ${[...new Set(points.map((point) => point.name))].join(', ')}`);
    });
  });
}

describeWork(
  'packing',
  () => ({
    what: 'pack',
    template: () => template,
    args: (store) => [fresher, `${store}.cfs`],
    expected: () => both,
  }),
  () => newId,
);

describeWork('gc', () => ({
  what: 'gc',
  template: gcTemplate,
  args: () => [],
  expected: () => onlyNew,
}));

/** The old image is not registered any more; a lease, a leftover and a file in quarantine are there. */
function gcTemplate(): string {
  const path = scratch.at('garbage');
  if (existsSync(path)) return path;
  cpSync(scratch.at('good'), path, { recursive: true });
  cpSync(join(path, 'roots', oldId), join(path, 'leases', `${oldId}-0123`));
  rmSync(join(path, 'roots', oldId));
  writeFileSync(join(path, 'tmp', 'left'), 'over');
  mkdirSync(join(path, 'quarantine'));
  writeFileSync(join(path, 'quarantine', (both[0] as string).replace('/', '')), 'damage');
  return path;
}

describeWork('repair', () => ({
  what: 'repair',
  template: () => damagedTemplate,
  args: () => [scratch.at('good')],
  expected: () => both,
}));

test('unregistering, killed at each call, leaves an image registered or not', async () => {
  const work: Work = {
    what: 'unregister',
    template: () => scratch.at('good'),
    args: () => [oldId],
    expected: () => onlyNew,
  };
  await tryAll(work, await pointsOf(work), () => 'kill');
});

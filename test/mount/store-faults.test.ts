/**
 * Packing, gc, repair and sealing fail, or are killed, at each of their file system calls in turn. After each: nothing is lost, nothing is worse than leftovers that gc removes, and the same again succeeds with the same result.
 */
import { readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { mountTmpfs } from './cli.ts';
import { useScratch } from './harness.ts';
import { type Outcome, run } from './run.ts';
import {
  copyOf,
  doWork,
  expectRecovery,
  failAt,
  fsck,
  makeWorks,
  PROGRAM,
  type Result,
  type Work,
} from './store-works.ts';

const scratch = useScratch();
const stores = scratch.at('stores');
const ERRORS = ['ENOSPC', 'EIO', 'EACCES'] as const;

let works: Record<Work['what'], Work>;

beforeAll(async () => {
  await mountTmpfs(stores, '1g');
  works = await makeWorks(scratch.at('trees'), scratch.at('stores', 'few'), 3);
});

let serial = 0;
const fresh = (work: Work): Promise<string> => copyOf(work, scratch.at('stores', `case-${++serial}`));
const remove = (store: string): void => rmSync(dirname(store), { recursive: true });

interface Point {
  readonly thread: 'main' | 'worker';
  readonly number: number;
  readonly name: string;
}

/** The calls of a run that nothing disturbs, and what it comes to. */
async function traceOf(work: Work): Promise<{ points: Point[]; undisturbed: Result }> {
  const file = scratch.at(`trace-${++serial}`);
  const store = await fresh(work);
  failAt(`trace:${file}`);
  const undisturbed = await doWork(work.what, store, work.args(store));
  failAt('nowhere');
  remove(store);
  const counts = { main: 0, worker: 0 };
  const lines = readFileSync(file, 'utf8').trim().split('\n');
  const points = lines.map((line): Point => {
    const [thread, ...name] = line.split(' ') as ['main' | 'worker', ...string[]];
    return { thread, number: ++counts[thread], name: name.join(' ') };
  });
  return { points, undisturbed };
}

/** Calls after which a store is what it was before. There may be one for each of 256 directories. */
const READING: readonly string[] = ['readdir', 'statx', 'pread', 'openat', 'open'];
/** And those after which it is so to who looks, unless the machine crashes. */
const SYNCING: readonly string[] = ['flock', 'fsync', 'syncfs'];

/** All that change something, and of those that read the first and the last one of each kind. */
function pointsToFail(points: readonly Point[]): Point[] {
  return points.filter((point, i) => {
    const isSame = ({ thread, name }: Point): boolean => thread === point.thread && name === point.name;
    return !READING.includes(point.name) || !points.slice(0, i).some(isSame) || !points.slice(i + 1).some(isSame);
  });
}

/** All that change something, and the end: killed at another one, a work leaves what it leaves at the next of these. */
function pointsToKillAt(points: readonly Point[]): Point[] {
  const isNoChange = ({ name }: Point): boolean => READING.includes(name) || SYNCING.includes(name);
  return points.filter((point, i) => !isNoChange(point) || i === points.length - 1);
}

const title = ({ what }: Work, { thread, number, name }: Point, how: string): string =>
  `${what}: ${thread} ${number} (${name}): ${how}`;

/** Has a work fail in this process, which must give back every lock and descriptor of the store. */
async function failThere(store: string, work: Work, point: Point, error: string): Promise<void> {
  const what = title(work, point, error);
  failAt(`${point.thread}:${point.number}:${error}`);
  try {
    const { problems = [] } = await doWork(work.what, store, work.args(store));
    for (const { reason } of problems) expectReadable(reason, what);
  } catch (thrown) {
    const { kind, message } = thrown as Result;
    expect(['store', 'system', 'source', 'usage'], `${what}: ${message}`).toContain(kind);
    expectReadable(message, what);
  } finally {
    failAt('nowhere');
  }
  expect(openIn(store), what).toEqual([]);
}

/** Files of the store that this process has open. */
function openIn(store: string): string[] {
  const open = readdirSync('/proc/self/fd').map((fd) => readlinkOf(`/proc/self/fd/${fd}`));
  return open.filter((path) => path.startsWith(dirname(store)));
}

function readlinkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ''; // the one that the list was read with
  }
}

const expectReadable = (message: string | undefined, what: string): void =>
  expect(message, what).not.toMatch(/undefined|\[object|\bE[A-Z]{3,}: /);

const workOn = (store: string, { what, args }: Work, failAt: string): Promise<Outcome> =>
  run([process.execPath, PROGRAM, what, store, ...args(store)], { env: { ...process.env, CFS_FAIL_AT: failAt } });

async function killThere(work: Work, point: Point, undisturbed: Result): Promise<void> {
  const what = title(work, point, 'kill');
  const store = await fresh(work);
  const { signal } = await workOn(store, work, `${point.thread}:${point.number}:kill`);
  expect(signal, what).toBe('SIGKILL');
  await expectRecovery(store, work, undisturbed, what);
  remove(store);
}

/** Two at a time: the machine has other tests to do, and more wait for each other. */
async function eachOf<T, R>(items: readonly T[], action: (item: T, i: number) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let i = next++; i < items.length; i = next++) results[i] = await action(items[i] as T, i);
  };
  await Promise.all([lane(), lane()]);
  return results;
}

describe.each(['pack', 'gc', 'repair', 'seal', 'unregister'] as const)('%s', (name) => {
  let work: Work;
  let points: Point[];
  let undisturbed: Result;
  beforeAll(async () => {
    work = works[name];
    ({ points, undisturbed } = await traceOf(work));
  });

  test('fails at each call that changes something, and at others', async () => {
    const chosen = pointsToFail(points);
    const failed = chosen.map((point, i) => ({ point, error: ERRORS[i % ERRORS.length] as string }));
    const stores = await eachOf(failed, () => fresh(work));
    for (const [i, { point, error }] of failed.entries()) await failThere(stores[i] as string, work, point, error);
    await eachOf(failed, async ({ point, error }, i) => {
      await expectRecovery(stores[i] as string, work, undisturbed, title(work, point, error));
      remove(stores[i] as string);
    });
    console.log(
      `${name}: ${points.length} calls, ${chosen.length} failed: ${[...new Set(chosen.map((p) => p.name))].join(', ')}`,
    );
  });

  test('is killed at each call that changes something', async () => {
    const chosen = pointsToKillAt(points);
    await eachOf(chosen, (point) => killThere(work, point, undisturbed));
    console.log(`${name}: killed at ${chosen.length}: ${[...new Set(chosen.map((p) => p.name))].join(', ')}`);
  });
});

test('what was recovered is clean to fsck itself, too', async () => {
  const work = works.repair;
  const store = await fresh(work);
  await doWork(work.what, store, work.args(store));
  await doWork('gc', store, []);
  expect(await fsck(store)).toEqual([]);
  remove(store);
});

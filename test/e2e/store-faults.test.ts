/**
 * Packing, gc, repair and sealing fail, or are killed, at their file system calls (with CFS_KILLS at each), and are
 * killed at random times. After each fault nothing is lost, nothing is worse than leftovers that gc removes, and a
 * repetition succeeds with the same result.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { Random } from '../support/random.ts';
import { sample } from '../support/sample.ts';
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
let many: Record<Work['what'], Work> | undefined;

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

/** The calls of an undisturbed run, and its result. */
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

/** Calls that do not change a store. There may be one for each of 256 directories. */
const READING: readonly string[] = ['readdir', 'statx', 'pread', 'openat', 'open'];
/** Calls whose effect on a store shows only if the machine crashes. */
const SYNCING: readonly string[] = ['flock', 'fsync', 'syncfs'];

/** All calls that change something, and the first and the last reading call of each kind. */
function pointsToFail(points: readonly Point[]): Point[] {
  return points.filter((point, i) => {
    const isSame = ({ thread, name }: Point): boolean => thread === point.thread && name === point.name;
    return !READING.includes(point.name) || !points.slice(0, i).some(isSame) || !points.slice(i + 1).some(isSame);
  });
}

/**
 * All calls that change something, and the last call: a kill at another call has the result of a kill at the next of
 * these.
 */
function pointsToKillAt(points: readonly Point[]): Point[] {
  const isNoChange = ({ name }: Point): boolean => READING.includes(name) || SYNCING.includes(name);
  return points.filter((point, i) => !isNoChange(point) || i === points.length - 1);
}

/** Every `stride`-th, and the first of each kind; all with CFS_KILLS. */
function someOf(points: readonly Point[], stride: number): Point[] {
  const taken = new Set(sample(points.length, stride));
  return points.filter((point, i) => taken.has(i) || points.findIndex(({ name }) => name === point.name) === i);
}

const title = ({ what }: Work, { thread, number, name }: Point, how: string): string =>
  `${what}: ${thread} ${number} (${name}): ${how}`;

/** Makes a work fail in this process, which must release every lock and descriptor of the store. */
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
    return ''; // the descriptor of the listing itself
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

/** Two at a time: the machine runs other tests, and more works would wait for each other. */
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

  test('fails at calls that change something, and at others', async () => {
    const chosen = someOf(pointsToFail(points), 5);
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

  test('is killed at calls that change something', async () => {
    const chosen = someOf(pointsToKillAt(points), 5);
    await eachOf(chosen, (point) => killThere(work, point, undisturbed));
    console.log(`${name}: killed at ${chosen.length}: ${[...new Set(chosen.map((p) => p.name))].join(', ')}`);
  });
});

/** The seed of the times of kills; a failing test prints it, so that another run can use it. */
const SEED = Number(process.env['CFS_SEED'] ?? Date.now() % 2 ** 31);
const KILLS = 5;

/** The duration of the work in milliseconds, without the start of its process. It is killed after `limit`. */
async function workFor(store: string, { what, args }: Work, limit?: number): Promise<{ ms: number; killed: boolean }> {
  const child = spawn(process.execPath, [PROGRAM, what, store, ...args(store)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  await once(child.stdout, 'data');
  const began = performance.now();
  const timer = limit === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), limit);
  const [status, signal] = await ended;
  clearTimeout(timer);
  if (signal === null) expect(status).toBe(0);
  return { ms: performance.now() - began, killed: signal === 'SIGKILL' };
}

describe.each(['pack', 'gc', 'repair', 'seal'] as const)('%s of many files', (name) => {
  test('is killed at random times', async () => {
    many ??= await makeWorks(scratch.at('many-trees'), scratch.at('stores', 'many'), 50);
    const work = many[name];
    const random = new Random(SEED);
    const whole = await fresh(work);
    const { ms } = await workFor(whole, work);
    const undisturbed = await doWork(work.what, whole, work.args(whole));
    // the first run is the slowest
    const limits = Array.from({ length: KILLS }, () => (ms * random.integer(0, 800)) / 1000);
    const stores = await eachOf(limits, () => fresh(work));
    let kills = 0;
    for (const [i, store] of stores.entries()) if ((await workFor(store, work, limits[i])).killed) kills++;
    await eachOf(stores, async (store, i) => {
      const what = `${name} killed after ${limits[i]} ms of ${ms}, CFS_SEED=${SEED}`;
      await expectRecovery(store, work, undisturbed, what, fsck);
      remove(store);
    });
    remove(whole);
    console.log(`${name}: killed ${kills} times of ${KILLS} within ${ms.toFixed(0)} ms, CFS_SEED=${SEED}`);
  });
});

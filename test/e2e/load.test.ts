/**
 * Everything at once: 64 readers on four mounts whose images share objects; in the same store, images are packed,
 * mounted, unmounted, cleaned and checked. There is no error and no wrong byte, and at the end no server has more open
 * files or much more memory than before.
 *
 * By default it takes half a minute; CFS_LOAD_SECONDS sets another time.
 */
import { appendFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, expect, test } from 'vitest';
import { generateTree } from '../support/tree-generator.ts';
import { type Mounted, useScratch } from './harness.ts';
import { HERE, type Outcome, succeed } from './run.ts';
import { dropCaches, openObjects, until } from './system.ts';

const scratch = useScratch();

const MILLISECONDS = Number(process.env['CFS_LOAD_SECONDS'] ?? 30) * 1000;
const READERS = 64;
/** The bytes by which a server's memory may have grown at the end: heaps grow and shrink by that much. */
const MEMORY_SLACK = 40_000_000;
/** Objects that each thread of a server holds open with `verify=read`. */
const HELD_OBJECTS = 256;

/** The output of reader-load.mjs. */
interface Load {
  readonly kind: string;
  readonly count: number;
  readonly errors: readonly string[];
  readonly longest: number;
}

const VERSIONS = ['v1', 'v2'] as const;
const sources: Record<string, string> = {};
const images: Record<string, string> = {};

beforeAll(async () => {
  for (const version of VERSIONS) {
    sources[version] = scratch.at(version);
    mkdirSync(scratch.at(version));
  }
  const { v1, v2 } = sources as Record<(typeof VERSIONS)[number], string>;
  // the same seed creates the same files
  for (const directory of [v1, v2]) generateTree(directory, { seed: 5, files: 500, directories: 50 });
  // the second version shares most objects with the first
  mkdirSync(join(v2, 'more'));
  generateTree(join(v2, 'more'), { seed: 6, files: 100, directories: 10 });
  for (const directory of [v1, v2]) writeFileSync(join(directory, 'large'), Buffer.alloc(3_000_000, 'large '));
  appendFileSync(join(v2, 'large'), 'the second');
  for (const version of VERSIONS) images[version] = (await scratch.pack(sources[version] as string)).image;
});

/** The process's share of memory in bytes. */
const memoryOf = (pid: number): number =>
  Number(/^Pss: +(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1'))?.[1]) * 1024;

const levelOf = ({ pid }: Mounted): { memory: number; files: number } => ({
  memory: memoryOf(pid),
  files: openObjects(pid),
});

/** Repeats `work` while the readers read; returns how often. */
async function repeat(end: number, work: (i: number) => Promise<void>): Promise<number> {
  let times = 0;
  do await work(times++);
  while (Date.now() < end);
  return times;
}

function expectDone({ status, stderr }: Outcome): void {
  // a tool that has to wait for the store's lock reports it
  expect({ status, stderr }).toEqual({ status: 0, stderr: expect.stringMatching(/^(cfs-repo: waiting for .*\n)*$/) });
}

const repo = async (command: string, ...args: readonly string[]): Promise<void> =>
  expectDone(await scratch.tool('cfs-repo', [command, '--json', scratch.store, ...args]));

/** The life of an image: packed, mounted, read, unmounted, and left to gc. */
async function comeAndGo(i: number): Promise<void> {
  const source = scratch.directory('passing');
  generateTree(source, { seed: 1000 + i, files: 20, directories: 3 });
  const { image } = await scratch.pack(source);
  const mounted = await scratch.mount(image);
  await succeed(['cp', '-r', mounted.path, `${source}.copy`]);
  await mounted.unmount();
  await repo('unregister', image);
  for (const path of [source, `${source}.copy`, image]) rmSync(path, { recursive: true });
}

test('64 readers, mounting, packing and cleaning at the same time', async () => {
  const mounts = [
    ['v1', 'verify=open'],
    ['v1', 'verify=read'],
    ['v2', 'verify=auto'],
    ['v2', 'verify=off'],
  ] as const;
  const mounted = await Promise.all(
    mounts.map(([version, word]) => scratch.mount(images[version] as string, { words: [word] })),
  );
  const program = join(import.meta.dirname, 'reader-crowd.mjs');
  const end = Date.now() + MILLISECONDS;
  const stop = scratch.at('stop');
  const crowds = mounted.map(async ({ path }, i) => {
    const source = sources[mounts[i]?.[0] as string] as string;
    const args = [String(READERS / mounts.length), String(i * 100 + 1), path, source, stop];
    const command = HERE.command(process.execPath, program, ...args);
    return JSON.parse(await succeed(command, { timeoutMs: MILLISECONDS + 500_000 })) as Load[];
  });
  const beside = [
    repeat(end, comeAndGo),
    repeat(end, () => repo('gc', '--min-age', '0')),
    repeat(end, () => repo('fsck')),
    repeat(end, async () => {
      dropCaches();
      await sleep(2_000);
    }),
  ];
  const done = Promise.all(beside);
  // a failure is reported below
  done.catch(() => undefined);
  const begun = (): number => readdirSync(scratch.at()).filter((name) => name.startsWith('stop.begun-')).length;
  await until('all readers read', () => begun() === READERS);
  const before = mounted.map(levelOf);
  const [passed, cleaned, checked] = await done;
  writeFileSync(stop, '');
  const loads = (await Promise.all(crowds)).flat();
  expect(loads.flatMap(({ errors }) => errors)).toEqual([]);
  expect(loads).toHaveLength(READERS);
  for (const { kind, count } of loads) expect(count, kind).toBeGreaterThan(0);
  dropCaches();
  for (const [i, mount] of mounted.entries()) {
    const { memory } = before[i] as ReturnType<typeof levelOf>;
    const threads = (): number => readdirSync(`/proc/${mount.pid}/task`).length;
    const held = (): number => (mounts[i]?.[1] === 'verify=read' ? HELD_OBJECTS * threads() : 0);
    await until('files are closed', () => levelOf(mount).files <= held());
    expect(levelOf(mount).memory).toBeLessThan(memory + MEMORY_SLACK);
    // the server is the one of the beginning
    expect(await scratch.tool('cfs-info', ['stats', '--json', mount.path])).toMatchObject({ status: 0 });
  }
  const steps = loads.reduce((sum, { count }) => sum + count, 0);
  const longest = Math.max(...loads.map((load) => load.longest));
  const levels = mounted.map((mount, i) => {
    const [{ files, memory }, now] = [before[i] as ReturnType<typeof levelOf>, levelOf(mount)];
    const mb = (bytes: number): number => Math.round(bytes / 1e6);
    return `${mounts[i]?.join(' ')}: ${files} -> ${now.files} files, ${mb(memory)} -> ${mb(now.memory)} MB`;
  });
  console.log(
    `${steps} steps of ${READERS} readers, the longest ${longest} ms; ${passed} images came and went, ${cleaned} times cleaned, ${checked} checked\n${levels.join('\n')}`,
  );
});

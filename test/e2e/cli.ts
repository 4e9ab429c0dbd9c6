/** For the tests of cfs-mkimage and cfs-repo: runs of the tools, file systems to run them on, checks of stores. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { toHex } from '../../src/base/bytes.ts';
import { createDigest } from '../../src/base/digest.ts';
import { openRepository } from '../../src/store/open-repository.ts';
import type { Packed, Scratch } from './harness.ts';
import { HERE, type Outcome, type Place, run, succeed } from './run.ts';

/** Runs cfs-mkimage with exactly these arguments; unlike `Scratch.pack`, also with fsync. */
export const mkimage = (scratch: Scratch, args: readonly string[], place: Place = HERE): Promise<Outcome> =>
  scratch.tool('cfs-mkimage', args, place);

/** The result of a run that must succeed. */
export async function packed(scratch: Scratch, args: readonly string[], place: Place = HERE): Promise<Packed> {
  const { status, stdout, stderr } = await mkimage(scratch, ['--json', ...args], place);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return JSON.parse(stdout) as Packed;
}

/** Expects that a run failed with this status and one line on stderr; returns the line without the tool's name. */
export function messageOf({ status, stdout, stderr }: Outcome, expected: number, tool = 'cfs-mkimage'): string {
  expect({ status, stderr }).toMatchObject({ status: expected });
  expect(stdout).toBe('');
  const lines = stderr.trimEnd().split('\n');
  expect(lines).toHaveLength(1);
  const line = lines[0] as string;
  expect(line.startsWith(`${tool}: `)).toBe(true);
  // text that helps nobody: node's own decoration, stack traces, objects converted to text
  expect(line).not.toMatch(/\b[A-Z]{3,}: |\bat .*:\d+:\d+|\[object|undefined|internal error/);
  return line.slice(tool.length + 2);
}

/** Expects that the image file is as before a run that failed, without half a file beside it. */
export function expectImageKept(image: string, content: string | undefined): void {
  if (content === undefined) expect(existsSync(image)).toBe(false);
  else expect(readFileSync(image, 'utf8')).toBe(content);
  const directory = join(image, '..');
  expect(readdirSync(directory).filter((name) => name.endsWith('.tmp'))).toEqual([]);
}

/** The objects of a store as "<2 hex>/<62 hex>". */
export const objectsIn = (store: string): string[] =>
  readdirSync(join(store, 'objects')).flatMap((prefix) =>
    readdirSync(join(store, 'objects', prefix)).map((name) => `${prefix}/${name}`),
  );

export const temporariesIn = (store: string): string[] => readdirSync(join(store, 'tmp'));

/** Expects that no process holds the store's lock. */
export function expectUnlocked(store: string): void {
  execFileSync('flock', ['--nonblock', '--exclusive', join(store, 'lock'), 'true']);
}

/** Expects that every object matches its name, and that nothing is unfinished or locked. Returns the objects. */
export function expectWhole(store: string): string[] {
  const { hash } = openRepository(store);
  const objects = objectsIn(store);
  for (const name of objects) {
    const path = join(store, 'objects', name);
    const hasher = createDigest(hash);
    hasher.update(readFileSync(path));
    expect(toHex(hasher.digest())).toBe(name.replace('/', ''));
    expect(statSync(path).mode & 0o222).toBe(0);
  }
  expect(temporariesIn(store)).toEqual([]);
  expectUnlocked(store);
  return objects;
}

/** A directory of `files` small files, each with a content of its own. */
export function manyFiles(directory: string, files: number, size = 200): string {
  mkdirSync(directory, { recursive: true });
  for (let i = 0; i < files; i++) {
    writeFileSync(join(directory, `file${String(i).padStart(6, '0')}`), `content ${i} `.repeat(size / 10));
  }
  return directory;
}

/** Mounts a new tmpfs at `path`. It is removed with the scratch directory. */
export async function mountTmpfs(path: string, size = '64m'): Promise<string> {
  mkdirSync(path, { recursive: true });
  await succeed(['mount', '-t', 'tmpfs', '-o', `size=${size},mode=0755`, 'cfs-test', path]);
  return path;
}

/**
 * Mounts a new file system of `type` on a loop device at `path`. It is removed with the scratch directory.
 * @param options of mkfs
 */
export async function mountLoop(
  path: string,
  type: 'ext4' | 'btrfs' | 'xfs',
  mib: number,
  options: readonly string[] = [],
): Promise<string> {
  const device = `${path}.img`;
  mkdirSync(path, { recursive: true });
  writeFileSync(device, '');
  truncateSync(device, mib * 1024 * 1024);
  const quiet = type === 'ext4' ? ['-F', '-E', 'nodiscard', '-m', '0'] : [];
  await succeed([`mkfs.${type}`, '-q', ...quiet, ...options, device]);
  await succeed(['mount', '-o', 'loop', device, path]);
  return path;
}

/** Bytes of a file in blocks that another file shares, as FIEMAP flags them. */
export function sharedBytes(path: string): number {
  const extents = execFileSync('filefrag', ['-v', '-b1', path], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => /^ *\d+:/.test(line));
  return extents.filter((line) => line.includes('shared')).reduce((sum, line) => sum + Number(line.split(':')[3]), 0);
}

export const hasProgram = (name: string): boolean =>
  (process.env['PATH'] ?? '').split(':').some((directory) => existsSync(join(directory, name)));

/** A tool that runs beside the test. */
export interface Running {
  readonly child: ChildProcess;
  readonly pid: number;
  /** Resolves when it ends. */
  readonly outcome: Promise<Outcome>;
}

/** Starts a tool, which is killed with the scratch directory if it still runs. */
export function start(scratch: Scratch, name: string, args: readonly string[]): Running {
  const [program, ...rest] = HERE.tool(name, args, scratch.environment) as [string, ...string[]];
  const child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].setEncoding('utf8').on('data', (text: string) => {
      output[stream] += text;
    });
  }
  const outcome = once(child, 'close').then(([status, signal]) => ({
    status: status as number | null,
    signal: signal as NodeJS.Signals | null,
    ...output,
  }));
  return { child, pid: child.pid as number, outcome };
}

/**
 * Starts packing, and stops it (SIGSTOP) when it has some objects and is far from done. Then `happen` is called, and
 * packing continues.
 */
export async function packInterrupted(
  scratch: Scratch,
  store: string,
  args: readonly string[],
  happen: (pid: number) => void,
): Promise<Outcome> {
  const { child, pid, outcome } = start(scratch, 'cfs-mkimage', args);
  while (child.exitCode === null && !isUnderWay(store)) await new Promise((resolve) => setTimeout(resolve, 1));
  expect(child.exitCode).toBeNull();
  process.kill(pid, 'SIGSTOP');
  try {
    happen(pid);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  return outcome;
}

const isUnderWay = (store: string): boolean =>
  existsSync(join(store, 'meta.json')) && temporariesIn(store).length + objectsIn(store).length >= 20;

/** The trimmed output of a command that must succeed. */
export const outputOf = async (...command: readonly string[]): Promise<string> => (await succeed(command)).trim();

export { run, succeed };

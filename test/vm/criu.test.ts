/**
 * CRIU dumps processes that use a cfs mount, and restores them in later mounts. A virtual machine runs it, because
 * Debian's criu does not start on every kernel. test/vm/criu/guest/run is its script, which runs before the first test.
 */
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { useScratch } from '../e2e/harness.ts';
import { HERE, succeed } from '../e2e/run.ts';
import { compile, record, writeTree } from './criu/tree.ts';
import { copyProject, runMachine } from './machine.ts';
import { copyWithoutExportSupport } from './mutant.ts';
import { Results } from './results.ts';

const scratch = useScratch();
const payload = scratch.at('payload');
const at = (path: string): string => `/mnt/cfs/${path}`;
let results: Results;

beforeAll(async () => {
  mkdirSync(payload);
  for (const version of [1, 2] as const) {
    const source = scratch.at(`version-${version}`);
    writeTree(source, version);
    await scratch.pack(source, { store: join(payload, 'store'), image: join(payload, `v${version}.cfs`) });
  }
  cpSync(join(import.meta.dirname, 'criu/guest'), payload, { recursive: true });
  compile(join(payload, 'bin/open-handles'), 'open-handles.c');
  copyProject(join(payload, 'cfs'));
  copyWithoutExportSupport(join(payload, 'cfs'), join(payload, 'cfs-without-export'));
  await takeHandlesHere();
  const { lines } = await runMachine(payload, scratch.path);
  if (process.env['CFS_DEBUG'] === '1') console.log(lines.join('\n'));
  results = new Results(lines);
});

/** Handles of a mount on this machine, for the virtual machine. */
async function takeHandlesHere(): Promise<void> {
  const mounted = await scratch.mount(join(payload, 'v1.cfs'), { repos: [join(payload, 'store')] });
  const paths = ['data/numbers', 'data/inline', 'list'].map((path) => mounted.at(path));
  const handles = await succeed(HERE.tool('cfs-info', ['handle', ...paths]));
  writeFileSync(join(payload, 'host.handles'), handles.replaceAll(/ .*/g, ''));
}

/** The last report of a process: "kind path" -> value. */
const seen = (name: string, when: string): Record<string, string> => results.map(name, when);

/** The expected report of a process that was dumped right after its first report, and continues. */
const FILES_AFTERWARDS = {
  'exe ': at('bin/holder'),
  'library ': 'the library is there',
  [`cwd ${at('data')}`]: at('data'),
  [`file ${at('data/numbers')}`]: record('number', 1),
  [`file ${at('data/inline')}`]: record('inline', 1),
  [`dir ${at('list')}`]: 'entry-11 entry-12 entry-13',
  [`map ${at('data/mapped')}`]: record('mapped', 0),
  [`lock ${at('data/inline')}`]: 'held',
};

/** Expects that the watches report files that were opened and closed after the restore. */
const WATCHES = {
  [`inotify ${at('watched/file')}`]: 'open close',
  [`inotify ${at('watched/directory')}`]: 'open close open close open:inside close:inside',
  [`fanotify ${at('watched/file')}`]: `open:${at('watched/file')}`,
  [`fanotify ${at('watched/directory')}`]: `open:${at('watched/directory/inside')}`,
};

/** Expects that a case was dumped, and restored in the mount `when`. */
function expectRestored(name: string, when: string): void {
  expect(results.rows(name, 'dump-error')).toEqual([]);
  expect(results.value(name, 'dump')).toBe('0');
  expect(results.rows(name, `restore-${when}-error`)).toEqual([]);
  expect(results.value(name, `restore-${when}`)).toBe('0');
}

/** Expects that a case was dumped, but not restored, with this reason in the messages of CRIU. */
function expectRefused(name: string, when: string, reason: string): void {
  expect(results.value(name, 'dump')).toBe('0');
  expect(results.value(name, `restore-${when}`)).toBe('1');
  expect(results.rows(name, `restore-${when}-error`).flat()).toContain(reason);
}

test('each unmount leaves no daemon and no mount, although processes that used it are going to be restored', () => {
  expect(results.rows('unmount')).toEqual([
    ['', '0'],
    ['', '0'],
    ['', '0'],
    ['', '0'],
  ]);
  expect(results.rows('log')).toEqual([]);
});

test('handles that were taken on another machine open', () => {
  const shown = results.rows('host-handles', 'opened').map(([line]) => line?.replace(/^\d+ /, ''));
  expect(shown).toEqual([`160000 ${record('number', 0)}`, `48 ${record('inline', 0)}`, '0']);
});

describe('a process in a later mount of the same image, with another device number', () => {
  test('(the device number is another one)', () => {
    const [first, second] = results.rows('mount');
    expect(first).not.toEqual(second);
  });

  test.each(['root', 'own', 'evicted-own'])('continues with all its files: %s', (name) => {
    expectRestored(name, 'again');
    const { [`fanotify-mount /mnt/cfs`]: ofMount, ...others } = seen(name, 'after-again');
    expect(others).toEqual({ ...FILES_AFTERWARDS, ...WATCHES });
    if (name !== 'evicted-own') expect(ofMount).toContain(`open:${at('data/inline')}`);
  });

  test('has its watches if CRIU searched the mount for their names', () => {
    expectRestored('scanned', 'again');
    expect(seen('scanned', 'after-again')).toMatchObject(WATCHES);
  });

  test("cannot be restored in the machine's mount namespace if a watched file had no name", () => {
    expectRefused('evicted', 'again', 'fsnotify: Unable to open (null): No such file or directory');
  });
});

describe('a process in a mount of the next version of the image', () => {
  test.each([
    ['root', 'v2-checked'],
    ['evicted-own', 'v2'],
  ])('continues if its files are unchanged: %s', (name, when) => {
    expectRestored(name, when);
    expect(seen(name, `after-${when}`)).toMatchObject({ ...FILES_AFTERWARDS, ...WATCHES });
  });

  test.each([
    ['size', 'File mnt/cfs/changed/size has bad size 1616 (expect 1600)'],
    ['mode', 'File mnt/cfs/changed/mode has bad mode 0100600 (expect 0100644)'],
    ['removed', "Can't open file mnt/cfs/changed/removed on restore: No such file or directory"],
    ['library', 'File mnt/cfs/lib/plugin.so has bad build-ID'],
    ['evicted-content', 'fsnotify: Unable to open (null): Stale file handle'],
  ])('is not restored if a file changed: %s', (name, reason) => {
    expectRefused(name, 'v2', reason);
  });

  // CRIU finds files by their paths, and compares size and mode
  test('is restored with other content of the same size, unless cfs-checkpoint check is run', () => {
    expectRestored('content', 'v2');
    expect(seen('content', 'after-v2')).toMatchObject({ [`file ${at('changed/content')}`]: record('same-2', 0) });
    expectRestored('watched-content', 'v2');

    expectRefused('content', 'v2-checked', 'Aborting restore due to pre-restore script ret code -1');
    expect(results.rows('content', 'restore-v2-checked-error').flat()).toContain('exited, status=10');
  });
});

describe('a process in a mount whose handles are valid only while the kernel has the inode in memory', () => {
  test('is not restored if CRIU needs them', () => {
    expectRefused('evicted-own', 'no-export', 'fsnotify: Unable to open (null): Stale file handle');
  });

  test('is restored if CRIU does not need them', () => {
    expectRestored('root', 'no-export');
  });
});

/** `cfs-info tar`: archives that GNU tar and bsdtar unpack to the packed tree. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { EXIT } from '../../tools/cli.ts';
import { Random } from '../support/random.ts';
import { generateTree, removeTree } from '../support/tree-generator.ts';
import { compare, useScratch } from './harness.ts';
import { OWN_TOOLS } from './run.ts';

const scratch = useScratch();
const TOOL = `${OWN_TOOLS.dist}/tools/cfs-info.js`;
let odd: string;
let image: string;

beforeAll(async () => {
  odd = scratch.directory('odd');
  expect(generateTree(odd, { seed: 15, files: 300, directories: 30, oddities: true, deep: 400 }).skipped).toEqual([]);
  // an archive cannot have sockets
  for (const socket of ['odd/types/socket', 'odd/modes/socket-7777']) rmSync(join(odd, socket));
  ({ image } = await scratch.pack(odd));
});

/** Runs a script of bash with node and the tool in $NODE and $TOOL, and the words as $1 and so on. */
function shell(script: string, ...words: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync('bash', ['-o', 'pipefail', '-c', script, 'bash', ...words], {
    env: { ...process.env, ...scratch.environment, NODE: process.execPath, TOOL, LC_ALL: 'C.UTF-8' },
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  return { status, stdout, stderr };
}
const tar = '"$NODE" "$TOOL" tar';
const FINE = { status: EXIT.ok, stdout: '', stderr: '' };

const UNPACKERS = {
  'GNU tar': 'tar --warning=no-timestamp --xattrs --xattrs-include="*" --acls --numeric-owner --same-owner -xpf - -C',
  bsdtar: 'bsdtar --xattrs --acls --numeric-owner --same-owner -xpf - -C',
} as const;

test('GNU tar unpacks it to the packed tree', async () => {
  const target = scratch.directory('gnu');
  const { status, stderr } = shell(`${tar} "$1" | ${UNPACKERS['GNU tar']} "$2"`, image, target);
  // paths that are long and not UTF-8 have a keyword of POSIX that GNU tar does not know and need not know
  expect(stderr.replace(/^tar: Ignoring unknown extended header keyword 'hdrcharset'\n/gm, '')).toBe('');
  expect(status).toBe(EXIT.ok);
  const { differences, entries } = await compare(odd, target);
  expect(differences).toEqual([]);
  expect(entries).toBeGreaterThan(900);
  removeTree(target);
});

test('bsdtar unpacks it to the packed tree', async () => {
  const target = scratch.directory('bsd');
  const { status, stderr } = shell(`${tar} "$1" | ${UNPACKERS.bsdtar} "$2"`, image, target);
  expect({ status, stderr }).toEqual({ status: EXIT.ok, stderr: '' });
  const { differences } = await compare(odd, target);
  // libarchive takes -1.5 for -1 s + 0.5 s, and sets no time of the directory that it unpacks into
  const known = (path: string): boolean => path === '/' || /^\/odd\/times\/(?:directory)?-\d+(?:\.[19]+)?$/.test(path);
  expect(differences.filter(({ path, field }) => field !== 'mtime' || !known(path))).toEqual([]);
  expect(differences).toHaveLength(7);
  removeTree(target);
});

test('holes stay holes', () => {
  const target = scratch.directory('holes');
  expect(shell(`${tar} "$1" odd/sparse | tar --warning=no-timestamp -xf - -C "$2"`, image, target)).toEqual(FINE);
  for (const name of ['only-hole', 'zeros', 'hole-first']) {
    expect(statSync(join(target, 'odd/sparse', name)).blocks, name).toBeLessThan(150);
  }
});

test('the same image results in the same bytes, at any time and from any repository', async () => {
  const other = scratch.at('other-store');
  const { image: again } = await scratch.pack(odd, { store: other });
  const sum = (path: string, store: string): string => shell(`${tar} --repo "$2" "$1" | sha256sum`, path, store).stdout;
  expect(sum(image, scratch.store)).toBe(sum(again, other));
});

test('has only the given parts, with their whole paths', () => {
  const { stdout } = shell(`${tar} "$1" /odd/links/b odd/types/regular | tar -tf -`, image);
  expect(stdout.split('\n')).toEqual(['odd/links/b/', 'odd/links/b/first', 'odd/types/regular', '']);
  const all = shell(`${tar} "$1" | tar -tf - | head -2`, image);
  expect(all.stdout).toBe('./\ndeep/\n');
});

test('a socket is left out, and reported', async () => {
  const source = scratch.directory('socket');
  generateTree(source, { seed: 1, oddities: true });
  const packed = await scratch.pack(source);
  const { status, stdout, stderr } = shell(`${tar} "$1" /odd/types | tar -tf -`, packed.image);
  expect(status).toBe(EXIT.ok);
  expect(stdout).toContain('odd/types/fifo');
  expect(stdout).not.toContain('socket');
  expect(stderr).toBe('cfs-info: /odd/types/socket is a socket, which an archive cannot have: left out\n');
});

test('large contents are read by threads, and an error ends the archive without an end', async () => {
  const source = scratch.directory('large');
  const random = new Random(4);
  mkdirSync(join(source, 'd'));
  for (let i = 0; i < 40; i++) writeFileSync(join(source, 'd', `f${i}`), random.bytes(500_000 + i));
  const store = scratch.at('large-store');
  const { image: large } = await scratch.pack(source, { store });
  const target = scratch.directory('large-target');
  expect(shell(`${tar} --repo "$3" "$1" | tar -xpf - -C "$2"`, large, target, store)).toEqual(FINE);
  expect((await compare(source, target)).differences).toEqual([]);

  const objects = join(store, 'objects');
  const names = readdirSync(objects, { recursive: true, encoding: 'utf8' }).filter((name) => name.length === 65);
  const damaged = names.find((name) => statSync(join(objects, name)).size === 500_030) as string;
  chmodSync(join(objects, damaged), 0o644);
  truncateSync(join(objects, damaged), 1000);
  const { status, stderr } = shell(`${tar} --repo "$2" "$1" > "$3"`, large, store, scratch.at('cut.tar'));
  expect(status).toBe(EXIT.store);
  expect(stderr).toMatch(/\/d\/f30: object [0-9a-f]{64}: .* it is truncated: 1000 bytes instead of 500030: EIO/);
  expect(shell('tar -tf "$1" > /dev/null', scratch.at('cut.tar')).status).not.toBe(0);
});

test('ends quietly if its reader does, and refuses a terminal', () => {
  expect(shell(`${tar} "$1" | head -c 100 | wc -c`, image)).toMatchObject({ stdout: '100\n', stderr: '' });
  const { stdout } = shell('script -qec "$NODE $TOOL tar $1" /dev/null < /dev/null', image);
  expect(stdout).toContain('Refusing to write an archive to a terminal');
});

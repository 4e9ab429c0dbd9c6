/** `cfs-info diff` as a command: real trees, packed twice, and one of them mounted. */
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { digestContent } from '../../src/base/digest.ts';
import { type InodeMetadata, ManifestBuilder } from '../../src/manifest/builder.ts';
import { encodeManifest } from '../../src/manifest/encode.ts';
import { EXIT } from '../../tools/cli.ts';
import { formatBytes } from '../../tools/format.ts';
import { useScratch } from './harness.ts';
import type { Outcome } from './run.ts';

const scratch = useScratch();
const TOOL = resolve(import.meta.dirname, '../../dist/tools/cfs-info.js');
const TIME = 1_700_000_000;

let oldImage: string;
let newImage: string;

const text = (name: string): string => `${name} `.repeat(100);

/** Sets all times to TIME, so that the only differences are the changes of a test. */
function touchAll(directory: string): void {
  const { status } = spawnSync('find', [directory, '-exec', 'touch', '-h', '-d', `@${TIME}`, '{}', '+']);
  expect(status).toBe(0);
}

beforeAll(async () => {
  const source = scratch.directory('source');
  const at = (name: string): string => join(source, name);
  for (const name of ['etc', 'lib', 'lib/deep']) mkdirSync(at(name));
  for (const name of ['etc/kept', 'etc/content', 'etc/mode', 'etc/gone', 'lib/a', 'lib/b', 'lib/deep/c', 'two words']) {
    writeFileSync(at(name), text(name));
  }
  writeFileSync(Buffer.concat([Buffer.from(`${source}/`), Buffer.from([0xff])]), 'no text');
  writeFileSync(at('etc/time'), 'short');
  linkSync(at('etc/kept'), at('etc/link'));
  symlinkSync('kept', at('etc/symbolic'));
  touchAll(source);
  oldImage = (await scratch.pack(source)).image;

  appendFileSync(at('etc/content'), 'more');
  chmodSync(at('etc/mode'), 0o600);
  unlinkSync(at('etc/gone'));
  unlinkSync(at('etc/link'));
  unlinkSync(at('etc/symbolic'));
  symlinkSync('content', at('etc/symbolic'));
  writeFileSync(at('came\n'), text('came'));
  renameSync(at('lib'), at('lib64'));
  renameSync(at('two words'), at('lib64/deep/one'));
  writeFileSync(at('etc/came'), text('etc/came'));
  rmSync(Buffer.concat([Buffer.from(`${source}/`), Buffer.from([0xff])]));
  touchAll(source);
  utimesSync(at('etc/time'), TIME, TIME + 1);
  lutimesSync(at('etc/symbolic'), TIME, TIME + 1.5);
  newImage = (await scratch.pack(source)).image;
});

const LINES = [
  'A /came\\x0a',
  'A /etc/came',
  'M /etc/content  content',
  'D /etc/gone',
  'M /etc/kept  links',
  'D /etc/link',
  'M /etc/mode  mode',
  'M /etc/symbolic  content,mtime',
  'M /etc/time  mtime',
  'R /lib -> /lib64  (4 below)',
  'R /two words -> /lib64/deep/one',
  'D /\\xff',
];

/** Runs the command; returns its output byte by byte, as latin1. */
const diff = (...args: string[]): Outcome => {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [TOOL, 'diff', ...args], {
    encoding: 'latin1',
  });
  return { status, signal, stdout, stderr };
};

const found = (...args: string[]): string => {
  const { status, stdout, stderr } = diff(...args);
  expect({ status, stderr }).toEqual({ status: EXIT.found, stderr: '' });
  return stdout;
};

const linesOf = (stdout: string): string[] => stdout.split('\n').slice(0, -1);

describe('cfs-info diff', () => {
  test('lists added, removed, changed and renamed files, in path order', () => {
    expect(linesOf(found(oldImage, newImage))).toEqual(LINES);
  });

  test('prints nothing for an image and itself', () => {
    expect(diff(oldImage, oldImage)).toEqual({ status: EXIT.ok, signal: null, stdout: '', stderr: '' });
    expect(diff('--json', newImage, newImage).stdout).toBe('[]\n');
    expect(diff('-0', newImage, newImage).stdout).toBe('');
  });

  test('lists only the given paths', () => {
    const below = (...paths: string[]): string[] => linesOf(found(oldImage, newImage, ...paths));
    expect(below('etc')).toEqual(LINES.filter((line) => line.includes('/etc/')));
    expect(below('/etc/mode', '\\xff')).toEqual(['M /etc/mode  mode', 'D /\\xff']);
    expect(below('/lib64/deep'), 'how it came there, too').toEqual(LINES.slice(9, 11));
    expect(below('/lib/deep/c'), 'and where it went').toEqual(LINES.slice(9, 10));
    expect(diff(oldImage, oldImage, '/etc').status).toBe(EXIT.ok);
    expect(diff(oldImage, newImage, '/lib64/a').status, 'its directory was renamed').toBe(EXIT.found);
    const { status, stderr } = diff(oldImage, newImage, '/none');
    expect(status).toBe(EXIT.usage);
    expect(stderr).toBe(
      `cfs-info: Cannot find /none in image ${newImage}: / has no entry none; and in image ${oldImage}: / has no entry none\n`,
    );
  });

  test('--tree shows changes in their directories, with the bytes gained and lost', () => {
    const kept = text('etc/kept').length;
    const bytes = (plus: number, minus: number): string => `  +${formatBytes(plus)}  -${formatBytes(minus)}`;
    const content = text('etc/content').length;
    const gained = content + 4 + text('etc/came').length;
    const lost = content + text('etc/gone').length + kept;
    expect(linesOf(Buffer.from(found('--tree', oldImage, newImage), 'latin1').toString())).toEqual([
      `/${bytes(gained + text('came').length, lost + 7)}`,
      `├── A came\\x0a  +${formatBytes(text('came').length)}`,
      `├── etc/${bytes(gained, lost)}`,
      `│   ├── A came  +${formatBytes(text('etc/came').length)}`,
      `│   ├── M content  content${bytes(content + 4, content)}`,
      `│   ├── D gone  -${formatBytes(text('etc/gone').length)}`,
      '│   ├── M kept  links',
      `│   ├── D link  -${formatBytes(kept)}`,
      '│   ├── M mode  mode',
      '│   ├── M symbolic  content,mtime',
      '│   └── M time  mtime',
      '├── R lib64/  from /lib  (4 below)',
      '│   └── R deep/one  from /two words',
      '└── D \\xff  -7 B',
    ]);
    expect(diff('--tree', oldImage, oldImage)).toMatchObject({ status: EXIT.ok, stdout: '' });
    expect(diff('--tree', '--stat', oldImage, newImage).status).toBe(EXIT.usage);
    expect(diff('--tree', '-0', oldImage, newImage).status).toBe(EXIT.usage);
    const directories = JSON.parse(found('--tree', '--json', oldImage, newImage)) as object[];
    expect(directories.map((each) => (each as { path: string }).path)).toEqual(['/', '/etc', '/lib64', '/lib64/deep']);
    expect(directories[1]).toEqual({ path: '/etc', gained, lost, added: 1, removed: 2, changed: 5, renamed: 0 });
  });

  test('--color puts colours around names that were added and removed, and around bytes', () => {
    const lines = linesOf(found('--color=always', oldImage, newImage));
    expect(lines[1]).toBe('\x1b[32mA /etc/came\x1b[39m');
    expect(lines[2]).toBe('\x1b[33mM\x1b[39m /etc/content  content');
    expect(lines[3]).toBe('\x1b[31mD /etc/gone\x1b[39m');
    expect(lines[9]).toBe('\x1b[36mR\x1b[39m /lib -> /lib64  (4 below)');
    const [, line = ''] = linesOf(found('--tree', '--color=always', oldImage, newImage, '/etc/gone'));
    expect(Buffer.from(line, 'latin1').toString()).toBe(
      '└── \x1b[31mD\x1b[39m \x1b[31metc/gone\x1b[39m  \x1b[31m-900 B\x1b[39m',
    );
    expect(linesOf(found('--color=never', oldImage, newImage))).toEqual(LINES);
  });

  test('-0 prints four fields per change, with exact names', () => {
    const fields = found('-0', oldImage, newImage).split('\0');
    expect(fields).toHaveLength(LINES.length * 4 + 1);
    expect(fields.slice(0, 8)).toEqual(['A', '', '', '/came\n', 'A', '', '', '/etc/came']);
    expect(fields.slice(-9)).toEqual(['R', '', '/two words', '/lib64/deep/one', 'D', '', '/\xff', '', '']);
    expect(diff('-0', '--json', oldImage, newImage).status).toBe(EXIT.usage);
    expect(diff('-0', '--stat', oldImage, newImage).status).toBe(EXIT.usage);
  });

  test('--json has both inodes of each change', () => {
    const changes = JSON.parse(found('--json', oldImage, newImage)) as {
      change: string;
      what?: string[];
      below?: number;
      old?: Record<string, unknown>;
      new?: Record<string, unknown>;
    }[];
    expect(changes.map(({ change }) => change[0]?.toUpperCase())).toEqual(
      LINES.map((line) => ({ D: 'R', M: 'C', A: 'A', R: 'R' })[line[0] as 'A']),
    );
    expect(Object.keys(changes[0] ?? {})).toEqual(['change', 'new']);
    expect(changes[0]?.new).toMatchObject({ path: '/came\n', type: 'regular file', size: 500 });
    expect(changes[4]).toMatchObject({ what: ['links'], old: { nlink: 2 }, new: { nlink: 1 } });
    expect(changes[6]).toMatchObject({ what: ['mode'], old: { mode: 0o100644 }, new: { mode: 0o100600 } });
    expect(changes[7]).toMatchObject({ old: { target: 'kept', mtimeNsec: 0 }, new: { mtimeNsec: 500_000_000 } });
    expect(changes[9]).toMatchObject({ below: 4, what: [], old: { path: '/lib' }, new: { path: '/lib64' } });
    expect(changes[11]?.old).toMatchObject({ path: '/\\xff', pathBase64: 'L/8=' });
  });

  test('--stat counts the changes', () => {
    expect(linesOf(found('--stat', oldImage, newImage))).toEqual([
      'added    2 entries, 2 files, 1.4 kB',
      'removed  3 entries, 3 files, 1.8 kB',
      'changed  5 entries, 4 files: content 2, mode 1, mtime 2, links 1',
      'renamed  2 entries, 1 file, and 4 with their directories',
      'objects  9 (7.7 kB), of these new 3 (2.6 kB)',
    ]);
    expect(JSON.parse(found('--stat', '--json', oldImage, newImage, 'lib64'))).toEqual({
      added: { entries: 0, files: 0, bytes: 0 },
      removed: { entries: 0, files: 0, bytes: 0 },
      changed: { entries: 0, files: 0, type: 0, content: 0, mode: 0, owner: 0, mtime: 0, xattrs: 0, links: 0 },
      renamed: { entries: 2, files: 1, below: 4 },
      objects: 4,
      objectBytes: 3300,
      newObjects: 0,
      newBytes: 0,
    });
    const { status, stdout } = diff('--stat', oldImage, oldImage);
    expect(status).toBe(EXIT.ok);
    expect(stdout).toContain('changed  0 entries, 0 files\n');
  });

  test('accepts a mount in place of the mounted image', async () => {
    const mounted = await scratch.mount(newImage);
    expect(linesOf(found(oldImage, mounted.path))).toEqual(LINES);
    expect(diff(mounted.path, newImage)).toMatchObject({ status: EXIT.ok, stdout: '' });
    expect(diff(mounted.at('etc'), newImage)).toMatchObject({
      status: EXIT.usage,
      stderr: `cfs-info: ${mounted.at('etc')} is /etc of an image, not all of it: name the image or its mount point, and /etc after the two\n`,
    });
    expect(diff(scratch.path, newImage)).toMatchObject({
      status: EXIT.usage,
      stderr: expect.stringContaining(`${scratch.path} is not in a mount of cfs`) as string,
    });
  });

  test('finds the image of a mount after it was moved, and takes no other image for it', async () => {
    const image = scratch.at('to-move.cfs');
    copyFileSync(newImage, image);
    const mounted = await scratch.mount(image, { words: ['fsname=named'] });
    const moved = scratch.at('moved.cfs');
    renameSync(image, moved);
    copyFileSync(oldImage, image);
    expect(diff(newImage, mounted.path)).toMatchObject({ status: EXIT.ok, stdout: '', stderr: '' });
    rmSync(moved);
    expect(diff(newImage, mounted.path)).toMatchObject({
      status: EXIT.image,
      stderr: `cfs-info: Cannot read the image that is mounted on ${mounted.path}: it was deleted or replaced, or its file system was unmounted\n`,
    });
  });

  test('compares images of different hash by their blocks, and reports that', async () => {
    const source = scratch.directory('source');
    writeFileSync(join(source, 'large'), Buffer.alloc(200_000, 1));
    writeFileSync(join(source, 'small'), text('small'));
    const one = (await scratch.pack(source)).image;
    const store = scratch.at('fsverity-store');
    const two = (await scratch.pack(source, { store, args: ['--hash', 'fsverity-sha256'] })).image;
    const note = `cfs-info: ${one} names contents by blake3 and ${two} by fsverity-sha256: they are compared by the hashes of their 64 KiB blocks\n`;
    expect(diff(one, two)).toEqual({ status: EXIT.ok, signal: null, stdout: '', stderr: note });
    const { stdout, stderr } = diff('--stat', one, two);
    expect({ stdout, stderr }).toEqual({ stdout: expect.stringContaining('of these new 2 (201 kB)'), stderr: note });
  });

  test('names the image that cannot be read', () => {
    const none = scratch.at('none.cfs');
    for (const args of [
      [none, newImage],
      [newImage, none],
    ]) {
      expect(diff(...args)).toMatchObject({
        status: EXIT.image,
        stdout: '',
        stderr: `cfs-info: Cannot read image ${none}: no such file or directory\n`,
      });
    }
    expect(diff(newImage).stderr).toContain("missing required argument 'new'");
  });
});

describe('cfs-info diff of images of 250,000 files', () => {
  const COUNT = 250_000;
  const metadata: InodeMetadata = { mode: 0o100644, uid: 0, gid: 0, mtime: TIME, mtimeNsec: 0, rdev: 0, xattrs: [] };
  const one = (): string => scratch.at('many-1.cfs');
  const two = (): string => scratch.at('many-2.cfs');

  /** Files in directories of a thousand. One directory is named `special`, and every tenth file has the uid. */
  function manyFiles(special: string, uid: number): Uint8Array {
    const builder = new ManifestBuilder('blake3', { ...metadata, mode: 0o40755 });
    const contents = Array.from({ length: 100 }, (_, i) => digestContent('blake3', Buffer.from(`content ${i}`)));
    let parent = 0;
    for (let i = 0; i < COUNT; i++) {
      if (i % 1000 === 0) {
        parent = builder.addInode({ ...metadata, mode: 0o40755 });
        builder.link(0, Buffer.from(i === 5000 ? special : `directory-${i}`), parent);
      }
      const inode = builder.addInode(i % 10 === 0 ? { ...metadata, uid } : metadata);
      builder.link(parent, Buffer.from(`file-${i}`), inode);
      builder.setObject(inode, contents[i % 100] as (typeof contents)[0]);
    }
    return encodeManifest(builder.finish());
  }

  beforeAll(() => {
    writeFileSync(one(), manyFiles('old', 0));
    writeFileSync(two(), manyFiles('new', 7));
  });

  test('reads large images at once, and ends quietly when the reader stops', () => {
    const args = ['-c', 'set -o pipefail; "$0" "$1" diff "$2" "$3" | head -n 1', process.execPath, TOOL, one(), two()];
    const { status, stdout, stderr } = spawnSync('bash', args, { encoding: 'utf8' });
    expect({ status, stdout, stderr }).toEqual({
      status: EXIT.found,
      stdout: 'M /directory-0/file-0  owner\n',
      stderr: '',
    });
  });

  test('finds all changes', () => {
    const { renamed, changed } = JSON.parse(found('--stat', '--json', one(), two())) as {
      renamed: object;
      changed: object;
    };
    expect(changed).toMatchObject({ entries: COUNT / 10, owner: COUNT / 10 });
    expect(renamed).toEqual({ entries: 1, files: 0, below: 1000 });
  });

  test('reports for either image why it cannot be read', () => {
    writeFileSync(scratch.at('broken.cfs'), Buffer.alloc(20_000_000, 1));
    const message = `cfs-info: Cannot read image ${scratch.at('broken.cfs')}: malformed manifest: `;
    expect(diff(one(), scratch.at('broken.cfs')).stderr).toContain(message);
    expect(diff(scratch.at('broken.cfs'), two()).stderr).toContain(message);
    expect(diff(scratch.at('none.cfs'), two()).status).toBe(EXIT.image);
  });
});

/** Directories of a store: no link is followed, only regular files are opened, nothing outside is touched. */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ELOOP, ENOENT, ENOTDIR, isErrno } from '../../../src/base/errno.ts';
import { reasonOf } from '../../../src/base/error.ts';
import { StoreDirectory } from '../../../src/store/store-directory.ts';
import { openBeneath, openHow, openStepByStep } from '../../../src/system/beneath.ts';
import { closeFd } from '../../../src/system/descriptors.ts';
import { namesAt } from '../../../src/system/directory-listing.ts';
import { useScratch } from './scratch.ts';

const at = useScratch();
let serial = 0;
let path: string;
let outside: string;
let directory: StoreDirectory;

beforeEach(() => {
  path = at(`directory-${++serial}`);
  outside = at(`outside-${serial}`);
  for (const made of [path, outside]) mkdirSync(made);
  writeFileSync(`${outside}/file`, 'precious');
  mkdirSync(`${path}/objects/ab`, { recursive: true });
  writeFileSync(`${path}/objects/ab/object`, 'content');
  directory = StoreDirectory.at(path);
});
afterEach(() => directory.close());

const untouched = (): void => {
  expect(readdirSync(outside)).toEqual(['file']);
  expect(readFileSync(`${outside}/file`, 'utf8')).toBe('precious');
};

const reason = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    return reasonOf(error);
  }
  throw new Error('it did not throw');
};

const FILE = openHow(0);

describe.each([
  ['openat2(2)', (name: string) => openBeneath(directory.fd, Buffer.from(`${name}\0`), FILE)],
  ['one component after another', (name: string) => openStepByStep(directory.fd, Buffer.from(name), FILE)],
])('opening below a directory by %s', (_, open) => {
  test('opens existing files, and returns ENOENT for missing ones', () => {
    const fd = open('objects/ab/object') as number;
    expect(readFileSync(fd, 'utf8')).toBe('content');
    closeFd(fd);
    expect(open('objects/ab/other')).toBe(ENOENT);
    expect(open('objects/cd/object')).toBe(ENOENT);
  });

  test('follows no link in any component', () => {
    symlinkSync(outside, `${path}/objects/cd`);
    symlinkSync('objects', `${path}/again`);
    symlinkSync('object', `${path}/objects/ab/link`);
    for (const name of ['objects/cd/file', 'again/ab/object', 'objects/ab/link']) {
      const fd = open(name);
      expect([ELOOP, ENOTDIR], name).toContain(fd);
    }
  });

  test('leaves no descriptor behind', () => {
    const before = readdirSync('/proc/self/fd').length;
    for (const name of ['objects/ab/other', 'objects/cd/object', 'objects/ab/object/more'])
      expect(isErrno(open(name))).toBe(true);
    expect(readdirSync('/proc/self/fd').length).toBe(before);
  });
});

test('namesAt() returns all names of a large directory, each time from the beginning', () => {
  const names = Array.from({ length: 5000 }, (_, i) => `${i}-ü`);
  for (const name of names) writeFileSync(`${path}/objects/ab/${name}`, '');
  const large = directory.open('objects/ab');
  for (let i = 0; i < 2; i++) expect(new Set(namesAt(large.fd) as string[])).toEqual(new Set([...names, 'object']));
  large.close();
});

describe('StoreDirectory', () => {
  test('opens no directory behind a link, and reports that', () => {
    symlinkSync(outside, `${path}/tmp`);
    symlinkSync('objects', `${path}/again`);
    const text = 'is a symbolic link (links in a repository are not followed; use a bind mount instead)';
    expect(reason(() => directory.open('tmp'))).toBe(`it ${text}`);
    expect(reason(() => directory.make('tmp'))).toBe(`it ${text}`);
    expect(reason(() => directory.open('again/ab'))).toBe(`again ${text}`);
    expect(reason(() => directory.openIfThere('tmp'))).toBe(`it ${text}`);
    expect(directory.openIfThere('nothing')).toBeUndefined();
  });

  test('makes a directory, or opens an existing one', () => {
    for (let i = 0; i < 2; i++) directory.make('tmp', 0o700).close();
    expect(lstatSync(`${path}/tmp`).mode & 0o777).toBe(0o700);
    writeFileSync(`${path}/plain`, '');
    expect(reason(() => directory.make('plain'))).toBe('not a directory');
  });

  test('opens only regular files, without waiting', () => {
    expect(spawnSync('mkfifo', [`${path}/fifo`]).status).toBe(0);
    mkdirSync(`${path}/inner`);
    symlinkSync(`${outside}/file`, `${path}/link`);
    symlinkSync(`${outside}/new`, `${path}/dangling`);
    symlinkSync('/dev/zero', `${path}/zero`);
    for (const flags of [0, 1, 0o101, 0o2001]) {
      expect(reason(() => directory.openFile('fifo', flags))).toBe('it is not a regular file');
      for (const name of ['link', 'dangling', 'zero']) {
        expect(reason(() => directory.openFile(name, flags))).toMatch(/^it is a symbolic link/);
      }
    }
    expect(reason(() => directory.openFile('inner'))).toBe('it is not a regular file');
    expect(reason(() => directory.create('dangling', 0o600))).toBe('file exists');
    untouched();
  });

  test('renames, links and deletes its names', () => {
    const inner = directory.make('inner');
    closeSync(directory.create('new', 0o600));
    directory.link('new', inner, 'linked');
    symlinkSync(`${outside}/file`, `${path}/inner/link`);
    directory.rename('new', inner, 'link');
    expect(lstatSync(`${path}/inner/link`).isFile()).toBe(true);
    inner.unlink('link');
    expect(inner.names()).toEqual(['linked']);
    expect(inner.stat('link')).toBeUndefined();
    expect(inner.stat('linked')).toMatchObject({ size: 0, nlink: 1 });
    inner.close();
    untouched();
  });

  test('continues in the directory that it has opened, if another takes its name', () => {
    const inner = directory.make('inner');
    spawnSync('mv', [`${path}/inner`, `${path}/moved`]);
    symlinkSync(outside, `${path}/inner`);
    closeSync(inner.create('new', 0o600));
    inner.close();
    expect(readdirSync(`${path}/moved`)).toEqual(['new']);
    untouched();
  });

  test('deletes a tree, but no target of a link in it', () => {
    mkdirSync(`${path}/tree/deeper`, { recursive: true });
    symlinkSync(outside, `${path}/tree/deeper/link`);
    symlinkSync(outside, `${path}/link`);
    for (const name of ['tree', 'link', 'nothing']) directory.removeTree(name);
    expect(readdirSync(path)).toEqual(['objects']);
    untouched();
  });

  test('does not delete a tree deeper than any of cfs', () => {
    mkdirSync(`${path}/tree${'/d'.repeat(100)}`, { recursive: true });
    expect(reason(() => directory.removeTree('tree'))).toBe('it is too deep');
    expect(existsSync(`${path}/tree`)).toBe(true);
  });

  test('knows its place under any name', () => {
    const before = directory.place;
    spawnSync('mv', [path, `${path}-moved`]);
    expect(directory.place).toEqual(before);
    const other = StoreDirectory.of(directory.fd, path);
    expect(other.place).toEqual(before);
    other.sync();
    expect(readlinkSync(`/proc/self/fd/${other.fd}`)).toBe(`${path}-moved`);
    other.close();
  });
});

import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { closeFd, openAt } from '../../../src/system/descriptors.ts';
import { makeDirectoryAt } from '../../../src/system/directory-calls.ts';
import { emptyDirectory } from '../../../src/upper/empty-directory.ts';
import { useScratch } from '../store/scratch.ts';

const at = useScratch();

/** Empties a directory, and checks that nothing is left in it. */
function empty(path: string, keeps: (name: string) => boolean = () => false): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    expect(emptyDirectory(fd, (name) => keeps(Buffer.from(name).toString('latin1')))).toBeUndefined();
  } finally {
    closeSync(fd);
  }
}

const descriptors = (): number => readdirSync('/proc/self/fd').length;

test('removes files of all types and names, and follows no link', () => {
  const [dir, outside] = [at('all'), at('outside')];
  mkdirSync(join(outside, 'kept'), { recursive: true });
  writeFileSync(join(outside, 'file'), 'kept');
  mkdirSync(join(dir, 'a/b'), { recursive: true });
  symlinkSync(outside, join(dir, 'link'));
  symlinkSync(outside, join(dir, 'a/link'));
  symlinkSync('../../outside', join(dir, 'a/b/link'));
  linkSync(join(outside, 'file'), join(dir, 'a/b/hard link'));
  execFileSync('mkfifo', [join(dir, 'a/fifo')]);
  for (const name of [Buffer.from([0xff, 0x0a, 0x5c]), Buffer.from('x'.repeat(255)), Buffer.from('#remove-0')]) {
    writeFileSync(Buffer.concat([Buffer.from(`${dir}/`), name]), '');
    mkdirSync(Buffer.concat([Buffer.from(`${dir}/a/b/`), name]));
    writeFileSync(Buffer.concat([Buffer.from(`${dir}/a/b/`), name, Buffer.from('/below')]), '');
  }
  const before = descriptors();
  empty(dir);
  expect(readdirSync(dir)).toEqual([]);
  expect(readFileSync(join(outside, 'file'), 'utf8')).toBe('kept');
  expect(existsSync(join(outside, 'kept'))).toBe(true);
  expect(descriptors()).toBe(before);
});

test('removes a tree deeper than the longest path, with two descriptors', () => {
  const dir = at('deep');
  mkdirSync(dir);
  let fd = openSync(dir, constants.O_RDONLY | constants.O_DIRECTORY);
  for (let depth = 0; depth < 1000; depth++) {
    expect(makeDirectoryAt(fd, Buffer.from('dddd'), 0o700)).toBe(0);
    if (depth % 100 === 0) expect(makeDirectoryAt(fd, Buffer.from('side'), 0o700)).toBe(0);
    const next = openAt(fd, Buffer.from('dddd'), constants.O_RDONLY | constants.O_DIRECTORY);
    closeFd(fd);
    fd = next;
  }
  closeFd(fd);
  empty(dir);
  expect(readdirSync(dir)).toEqual([]);
});

test('removes more files than one reply of the kernel lists', () => {
  const dir = at('wide');
  mkdirSync(join(dir, 'below'), { recursive: true });
  for (let i = 0; i < 3000; i++) writeFileSync(join(dir, 'below', `${i}`.padStart(120, 'x')), '');
  for (let i = 0; i < 300; i++) mkdirSync(join(dir, `${i}`, `${i}`), { recursive: true });
  empty(dir);
  expect(readdirSync(dir)).toEqual([]);
});

test('keeps the given names, in the directory itself only', () => {
  const dir = at('keep');
  mkdirSync(join(dir, 'a'), { recursive: true });
  for (const name of ['keep', 'go', 'a/keep']) writeFileSync(join(dir, name), '');
  empty(dir, (name) => name === 'keep');
  expect(readdirSync(dir)).toEqual(['keep']);
});

test('removes directories without permissions', () => {
  const dir = at('closed');
  mkdirSync(join(dir, 'a/b/c'), { recursive: true });
  writeFileSync(join(dir, 'a/b/file'), '');
  for (const name of ['a/b/c', 'a/b', 'a']) chmodSync(join(dir, name), 0);
  empty(dir);
  expect(readdirSync(dir)).toEqual([]);
});

import { describe, expect, it } from 'vitest';
import { ELOOP, ENOENT, ENOTDIR } from '../../../src/base/errno.ts';
import { followPath } from '../../../src/manifest/follow.ts';
import { lookupPath } from '../../../src/manifest/lookup.ts';
import { buildTables, directory, file, symlink, treeOf } from './model.ts';

const chain = Object.fromEntries(
  Array.from({ length: 42 }, (_, i) => [`/chain${i}`, symlink(i === 0 ? 'file' : `chain${i - 1}`)]),
);
const tables = buildTables(
  treeOf({
    '/file': file('f'),
    '/d': directory,
    '/d/e': directory,
    '/d/e/file': file('g'),
    '/relative': symlink('d/e'),
    '/absolute': symlink('/d/e/file'),
    '/d/e/up': symlink('../../file'),
    '/d/out': symlink('../../../../../../file'),
    '/d/etc': symlink('/etc/passwd'),
    '/dangling': symlink('no/such'),
    '/loop': symlink('loop'),
    '/slash': symlink('file/'),
    '/directory': symlink('d/'),
    ...chain,
  }),
);
const follow = (path: string): number => followPath(tables, Buffer.from(path));
const at = (path: string): number => lookupPath(tables, Buffer.from(path));

describe('followPath()', () => {
  it.each([
    ['', '/'],
    ['/', '/'],
    ['//d/./e//file', '/d/e/file'],
    ['/relative/file', '/d/e/file'],
    ['/relative', '/d/e'],
    ['/absolute', '/d/e/file'],
    ['/d/e/up', '/file'],
    ['/relative/up', '/file'],
    ['/relative/..', '/d'],
    ['/directory/', '/d'],
  ])('resolves %j to %j', (path, expected) => {
    expect(follow(path)).toBe(at(expected));
  });

  it.each([['/..'], ['/../../file/../file'], ['/d/out']])('does not leave the image at %j', (path) => {
    expect(follow(path)).toBe(path === '/..' ? 0 : path === '/d/out' ? at('/file') : ENOTDIR);
  });

  it.each([
    ['/nothing', ENOENT],
    ['/dangling', ENOENT],
    ['/d/etc', ENOENT],
    ['/file/', ENOTDIR],
    ['/file/.', ENOTDIR],
    ['/slash', ENOTDIR],
    ['/file/x', ENOTDIR],
    ['/loop', ELOOP],
    ['/chain41', ELOOP],
  ])('fails at %j', (path, errno) => {
    expect(follow(path)).toBe(errno);
  });

  it('follows 40 links', () => {
    expect(follow('/chain39')).toBe(at('/file'));
    expect(follow('/chain40')).toBe(ELOOP);
  });
});

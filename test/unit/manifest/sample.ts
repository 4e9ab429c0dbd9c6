/** A small image with a row in every table and one inode of every type. */
import type { ManifestTables } from '../../../src/manifest/tables.ts';
import { buildTables, directory, file, inline, symlink, type Tree, treeOf, xattr } from './model.ts';

/** 100,000 bytes: two blocks, so that the object has block hashes. */
const large = new Uint8Array(100_000).fill(7);

export const sampleTree: Tree = treeOf(
  {
    '/bin': directory,
    '/bin/tool': file(large),
    '/bin/also-tool': '/bin/tool',
    '/bin/small': file('the content of a small object'),
    '/empty': file(''),
    '/etc': directory,
    '/etc/conf.d': directory,
    '/etc/conf.d/a': inline('a = 1\n'),
    '/etc/conf.d/b': inline('b = 2\n'),
    '/etc/current': symlink('conf.d/a'),
    '/etc/other': symlink('conf.d/b'),
    '/fifo': { type: 'fifo' },
    '/null': { type: 'character', device: 0x103 },
    '/disk': { type: 'block', device: 0x811 },
    '/socket': { type: 'socket' },
  },
  {
    '/bin/tool': { mode: 0o4755, xattrs: [xattr('user.a', '1'), xattr('security.capability', 'xyz')] },
    '/etc': { mode: 0o755, xattrs: [xattr('user.a', '2')] },
    '/etc/conf.d': { mode: 0o700, mtime: -5, mtimeNsec: 999_999_999 },
    '/fifo': { uid: 1000, gid: 1001, mtime: 2 ** 34 },
  },
);

export const sampleRepositories = [{ uuid: '00000000-0000-4000-8000-000000000000', hint: '/srv/repo' }];

export const sampleTables = (): ManifestTables => buildTables(sampleTree, { repositories: sampleRepositories });

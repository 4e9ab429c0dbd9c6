/** An ImageFilesystem over a tree of the model, with objects that are plain files of a scratch directory. */
import { fstatSync, mkdirSync, openSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { toHex } from '../../../src/base/bytes.ts';
import { digestContent } from '../../../src/base/digest.ts';
import { EIO, type Errno, errnoOf } from '../../../src/base/errno.ts';
import { fileIdentity } from '../../../src/base/file-identity.ts';
import { type Attributes, emptyAttributes } from '../../../src/fs/filesystem.ts';
import { ImageFilesystem } from '../../../src/fs/image-filesystem.ts';
import { attachTables, type ManifestTables, shareTables } from '../../../src/manifest/tables.ts';
import type { ContentSource } from '../../../src/objects/content-source.ts';
import type { ObjectName } from '../../../src/objects/repository.ts';
import { buildTables, directory, file, inline, symlink, type Tree, treeOf, xattr } from '../manifest/model.ts';

export interface ImageFixture {
  readonly tree: Tree;
  readonly tables: ManifestTables;
  readonly fs: ImageFilesystem;
  /** The paths that the file system has named to the store. */
  readonly asked: string[];
  /** The path of the object with this content. */
  readonly pathOf: (content: Uint8Array) => string;
}

/** @param directoryPath the directory for the objects, which this creates */
export function imageFixture(tree: Tree, directoryPath: string): ImageFixture {
  mkdirSync(directoryPath);
  const pathOf = (content: Uint8Array): string => join(directoryPath, toHex(digestContent(tree.hash, content).digest));
  for (const { body } of tree.inodes) {
    if (body.type === 'file' && body.stored === 'object') writeFileSync(pathOf(body.content), body.content);
  }
  const asked: string[] = [];
  let opened = 0;
  const contents: ContentSource = {
    openless: false,
    get openedIdentity() {
      return opened;
    },
    open({ digest }: ObjectName, path: () => string): number | Errno {
      asked.push(path());
      try {
        const fd = openSync(join(directoryPath, toHex(digest)), 'r');
        opened = fileIdentity(fstatSync(fd));
        return fd;
      } catch (error) {
        return errnoOf(error) ?? EIO;
      }
    },
    current({ digest }: ObjectName): number {
      return fileIdentity(statSync(join(directoryPath, toHex(digest))));
    },
    read: () => EIO,
    proofOf: () => undefined,
    prefetch: () => undefined,
  };
  // as a worker thread has them: all columns in one shared buffer
  const tables = attachTables(shareTables(buildTables(tree)));
  return { tree, tables, fs: new ImageFilesystem(tables, contents), asked, pathOf };
}

/** The inode number of `path`. Throws if there is no such path. */
export function attributesOf(fs: ImageFilesystem, path: string): Attributes {
  const out = emptyAttributes();
  if (fs.getattr(1, out) !== 0) throw new Error('there is no root');
  for (const name of path.split('/').filter((part) => part !== '')) {
    const result = fs.lookup(out.ino, Buffer.from(name), out);
    if (result !== 0) throw new Error(`${path}: ${result}`);
  }
  return { ...out };
}

export const inoOf = (fs: ImageFilesystem, path: string): number => attributesOf(fs, path).ino;

export const LARGE: Buffer = Buffer.alloc(200_000, 'all work and no play ');
export const SMALL: Buffer = Buffer.from('the content of a small object');

/** One inode of each type, and a directory that fills several replies. */
export const smallTree: Tree = treeOf(
  {
    '/bin': directory,
    '/bin/tool': file(LARGE),
    '/bin/also-tool': '/bin/tool',
    '/bin/small': file(SMALL),
    '/empty': file(''),
    '/empty-directory': directory,
    '/etc': directory,
    '/etc/conf.d': directory,
    '/etc/conf.d/a': inline('a = 1\n'),
    '/etc/current': symlink('conf.d/a'),
    '/null': { type: 'character', device: 0x103 },
    '/disk': { type: 'block', device: 0x811 },
    '/fifo': { type: 'fifo' },
    '/socket': { type: 'socket' },
    '/many': directory,
    ...Object.fromEntries(
      Array.from({ length: 300 }, (_, i) => [`/many/entry-${'x'.repeat(i % 40)}${i}`, file(SMALL)]),
    ),
  },
  {
    '/': { mode: 0o755 },
    '/bin/tool': { mode: 0o4755, uid: 70_000, xattrs: [xattr('user.a', '1'), xattr('security.capability', 'xyz')] },
    '/etc': { mode: 0o1777, xattrs: [xattr('user.empty', '')] },
    '/etc/conf.d': { mode: 0o700, mtime: -5, mtimeNsec: 999_999_999 },
    '/fifo': { uid: 1000, gid: 2 ** 32 - 2, mtime: 2 ** 34 },
  },
);

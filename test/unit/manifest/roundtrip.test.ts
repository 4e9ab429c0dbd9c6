import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compareBytes } from '../../../src/base/bytes.ts';
import { digestContent, type HashAlgorithm } from '../../../src/base/digest.ts';
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../../../src/base/stat-bits.ts';
import { ManifestBuilder } from '../../../src/manifest/builder.ts';
import { decodeManifest } from '../../../src/manifest/decode.ts';
import { encodeManifest } from '../../../src/manifest/encode.ts';
import {
  blockHashIndex,
  directoryOfDirent,
  inlineContent,
  isDirectory,
  linkTarget,
  lookupName,
  lookupPath,
  objectDigest,
  parentOfDirectory,
  pathOfRow,
  rowOfId,
  walkTree,
  xattrsOf,
} from '../../../src/manifest/lookup.ts';
import {
  attachTables,
  i64,
  inodeCount,
  type ManifestTables,
  NONE,
  PAYLOAD_INLINE,
  shareTables,
  u64,
} from '../../../src/manifest/tables.ts';
import { Random } from '../../support/random.ts';
import { anyName, anyTree } from './arbitrary.ts';
import { imageBytes } from './cbor-writer.ts';
import { buildTables, deviceOf, file, type Inode, linksInOrder, modeOf, type Tree, treeOf } from './model.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** Everything that is known about one link, as plain data. */
interface Line {
  readonly path: string;
  /** Path of the inode's first link. */
  readonly firstPath: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly size: number;
  readonly mtime: bigint;
  readonly mtimeNsec: number;
  readonly rdev: number;
  readonly xattrs: readonly string[];
  readonly body: string;
}

function contentText(hash: HashAlgorithm, { body }: Inode): string {
  if (body.type === 'symlink') return `target ${hex(body.target)}`;
  if (body.type !== 'file' || body.content.length === 0) return '';
  if (body.stored === 'inline') return `inline ${hex(body.content)}`;
  const { digest, blockHashes } = digestContent(hash, body.content);
  return `object ${hex(digest)} ${hex(blockHashes)}`;
}

function sizeOf({ body }: Inode): number {
  if (body.type === 'file') return body.content.length;
  return body.type === 'symlink' ? body.target.length : 0;
}

/** The links that reading a tree back should return. */
function linesOfTree(tree: Tree): Line[] {
  const links = linksInOrder(tree);
  const firstPaths = new Map<number, string>();
  for (const { inode, path } of links) if (!firstPaths.has(inode)) firstPaths.set(inode, hex(path));
  const subdirectories = tree.inodes.map(() => 0);
  for (const { body, links: own } of tree.inodes) {
    for (const { parent } of own)
      if (body.type === 'directory') subdirectories[parent] = (subdirectories[parent] ?? 0) + 1;
  }
  return links.map(({ path, inode: index }) => {
    const inode = tree.inodes[index] as Inode;
    const { uid, gid, mtime, mtimeNsec, xattrs } = inode.attributes;
    return {
      path: hex(path),
      firstPath: firstPaths.get(index) as string,
      mode: modeOf(inode),
      uid,
      gid,
      nlink: inode.body.type === 'directory' ? 2 + (subdirectories[index] as number) : inode.links.length,
      size: sizeOf(inode),
      mtime: BigInt(mtime),
      mtimeNsec,
      rdev: deviceOf(inode),
      // sorted by name alone: with the "=", a name would sort after longer names that begin with it
      xattrs: xattrs.toSorted((a, b) => compareBytes(a[0], b[0])).map(([name, value]) => `${hex(name)}=${hex(value)}`),
      body: contentText(tree.hash, inode),
    };
  });
}

function payloadText(tables: ManifestTables, row: number): string {
  const type = (tables.inodes.mode[row] as number) & S_IFMT;
  const payload = tables.inodes.payload[row] as number;
  if (type === S_IFLNK) return `target ${hex(linkTarget(tables, row))}`;
  if (type !== S_IFREG || payload === NONE) return '';
  if (payload >= PAYLOAD_INLINE) return `inline ${hex(inlineContent(tables, payload - PAYLOAD_INLINE))}`;
  const index = blockHashIndex(tables);
  const hashes = tables.objects.blockHashes.subarray(
    (index[payload] as number) * 32,
    (index[payload + 1] as number) * 32,
  );
  return `object ${hex(objectDigest(tables, payload))} ${hex(hashes)}`;
}

/** The links in the tables, in the order of `walkTree`. */
function linesOfTables(tables: ManifestTables): Line[] {
  const lines: Line[] = [];
  const firstPaths = new Map<number, string>();
  const { mode, uid, gid, nlink, size, mtime, mtimeNsec, rdev } = tables.inodes;
  walkTree(tables, ({ row, path, first }) => {
    expect(first).toBe(!firstPaths.has(row));
    if (first) firstPaths.set(row, hex(path));
    lines.push({
      path: hex(path),
      firstPath: firstPaths.get(row) as string,
      mode: mode[row] as number,
      uid: uid[row] as number,
      gid: gid[row] as number,
      nlink: nlink[row] as number,
      size: u64(size, row),
      mtime: i64(mtime, row),
      mtimeNsec: mtimeNsec[row] as number,
      rdev: rdev[row] as number,
      xattrs: xattrsOf(tables, row).map(([name, value]) => `${hex(name)}=${hex(value)}`),
      body: payloadText(tables, row),
    });
  });
  return lines;
}

/** Every way to find a row, for each link of the tree. */
function checkLookups(tree: Tree, tables: ManifestTables): void {
  const rowOfInode = new Map<number, number>();
  const firstPaths = new Map<number, Buffer>();
  for (const { path, inode } of linksInOrder(tree)) {
    const row = lookupPath(tables, path);
    expect(row).toBeGreaterThanOrEqual(0);
    expect(rowOfInode.get(inode) ?? row).toBe(row);
    rowOfInode.set(inode, row);
    if (!firstPaths.has(inode)) firstPaths.set(inode, path);
  }
  expect(rowOfInode.size).toBe(inodeCount(tables));
  for (const [inode, row] of rowOfInode) {
    expect(rowOfId(tables, u64(tables.inodes.id, row))).toBe(row);
    expect(hex(pathOfRow(tables, row))).toBe(hex(firstPaths.get(inode) as Buffer));
    for (const { parent, name } of tree.inodes[inode]?.links ?? []) {
      const parentRow = rowOfInode.get(parent) as number;
      expect(lookupName(tables, parentRow, name)).toBe(row);
      if (isDirectory(tables, row)) expect(parentOfDirectory(tables, row)).toBe(parentRow);
    }
  }
  tables.dirents.inode.forEach((row, dirent) => {
    const { nameOffset, names } = tables.dirents;
    const name = names.subarray(nameOffset[dirent] as number, nameOffset[dirent + 1] as number);
    expect(lookupName(tables, directoryOfDirent(tables, dirent), name)).toBe(row);
  });
}

describe('an image of any tree', () => {
  it('decodes to the tree that it was built from', () => {
    fc.assert(
      fc.property(anyTree(), (tree) => {
        const tables = decodeManifest(encodeManifest(buildTables(tree)));
        expect(linesOfTables(tables)).toEqual(linesOfTree(tree));
        expect(tables.header).toEqual({ hash: tree.hash, repositories: [] });
      }),
      { numRuns: 300 },
    );
  });

  it('has the same bytes for any order of calls to the builder', () => {
    fc.assert(
      fc.property(anyTree(), fc.integer(), (tree, seed) => {
        const other = buildTables(tree, { order: new Random(seed) });
        expect(hex(encodeManifest(other))).toBe(hex(encodeManifest(buildTables(tree))));
      }),
      { numRuns: 200 },
    );
  });

  it('has the bytes that another CBOR encoder writes for the same tables', () => {
    fc.assert(
      fc.property(anyTree({ leaves: 6 }), fc.string(), (tree, hint) => {
        const tables = buildTables(tree, { repositories: [{ uuid: 'u', hint }] });
        expect(hex(encodeManifest(tables))).toBe(hex(imageBytes(tables)));
      }),
      { numRuns: 50 },
    );
  });

  it('finds every row by path, name, id and dirent', () => {
    fc.assert(
      fc.property(anyTree(), (tree) => checkLookups(tree, decodeManifest(encodeManifest(buildTables(tree))))),
      { numRuns: 150 },
    );
  });

  it('finds no row for a name that is not in the directory', () => {
    fc.assert(
      fc.property(anyTree(), anyName, fc.nat(), (tree, name, pick) => {
        const tables = buildTables(tree);
        const directories = tables.directories.inode;
        const row = directories[pick % directories.length] as number;
        const prefix = pathOfRow(tables, row);
        const path = Buffer.concat([prefix, Buffer.from(prefix.length === 1 ? '' : '/'), name]);
        const there = linksInOrder(tree).some((link) => link.path.equals(path));
        expect(lookupName(tables, row, name) >= 0).toBe(there);
        expect(lookupPath(tables, path) >= 0).toBe(there);
      }),
      { numRuns: 300 },
    );
  });

  it('is the same in shared memory', () => {
    fc.assert(
      fc.property(anyTree(), (tree) => {
        const tables = buildTables(tree);
        const attached = attachTables(shareTables(tables));
        expect(linesOfTables(attached)).toEqual(linesOfTables(tables));
        expect(hex(encodeManifest(attached))).toBe(hex(encodeManifest(tables)));
      }),
      { numRuns: 100 },
    );
  });
});

describe('ManifestBuilder', () => {
  it('refuses two links of one name in one directory', () => {
    expect(() => buildTables({ ...twoOf('same'), hash: 'blake3' })).toThrow(
      'two links of one directory are named "same"',
    );
  });

  it('refuses an inode without a link', () => {
    const tree = treeOf({ '/a': file('a') });
    const orphan = { ...(tree.inodes[1] as Inode), links: [] };
    expect(() => buildTables({ ...tree, inodes: [...tree.inodes, orphan] })).toThrow('has no link');
  });

  it('sorts objects by their whole digests, even if many bytes are equal', () => {
    const attributes = { mode: S_IFDIR | 0o755, uid: 0, gid: 0, mtime: 0, mtimeNsec: 0, rdev: 0, xattrs: [] };
    const builder = new ManifestBuilder('blake3', attributes);
    const digestOf = (last: number): Uint8Array => new Uint8Array(32).fill(9).fill(last, 31);
    for (const last of [200, 3, 100]) {
      const inode = builder.addInode({ ...attributes, mode: S_IFREG });
      builder.link(0, Buffer.from(`file${last}`), inode);
      builder.setObject(inode, { digest: digestOf(last), size: last, blockHashes: new Uint8Array(0) });
    }
    const tables = decodeManifest(encodeManifest(builder.finish()));
    expect([0, 1, 2].map((object) => objectDigest(tables, object)[31])).toEqual([3, 100, 200]);
    expect([0, 1, 2].map((object) => u64(tables.objects.size, object))).toEqual([3, 100, 200]);
  });

  it('keeps one copy of equal contents, attributes sets and empty files', () => {
    const xattrs = [[Buffer.from('user.a'), Buffer.from('1')]] as const;
    const tree = treeOf(
      { '/a': file('same'), '/b': file('same'), '/c': file(''), '/d': file('other') },
      { '/a': { xattrs }, '/b': { xattrs } },
    );
    const tables = buildTables(tree);
    expect(tables.objects.size.length / 2).toBe(2);
    expect(tables.xattrs.first.length).toBe(2);
    expect(tables.inodes.payload[lookupPath(tables, Buffer.from('/c'))]).toBe(NONE);
  });
});

function twoOf(name: string): Pick<Tree, 'inodes'> {
  const tree = treeOf({ '/a': file('a'), '/b': file('b') });
  const renamed = tree.inodes.map((inode) => ({
    ...inode,
    links: inode.links.map((link) => ({ ...link, name: Buffer.from(name) })),
  }));
  return { inodes: renamed };
}

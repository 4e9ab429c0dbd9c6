/** A tree as plain data, and its conversion to tables. Tests compare the tables of an image with it. */
import { compareBytes } from '../../../src/base/bytes.ts';
import { digestContent, type HashAlgorithm } from '../../../src/base/digest.ts';
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK } from '../../../src/base/stat-bits.ts';
import { type InodeMetadata, ManifestBuilder } from '../../../src/manifest/builder.ts';
import type { ManifestTables, RepositoryHint } from '../../../src/manifest/tables.ts';
import type { Xattr } from '../../../src/manifest/xattr-sets.ts';
import type { Random } from '../../support/random.ts';

export type Body =
  | { readonly type: 'directory' }
  | { readonly type: 'file'; readonly content: Uint8Array; readonly stored: 'inline' | 'object' }
  | { readonly type: 'symlink'; readonly target: Uint8Array }
  | { readonly type: 'character' | 'block'; readonly device: number }
  | { readonly type: 'fifo' | 'socket' };

/** The attributes of an inode: as `InodeMetadata`, without the type in the mode. */
export type Attributes = Omit<InodeMetadata, 'rdev'>;

export interface Link {
  /** Index of the inode of the directory. */
  readonly parent: number;
  readonly name: Uint8Array;
}

export interface Inode {
  readonly attributes: Attributes;
  readonly body: Body;
  readonly links: readonly Link[];
}

/** Inode 0 is the root, the only one without links. */
export interface Tree {
  readonly hash: HashAlgorithm;
  readonly inodes: readonly Inode[];
}

const TYPE_BITS = {
  directory: S_IFDIR,
  file: S_IFREG,
  symlink: S_IFLNK,
  character: S_IFCHR,
  block: S_IFBLK,
  fifo: S_IFIFO,
  socket: S_IFSOCK,
} as const;

export const modeOf = ({ attributes, body }: Inode): number => attributes.mode | TYPE_BITS[body.type];
export const deviceOf = ({ body }: Inode): number => ('device' in body ? body.device : 0);

export const PLAIN: Attributes = { mode: 0o644, uid: 0, gid: 0, mtime: 1_700_000_000, mtimeNsec: 5, xattrs: [] };

/** A tree in readable form: each path has a body; a string in its place is the path of the inode to link to. */
export function treeOf(
  paths: Readonly<Record<string, Body | string>>,
  attributes: Readonly<Record<string, Partial<Attributes>>> = {},
  hash: HashAlgorithm = 'blake3',
): Tree {
  const bodies = { '/': directory, ...paths };
  const names = Object.keys(bodies).filter((path) => typeof bodies[path as keyof typeof bodies] !== 'string');
  const links = names.map((): Link[] => []);
  for (const [path, body] of Object.entries(paths)) {
    const slash = path.lastIndexOf('/');
    const parent = names.indexOf(path.slice(0, slash) || '/');
    if (parent < 0) throw new Error(`${path} lies in no directory of the tree`);
    links[names.indexOf(typeof body === 'string' ? body : path)]?.push({
      parent,
      name: Buffer.from(path.slice(slash + 1)),
    });
  }
  const inodes = names.map(
    (path, i): Inode => ({
      attributes: { ...PLAIN, ...attributes[path] },
      body: bodies[path as keyof typeof bodies] as Body,
      links: links[i] as Link[],
    }),
  );
  return { hash, inodes };
}

export const directory: Body = { type: 'directory' };
export const file = (content: string | Uint8Array): Body => ({
  type: 'file',
  content: Buffer.from(content as string),
  stored: 'object',
});
export const inline = (content: string): Body => ({ type: 'file', content: Buffer.from(content), stored: 'inline' });
export const symlink = (target: string): Body => ({ type: 'symlink', target: Buffer.from(target) });
export const xattr = (name: string, value: string): Xattr => [Buffer.from(name), Buffer.from(value)];

export interface BuildOptions {
  /** Fewer than 52 make ids collide. */
  readonly idBits?: number;
  /** Shuffles the calls to the builder. */
  readonly order?: Random;
  readonly repositories?: readonly RepositoryHint[];
}

/** The tables that the builder makes from a tree. */
export function buildTables(tree: Tree, { idBits, order, repositories }: BuildOptions = {}): ManifestTables {
  const shuffled = <T>(items: readonly T[]): readonly T[] => order?.shuffled(items) ?? items;
  const metadata = (inode: Inode): InodeMetadata => ({
    ...inode.attributes,
    mode: modeOf(inode),
    rdev: deviceOf(inode),
    xattrs: shuffled(inode.attributes.xattrs),
  });
  const [root, ...others] = tree.inodes;
  const builder = new ManifestBuilder(tree.hash, metadata(root as Inode), idBits);
  const numbers = new Map<Inode, number>([[root as Inode, 0]]);
  for (const inode of shuffled(others)) numbers.set(inode, builder.addInode(metadata(inode)));
  const number = (inode: Inode): number => numbers.get(inode) as number;
  const calls = tree.inodes.flatMap((inode): (() => void)[] => [
    () => setBody(builder, tree.hash, number(inode), inode.body),
    ...inode.links.map(
      ({ parent, name }) =>
        () =>
          builder.link(number(tree.inodes[parent] as Inode), name, number(inode)),
    ),
  ]);
  for (const call of shuffled(calls)) call();
  return builder.finish(repositories);
}

function setBody(builder: ManifestBuilder, hash: HashAlgorithm, inode: number, body: Body): void {
  if (body.type === 'symlink') builder.setTarget(inode, body.target);
  if (body.type !== 'file') return;
  const digest = digestContent(hash, body.content);
  if (body.stored === 'inline') builder.setInline(inode, digest, body.content);
  else builder.setObject(inode, digest);
}

/** A link of the model with its path, in path order. */
export interface PlacedLink {
  readonly path: Buffer;
  readonly inode: number;
}

/** All links in path order: depth first, the names of each directory sorted bytewise; the root first. */
export function linksInOrder(tree: Tree): PlacedLink[] {
  const children = tree.inodes.map((): { name: Uint8Array; inode: number }[] => []);
  tree.inodes.forEach(({ links }, inode) => {
    for (const { parent, name } of links) children[parent]?.push({ name, inode });
  });
  const out: PlacedLink[] = [{ path: Buffer.from('/'), inode: 0 }];
  const visit = (directoryInode: number, prefix: Buffer): void => {
    const sorted = (children[directoryInode] ?? []).sort((a, b) => compareBytes(a.name, b.name));
    for (const { name, inode } of sorted) {
      const path = Buffer.concat([prefix, Buffer.from('/'), name]);
      out.push({ path, inode });
      if (tree.inodes[inode]?.body.type === 'directory') visit(inode, path);
    }
  };
  visit(0, Buffer.alloc(0));
  return out;
}

/**
 * Collects inodes and links in any order and builds the tables of a manifest. The same tree results in the same tables,
 * whatever the order of the calls. Knows nothing of files; no I/O.
 */
import type { ContentDigest, HashAlgorithm } from '../base/digest.ts';
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../base/stat-bits.ts';
import { BlobWriter, ColumnWriter, words } from './column-writer.ts';
import { GrowableF64, GrowableU32 } from './growable.ts';
import { hasEqual, orderById } from './id-order.ts';
import { Links, type SortedLinks } from './links.ts';
import { ObjectColumns } from './object-columns.ts';
import { generationOf, ID_BITS, idOfPath, nextId, ROOT_ID } from './stable-id.ts';
import { type ManifestTables, NONE, PAYLOAD_INLINE, type RepositoryHint, tablesFrom } from './tables.ts';
import { type Xattr, XattrSets } from './xattr-sets.ts';

export interface InodeMetadata {
  /** st_mode: type and permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970; may be negative. */
  readonly mtime: number;
  readonly mtimeNsec: number;
  /** Device number of a character or block device as the kernel encodes it in 32 bits (new_encode_dev), else 0. */
  readonly rdev: number;
  readonly xattrs: readonly Xattr[];
}

/** Number of an inode in the builder, in the order of `addInode`. Not its row in the manifest. */
export type BuilderInode = number;

export class ManifestBuilder {
  readonly #hash: HashAlgorithm;
  readonly #idBits: number;
  readonly #mode = new GrowableU32();
  readonly #uid = new GrowableU32();
  readonly #gid = new GrowableU32();
  readonly #rdev = new GrowableU32();
  readonly #nlink = new GrowableU32();
  readonly #generation = new GrowableU32();
  readonly #xattrs = new GrowableU32();
  readonly #size = new GrowableF64();
  readonly #mtime = new GrowableF64();
  readonly #mtimeNsec = new GrowableU32();
  /** Object index, or PAYLOAD_INLINE and index of `#inline`, or index of `#targets`, or NONE. */
  readonly #payload = new GrowableU32();
  readonly #inline: Uint8Array[] = [];
  readonly #targets: Uint8Array[] = [];
  readonly #sets = new XattrSets();
  readonly #objects: ObjectColumns;
  readonly #links = new Links();

  /**
   * @param root metadata of the root directory, which is inode 0 of the builder
   * @param idBits fewer than 52 only to test collisions of stable ids
   */
  constructor(hash: HashAlgorithm, root: InodeMetadata, idBits: number = ID_BITS) {
    this.#hash = hash;
    this.#objects = new ObjectColumns(hash);
    this.#idBits = idBits;
    this.addInode(root);
  }

  /** A regular file also needs `setObject` or `setInline`, the empty file too; a symbolic link `setTarget`. */
  addInode(metadata: InodeMetadata): BuilderInode {
    const type = metadata.mode & S_IFMT;
    const device = type === S_IFCHR || type === S_IFBLK;
    this.#mode.push(metadata.mode);
    this.#uid.push(metadata.uid);
    this.#gid.push(metadata.gid);
    this.#rdev.push(device ? metadata.rdev : 0);
    this.#nlink.push(type === S_IFDIR ? 2 : 0);
    this.#xattrs.push(this.#sets.add(metadata.xattrs));
    this.#size.push(0);
    this.#mtime.push(metadata.mtime);
    this.#mtimeNsec.push(metadata.mtimeNsec);
    this.#payload.push(NONE);
    return this.#generation.push(firstGeneration(type, metadata.rdev));
  }

  /** Adds the name `name` in the directory `parent` for `inode`. A directory has exactly one link. */
  link(parent: BuilderInode, name: Uint8Array, inode: BuilderInode): void {
    this.#links.add(parent, name, inode);
    if ((this.#mode.get(inode) & S_IFMT) === S_IFDIR) this.#nlink.set(parent, this.#nlink.get(parent) + 1);
    else this.#nlink.set(inode, this.#nlink.get(inode) + 1);
  }

  /**
   * The content of a regular file is the object with this digest.
   * @param generation that of another inode with this content, if it is known
   */
  setObject(inode: BuilderInode, content: ContentDigest, generation?: number): void {
    this.#setContent(inode, content, generation);
    if (content.size > 0) this.#payload.set(inode, this.#objects.add(content));
  }

  /** The content of a regular file is stored in the manifest; with `generation`, the digest is not needed. */
  setInline(inode: BuilderInode, content: ContentDigest, bytes: Uint8Array, generation?: number): void {
    this.#setContent(inode, content, generation);
    if (content.size > 0) this.#payload.set(inode, (PAYLOAD_INLINE | (this.#inline.push(bytes) - 1)) >>> 0);
  }

  #setContent(inode: BuilderInode, content: ContentDigest, generation: number | undefined): void {
    this.#size.set(inode, content.size);
    this.#generation.set(inode, generation ?? generationOf(S_IFREG, content.digest));
  }

  /** The target of a symbolic link. */
  setTarget(inode: BuilderInode, target: Uint8Array): void {
    this.#size.set(inode, target.length);
    this.#generation.set(inode, generationOf(S_IFLNK, target));
    this.#payload.set(inode, this.#targets.push(target) - 1);
  }

  /** The tables. Throws if two links of a directory have one name, or an inode has no link. */
  finish(repositories: readonly RepositoryHint[] = []): ManifestTables {
    const links = this.#links.sort(this.#mode.length);
    let ids = this.#assignIds(links);
    let order = orderById(ids);
    if (hasEqual(ids, order)) {
      ids = this.#assignIds(links, new Set());
      order = orderById(ids);
    }
    const rowOf = new Uint32Array(order.length);
    order.forEach((inode, row) => {
      rowOf[inode] = row;
    });
    const columns = new ColumnWriter();
    this.#writeInodes(columns, order, ids);
    this.#writeTree(columns, order, rowOf, links);
    return tablesFrom({ hash: this.#hash, repositories }, (table, name) => columns.take(`${table}.${name}`));
  }

  /**
   * Stable ids in path order: a depth-first walk that visits the links of each directory sorted by name.
   * @param taken set to give no id twice; a million numbers in a set take longer than their hashes
   */
  #assignIds(links: SortedLinks, taken?: Set<number>): Float64Array {
    const ids = new Float64Array(this.#mode.length);
    const inodes = this.#links.inodes;
    ids[0] = ROOT_ID;
    let path = Buffer.alloc(4096);
    const stack = [{ next: links.first[0] as number, end: links.first[1] as number, length: 0 }];
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      if (top.next === top.end) {
        stack.pop();
        continue;
      }
      const link = links.sorted[top.next++] as number;
      const inode = inodes[link] as number;
      const name = this.#links.nameOf(link);
      const length = top.length + 1 + name.length;
      if (length > path.length) path = Buffer.concat([path, Buffer.alloc(length)]);
      path[top.length] = 0x2f;
      path.set(name, top.length + 1);
      if (ids[inode] === 0) {
        let id = idOfPath(path.subarray(0, length), this.#idBits);
        while (taken?.has(id) === true) id = nextId(id, this.#idBits);
        taken?.add(id);
        ids[inode] = id;
      }
      if ((this.#mode.get(inode) & S_IFMT) === S_IFDIR) {
        stack.push({ next: links.first[inode] as number, end: links.first[inode + 1] as number, length });
      }
    }
    const orphan = ids.indexOf(0);
    if (orphan >= 0) throw new Error(`inode ${orphan} of the builder has no link`);
    return ids;
  }

  #writeInodes(columns: ColumnWriter, order: Uint32Array, ids: Float64Array): void {
    const objectRow = this.#objects.write(columns);
    const payload = new Uint32Array(order.length);
    let directories = 0;
    const targets = new BlobWriter();
    const inline = new BlobWriter();
    order.forEach((inode, row) => {
      const type = this.#mode.get(inode) & S_IFMT;
      const own = this.#payload.get(inode);
      if (type === S_IFDIR) payload[row] = directories++;
      else if (own === NONE) payload[row] = NONE;
      else if (type === S_IFLNK) payload[row] = targets.add(this.#targets[own] as Uint8Array);
      else if (own < PAYLOAD_INLINE) payload[row] = objectRow[own] as number;
      else payload[row] = PAYLOAD_INLINE | inline.add(this.#inline[own - PAYLOAD_INLINE] as Uint8Array);
    });
    const u32 = (column: GrowableU32): Uint32Array => order.map((inode) => column.get(inode));
    columns.put(
      'inodes.id',
      words(order.length, (row) => ids[order[row] as number] as number),
    );
    columns.put('inodes.generation', u32(this.#generation));
    columns.put('inodes.mode', u32(this.#mode));
    columns.put('inodes.uid', u32(this.#uid));
    columns.put('inodes.gid', u32(this.#gid));
    columns.put('inodes.nlink', u32(this.#nlink));
    columns.put(
      'inodes.size',
      words(order.length, (row) => this.#size.get(order[row] as number)),
    );
    columns.put(
      'inodes.mtime',
      words(order.length, (row) => this.#mtime.get(order[row] as number)),
    );
    columns.put('inodes.mtimeNsec', u32(this.#mtimeNsec));
    columns.put('inodes.rdev', u32(this.#rdev));
    columns.put('inodes.payload', payload);
    columns.put('inodes.xattrs', this.#sets.write(columns, u32(this.#xattrs)));
    columns.putBlobs('targets.offset', 'targets.bytes', targets);
    columns.putBlobs('inline.offset', 'inline.bytes', inline);
  }

  #writeTree(columns: ColumnWriter, order: Uint32Array, rowOf: Uint32Array, links: SortedLinks): void {
    const parentOf = new Uint32Array(order.length);
    const { parents, inodes: inodeOf } = this.#links;
    inodeOf.forEach((inode, link) => {
      parentOf[inode] = rowOf[parents[link] as number] as number;
    });
    const inodes = new GrowableU32();
    const parent = new GrowableU32();
    const first = new GrowableU32();
    const dirents = new GrowableU32();
    const names = new BlobWriter();
    order.forEach((inode, row) => {
      if ((this.#mode.get(inode) & S_IFMT) !== S_IFDIR) return;
      inodes.push(row);
      parent.push(parentOf[inode] as number);
      first.push(dirents.length);
      for (let i = links.first[inode] as number; i < (links.first[inode + 1] as number); i++) {
        const link = links.sorted[i] as number;
        dirents.push(rowOf[inodeOf[link] as number] as number);
        names.add(this.#links.nameOf(link));
      }
    });
    first.push(dirents.length);
    columns.put('directories.inode', inodes.view());
    columns.put('directories.parent', parent.view());
    columns.put('directories.first', first.view());
    columns.put('dirents.inode', dirents.view());
    columns.putBlobs('dirents.nameOffset', 'dirents.names', names);
  }
}

/**
 * The generation of an inode that does not depend on content; that of a file or symbolic link is set with its content.
 */
function firstGeneration(type: number, rdev: number): number {
  if (type === S_IFDIR || type === S_IFREG || type === S_IFLNK) return 0;
  const identity = new Uint8Array(type === S_IFCHR || type === S_IFBLK ? 4 : 0);
  if (identity.length > 0) new DataView(identity.buffer).setUint32(0, rdev, true);
  return generationOf(type, identity);
}

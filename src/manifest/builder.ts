/**
 * Collects inodes and links in any order and builds the tables of a manifest. The same tree results in the same tables,
 * whatever the order of the calls. Knows nothing of files; no I/O.
 */
import { compareBytes, printable } from '../base/bytes.ts';
import { blockCount, type ContentDigest, DIGEST_SIZE, type HashAlgorithm } from '../base/digest.ts';
import { CfsError } from '../base/error.ts';
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../base/stat-bits.ts';
import { GrowableBytes, GrowableF64, GrowableU32 } from './growable.ts';
import { generationOf, ID_BITS, idOfPath, nextId, ROOT_ID } from './stable-id.ts';
import {
  BLOCK_HASHES_LIMIT,
  type ManifestTables,
  NONE,
  PAYLOAD_INLINE,
  type RepositoryHint,
  tablesFrom,
} from './tables.ts';

export type Xattr = readonly [name: Uint8Array, value: Uint8Array];

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

const latin1 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');

/** Distinct xattr sets, found by their bytes. */
class XattrSets {
  readonly sets: (readonly Xattr[])[] = [];
  readonly #index = new Map<string, number>();

  add(xattrs: readonly Xattr[]): number {
    if (xattrs.length === 0) return NONE;
    const sorted = xattrs.toSorted((a, b) => compareBytes(a[0], b[0]));
    const key = sorted.map(([name, value]) => `${latin1(name)}\0${value.length}\0${latin1(value)}`).join('');
    let index = this.#index.get(key);
    if (index === undefined) {
      index = this.sets.push(sorted) - 1;
      this.#index.set(key, index);
    }
    return index;
  }
}

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
  readonly #objectIndex = new Map<string, number>();
  /** Objects as columns, in the order of their first use: a JavaScript object for each would cost ten times as much. */
  readonly #objectDigests = new GrowableBytes();
  readonly #objectSizes = new GrowableF64();
  readonly #objectHashes = new GrowableBytes();
  /** The index of each object's first block hash. */
  readonly #objectHashStart = new GrowableF64();
  readonly #linkParent = new GrowableU32();
  readonly #linkInode = new GrowableU32();
  readonly #nameOffset = new GrowableU32();
  readonly #names = new GrowableBytes();

  /**
   * @param root metadata of the root directory, which is inode 0 of the builder
   * @param idBits fewer than 52 only to test collisions of stable ids
   */
  constructor(hash: HashAlgorithm, root: InodeMetadata, idBits: number = ID_BITS) {
    this.#hash = hash;
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
    this.#linkParent.push(parent);
    this.#linkInode.push(inode);
    this.#nameOffset.push(this.#names.length);
    this.#names.append(name);
    if ((this.#mode.get(inode) & S_IFMT) === S_IFDIR) this.#nlink.set(parent, this.#nlink.get(parent) + 1);
    else this.#nlink.set(inode, this.#nlink.get(inode) + 1);
  }

  /** The content of a regular file is the object with this digest. */
  setObject(inode: BuilderInode, content: ContentDigest): void {
    this.#setContent(inode, content);
    if (content.size === 0) return;
    const key = latin1(content.digest);
    let index = this.#objectIndex.get(key);
    if (index === undefined) {
      if (this.#objectHashes.length + content.blockHashes.length > BLOCK_HASHES_LIMIT) {
        throw new CfsError(
          'image',
          'Cannot make the image: the contents of its large files have more than 8 TiB together, and their hashes do not fit. Pack the tree as several images.',
        );
      }
      index = this.#objectSizes.length;
      this.#objectDigests.append(content.digest);
      this.#objectSizes.push(content.size);
      this.#objectHashStart.push(this.#objectHashes.length);
      this.#objectHashes.append(content.blockHashes);
      this.#objectIndex.set(key, index);
    }
    this.#payload.set(inode, index);
  }

  /** The content of a regular file is stored in the manifest. */
  setInline(inode: BuilderInode, content: ContentDigest, bytes: Uint8Array): void {
    this.#setContent(inode, content);
    if (content.size > 0) this.#payload.set(inode, (PAYLOAD_INLINE | (this.#inline.push(bytes) - 1)) >>> 0);
  }

  #setContent(inode: BuilderInode, content: ContentDigest): void {
    this.#size.set(inode, content.size);
    this.#generation.set(inode, generationOf(S_IFREG, content.digest));
  }

  /** The target of a symbolic link. */
  setTarget(inode: BuilderInode, target: Uint8Array): void {
    this.#size.set(inode, target.length);
    this.#generation.set(inode, generationOf(S_IFLNK, target));
    this.#payload.set(inode, this.#targets.push(target) - 1);
  }

  /** The tables. Throws if two links of a directory have one name, or an inode has no link. */
  finish(repositories: readonly RepositoryHint[] = []): ManifestTables {
    const links = this.#sortLinks();
    const ids = this.#assignIds(links);
    // ids as 64-bit sort keys beside the inode they belong to
    const order = Uint32Array.from(ids.keys()).sort((a, b) => (ids[a] as number) - (ids[b] as number));
    const rowOf = new Uint32Array(order.length);
    order.forEach((inode, row) => {
      rowOf[inode] = row;
    });
    const columns = new ColumnWriter();
    this.#writeInodes(columns, order, ids);
    this.#writeTree(columns, order, rowOf, links);
    this.#writeXattrs(columns);
    return tablesFrom({ hash: this.#hash, repositories }, (table, name) => columns.take(`${table}.${name}`));
  }

  #nameOf(link: number): Uint8Array {
    const from = this.#nameOffset.get(link);
    const to = link + 1 < this.#nameOffset.length ? this.#nameOffset.get(link + 1) : this.#names.length;
    return this.#names.view().subarray(from, to);
  }

  /** Links grouped by directory and sorted by name within one. */
  #sortLinks(): Links {
    const parents = this.#linkParent.view();
    const first = new Uint32Array(this.#mode.length + 1);
    for (const parent of parents) first[parent + 1] = (first[parent + 1] as number) + 1;
    for (let i = 0; i < this.#mode.length; i++) first[i + 1] = (first[i + 1] as number) + (first[i] as number);
    const next = first.slice();
    const sorted = new Uint32Array(parents.length);
    parents.forEach((parent, link) => {
      const at = next[parent] as number;
      sorted[at] = link;
      next[parent] = at + 1;
    });
    const names = this.#names.view();
    const offsets = this.#nameOffset.view();
    const end = (link: number): number => (link + 1 < offsets.length ? (offsets[link + 1] as number) : names.length);
    const compare = (a: number, b: number): number => {
      let i = offsets[a] as number;
      let j = offsets[b] as number;
      const iEnd = end(a);
      const jEnd = end(b);
      for (; i < iEnd && j < jEnd; i++, j++) {
        const d = (names[i] as number) - (names[j] as number);
        if (d !== 0) return d;
      }
      return iEnd - i - (jEnd - j);
    };
    for (let i = 0; i < this.#mode.length; i++) {
      const from = first[i] as number;
      const to = first[i + 1] as number;
      if (to - from < 2) continue;
      sorted.subarray(from, to).sort(compare);
      for (let k = from + 1; k < to; k++) {
        if (compare(sorted[k - 1] as number, sorted[k] as number) === 0) {
          throw new Error(`two links of one directory are named "${printable(this.#nameOf(sorted[k] as number))}"`);
        }
      }
    }
    return { first, sorted };
  }

  /** Stable ids in path order: a depth-first walk that visits the links of each directory sorted by name. */
  #assignIds(links: Links): Float64Array {
    const ids = new Float64Array(this.#mode.length);
    const taken = new Set<number>();
    ids[0] = ROOT_ID;
    let path = Buffer.alloc(4096);
    const stack = [{ next: links.first[0] as number, end: links.first[1] as number, length: 0 }];
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      if (top.next === top.end) {
        stack.pop();
        continue;
      }
      const link = links.sorted[top.next++] as number;
      const inode = this.#linkInode.get(link);
      const name = this.#nameOf(link);
      const length = top.length + 1 + name.length;
      if (length > path.length) path = Buffer.concat([path, Buffer.alloc(length)]);
      path[top.length] = 0x2f;
      path.set(name, top.length + 1);
      if (ids[inode] === 0) {
        let id = idOfPath(path.subarray(0, length), this.#idBits);
        while (taken.has(id)) id = nextId(id, this.#idBits);
        taken.add(id);
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
    const { objects, objectRow } = this.#sortObjects();
    const payload = new Uint32Array(order.length);
    const xattrs = new Uint32Array(order.length);
    const setRow = new Uint32Array(this.#sets.sets.length).fill(NONE);
    let directories = 0;
    let sets = 0;
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
      const set = this.#xattrs.get(inode);
      if (set !== NONE && setRow[set] === NONE) setRow[set] = sets++;
      xattrs[row] = set === NONE ? NONE : (setRow[set] as number);
    });
    columns.setOrder = setRow;
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
    columns.put('inodes.xattrs', xattrs);
    columns.putBlobs('targets.offset', 'targets.bytes', targets);
    columns.putBlobs('inline.offset', 'inline.bytes', inline);
    this.#writeObjects(columns, objects);
  }

  #objectDigest(object: number): Uint8Array {
    return this.#objectDigests.view().subarray(object * DIGEST_SIZE, (object + 1) * DIGEST_SIZE);
  }

  #writeObjects(columns: ColumnWriter, order: Uint32Array): void {
    const digests = new Uint8Array(order.length * DIGEST_SIZE);
    const hashes = new GrowableBytes();
    const from = this.#objectHashes.view();
    order.forEach((object, row) => {
      digests.set(this.#objectDigest(object), row * DIGEST_SIZE);
      const start = this.#objectHashStart.get(object);
      const length = blockCount(this.#hash, this.#objectSizes.get(object)) * DIGEST_SIZE;
      hashes.append(from.subarray(start, start + length));
    });
    columns.put('objects.digest', digests);
    columns.put(
      'objects.size',
      words(order.length, (row) => this.#objectSizes.get(order[row] as number)),
    );
    columns.put('objects.blockHashes', hashes.view());
  }

  /** The objects sorted by digest, and the row of each. */
  #sortObjects(): { objects: Uint32Array; objectRow: Uint32Array } {
    const digests = Buffer.from(this.#objectDigests.view());
    const prefix = Float64Array.from({ length: this.#objectSizes.length }, (_, i) =>
      digests.readUIntBE(i * DIGEST_SIZE, 6),
    );
    const objects = Uint32Array.from(prefix.keys()).sort(
      (a, b) =>
        (prefix[a] as number) - (prefix[b] as number) || compareBytes(this.#objectDigest(a), this.#objectDigest(b)),
    );
    const objectRow = new Uint32Array(objects.length);
    objects.forEach((object, row) => {
      objectRow[object] = row;
    });
    return { objects, objectRow };
  }

  #writeTree(columns: ColumnWriter, order: Uint32Array, rowOf: Uint32Array, links: Links): void {
    const parentOf = new Uint32Array(order.length);
    const parents = this.#linkParent.view();
    this.#linkInode.view().forEach((inode, link) => {
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
        dirents.push(rowOf[this.#linkInode.get(link)] as number);
        names.add(this.#nameOf(link));
      }
    });
    first.push(dirents.length);
    columns.put('directories.inode', inodes.view());
    columns.put('directories.parent', parent.view());
    columns.put('directories.first', first.view());
    columns.put('dirents.inode', dirents.view());
    columns.putBlobs('dirents.nameOffset', 'dirents.names', names);
  }

  #writeXattrs(columns: ColumnWriter): void {
    const inOrder: (readonly Xattr[])[] = [];
    this.#sets.sets.forEach((set, index) => {
      inOrder[columns.setOrder[index] as number] = set;
    });
    const first = new GrowableU32();
    const names = new BlobWriter();
    const values = new BlobWriter();
    let count = 0;
    for (const set of inOrder) {
      first.push(count);
      for (const [name, value] of set) {
        names.add(name);
        values.add(value);
        count++;
      }
    }
    first.push(count);
    columns.put('xattrs.first', first.view());
    columns.putBlobs('xattrs.nameOffset', 'xattrs.names', names);
    columns.putBlobs('xattrs.valueOffset', 'xattrs.values', values);
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

interface Links {
  /** The index in `sorted` of the first link of each inode of the builder; one more at the end. */
  readonly first: Uint32Array;
  readonly sorted: Uint32Array;
}

/** Concatenated byte strings with their offsets: n + 1 offsets for n strings. */
class BlobWriter {
  readonly #bytes = new GrowableBytes();
  readonly #offsets = new GrowableU32();

  constructor() {
    this.#offsets.push(0);
  }

  add(bytes: Uint8Array): number {
    this.#bytes.append(bytes);
    if (this.#bytes.length > NONE)
      throw new CfsError(
        'image',
        'Cannot build the manifest: a byte string is larger than 4 GiB. Pack the tree as several images.',
      );
    return this.#offsets.push(this.#bytes.length) - 1;
  }

  get offsets(): Uint32Array {
    return this.#offsets.view();
  }

  get bytes(): Uint8Array {
    return this.#bytes.view();
  }
}

/** The finished columns by name. */
class ColumnWriter {
  readonly #columns = new Map<string, Uint8Array | Uint32Array>();
  /** The row of each xattr set: sets are numbered by their first use in inode order. */
  setOrder: Uint32Array = new Uint32Array(0);

  put(name: string, column: Uint8Array | Uint32Array): void {
    this.#columns.set(name, column);
  }

  putBlobs(offsetName: string, bytesName: string, blobs: BlobWriter): void {
    this.put(offsetName, blobs.offsets);
    this.put(bytesName, blobs.bytes);
  }

  take(name: string): Uint8Array | Uint32Array {
    const column = this.#columns.get(name);
    if (column === undefined) throw new Error(`column ${name} was not written`);
    return column;
  }
}

/** A 64-bit column of `length` integers below 2^53 in magnitude. */
function words(length: number, value: (row: number) => number): Uint32Array {
  const out = new Uint32Array(length * 2);
  for (let row = 0; row < length; row++) {
    const v = value(row);
    out[row * 2] = v % 0x1_0000_0000; // ToUint32 wraps a negative remainder to its two's complement
    out[row * 2 + 1] = Math.floor(v / 0x1_0000_0000);
  }
  return out;
}

/**
 * The bytes of a file cache: the content of a source's files as seen by earlier runs. docs/repository.md specifies
 * them. No I/O. Only the exact output of `encodeFileCache` decodes to a table.
 */
import { compareBytes, equalBytes } from '../base/bytes.ts';
import {
  blake3,
  blockCount,
  type ContentDigest,
  DIGEST_SIZE,
  HASH_ALGORITHMS,
  type HashAlgorithm,
} from '../base/digest.ts';
import { GrowableBytes, GrowableF64, GrowableU32 } from '../manifest/growable.ts';
import type { FileStamp, FileSystemId } from './source.ts';

const MAGIC: Uint8Array = Buffer.from('cfscache');
const VERSION = 1;

/** magic, version, algorithm, files, file systems, 8 zero bytes, checksum. */
const HEADER_SIZE = 64;
const CHECKSUM_AT = 32;

/** A column of 4-byte values is padded so that the next column begins at a multiple of 8. */
const padded = (length: number): number => Math.ceil(length / 8) * 8;

/** Bytes of all columns but the block hashes. */
const fixedLength = (files: number, fileSystems: number): number =>
  fileSystems * 24 + files * 32 + 3 * padded(files * 4) + files * DIGEST_SIZE;

const keyOf = ({ device, id }: FileSystemId): string => `${device}:${id[0]}:${id[1]}`;

/** Stamps and contents of files; columns, as in a manifest. */
export class FileTable {
  readonly hash: HashAlgorithm;
  readonly #fileSystems: FileSystemId[] = [];
  readonly #fileSystemIndex = new Map<string, number>();
  /** For each file system the rows of its inodes. */
  readonly #rows: Map<number, number>[] = [];
  readonly #fileSystem = new GrowableU32();
  readonly #inode = new GrowableF64();
  readonly #size = new GrowableF64();
  readonly #mtime = new GrowableF64();
  readonly #mtimeNsec = new GrowableU32();
  readonly #ctime = new GrowableF64();
  readonly #ctimeNsec = new GrowableU32();
  readonly #digests = new GrowableBytes();
  readonly #hashes = new GrowableBytes();
  readonly #hashStart = new GrowableF64();

  constructor(hash: HashAlgorithm) {
    this.hash = hash;
  }

  get length(): number {
    return this.#inode.length;
  }

  /** The row of the file, if it is in the cache with exactly this stamp. */
  find(stamp: FileStamp): number | undefined {
    const index = this.#fileSystemIndex.get(keyOf(stamp.fileSystem));
    const row = index === undefined ? undefined : this.#rows[index]?.get(stamp.inode);
    if (row === undefined) return undefined;
    const same =
      this.#size.get(row) === stamp.size &&
      this.#ctimeNsec.get(row) === stamp.ctimeNsec &&
      this.#ctime.get(row) === stamp.ctime &&
      this.#mtimeNsec.get(row) === stamp.mtimeNsec &&
      this.#mtime.get(row) === stamp.mtime;
    return same ? row : undefined;
  }

  /** Adds a file; an existing one is not changed. */
  add(stamp: FileStamp, content: ContentDigest): void {
    const index = this.#addFileSystem(stamp.fileSystem);
    const rows = this.#rows[index] as Map<number, number>;
    if (rows.has(stamp.inode)) return;
    rows.set(stamp.inode, this.length);
    this.#fileSystem.push(index);
    this.#inode.push(stamp.inode);
    this.#size.push(stamp.size);
    this.#mtime.push(stamp.mtime);
    this.#mtimeNsec.push(stamp.mtimeNsec);
    this.#ctime.push(stamp.ctime);
    this.#ctimeNsec.push(stamp.ctimeNsec);
    this.#digests.append(content.digest);
    this.#hashStart.push(this.#hashes.length);
    this.#hashes.append(content.blockHashes);
  }

  /** The file's bytes. */
  encode(): Uint8Array {
    const [files, fileSystems] = [this.length, this.#fileSystems.length];
    const hashes = this.#hashes.view();
    const bytes = new Uint8Array(HEADER_SIZE + fixedLength(files, fileSystems) + hashes.length);
    bytes.set(MAGIC, 0);
    new Uint32Array(bytes.buffer, 8, 4).set([VERSION, HASH_ALGORITHMS.indexOf(this.hash), files, fileSystems]);
    let at = HEADER_SIZE;
    const put = (column: Uint8Array | Uint32Array | Float64Array): void => {
      bytes.set(new Uint8Array(column.buffer, column.byteOffset, column.byteLength), at);
      at += padded(column.byteLength);
    };
    put(Float64Array.from(this.#fileSystems.flatMap(({ device, id }) => [device, ...id])));
    for (const column of [this.#inode, this.#size, this.#mtime, this.#ctime]) put(column.view());
    for (const column of [this.#mtimeNsec, this.#ctimeNsec, this.#fileSystem]) put(column.view());
    put(this.#digests.view());
    put(hashes);
    bytes.set(checksum(bytes), CHECKSUM_AT);
    return bytes;
  }

  /** 32 bytes a row. */
  get digests(): Uint8Array {
    return this.#digests.view();
  }

  get sizes(): Float64Array {
    return this.#size.view();
  }

  /** The content of the file of this row. */
  content(row: number): ContentDigest {
    const start = this.#hashStart.get(row);
    const size = this.#size.get(row);
    return {
      digest: this.#digests.view().subarray(row * DIGEST_SIZE, (row + 1) * DIGEST_SIZE),
      size,
      blockHashes: this.#hashes.view().subarray(start, start + blockCount(this.hash, size) * DIGEST_SIZE),
    };
  }

  #addFileSystem(id: FileSystemId): number {
    const key = keyOf(id);
    let index = this.#fileSystemIndex.get(key);
    if (index === undefined) {
      index = this.#fileSystems.push(id) - 1;
      this.#fileSystemIndex.set(key, index);
      this.#rows.push(new Map());
    }
    return index;
  }
}

/** BLAKE3 of everything but the checksum itself. */
function checksum(bytes: Uint8Array): Uint8Array {
  const head = bytes.slice(0, HEADER_SIZE);
  head.fill(0, CHECKSUM_AT);
  const both = new Uint8Array(HEADER_SIZE + DIGEST_SIZE);
  both.set(head);
  both.set(blake3(bytes.subarray(HEADER_SIZE)), HEADER_SIZE);
  return blake3(both);
}

/** The table, or undefined if the bytes are not those of a file cache of this version and algorithm. */
export function decodeFileCache(input: Uint8Array, hash: HashAlgorithm): FileTable | undefined {
  if (input.length < HEADER_SIZE || compareBytes(input.subarray(0, MAGIC.length), MAGIC) !== 0) return undefined;
  // a copy: columns are views, which need alignment
  const bytes = new Uint8Array(input);
  const head = new Uint32Array(bytes.buffer, 8, 4) as unknown as [number, number, number, number];
  const [version, algorithm, files, fileSystems] = head;
  if (version !== VERSION || HASH_ALGORITHMS[algorithm] !== hash) return undefined;
  const fixed = HEADER_SIZE + fixedLength(files, fileSystems);
  if (bytes.length < fixed) return undefined;
  if (!equalBytes(checksum(bytes), bytes.subarray(CHECKSUM_AT, CHECKSUM_AT + DIGEST_SIZE))) return undefined;
  return readColumns(bytes, hash, files, fileSystems);
}

function readColumns(
  bytes: Uint8Array,
  hash: HashAlgorithm,
  files: number,
  fileSystems: number,
): FileTable | undefined {
  let at = HEADER_SIZE;
  const take = (length: number): number => {
    const from = at;
    at += padded(length);
    return from;
  };
  const doubles = (length: number): Float64Array => new Float64Array(bytes.buffer, take(length * 8), length);
  const words = (length: number): Uint32Array => new Uint32Array(bytes.buffer, take(length * 4), length);
  const ids = doubles(fileSystems * 3);
  const [inode, size, mtime, ctime] = [doubles(files), doubles(files), doubles(files), doubles(files)];
  const [mtimeNsec, ctimeNsec, fileSystem] = [words(files), words(files), words(files)];
  const digests = new Uint8Array(bytes.buffer, take(files * DIGEST_SIZE), files * DIGEST_SIZE);
  const hashes = bytes.subarray(at);
  const systems = Array.from(
    { length: fileSystems },
    (_, i): FileSystemId => ({
      device: ids[i * 3] as number,
      id: [ids[i * 3 + 1] as number, ids[i * 3 + 2] as number],
    }),
  );
  const table = new FileTable(hash);
  let hashAt = 0;
  for (let row = 0; row < files; row++) {
    const system = systems[fileSystem[row] as number];
    const bytesOfHashes = blockCount(hash, size[row] as number) * DIGEST_SIZE;
    if (system === undefined || !(hashAt + bytesOfHashes <= hashes.length)) return undefined;
    table.add(
      {
        fileSystem: system,
        inode: inode[row] as number,
        size: size[row] as number,
        mtime: mtime[row] as number,
        mtimeNsec: mtimeNsec[row] as number,
        ctime: ctime[row] as number,
        ctimeNsec: ctimeNsec[row] as number,
      },
      {
        digest: digests.subarray(row * DIGEST_SIZE, (row + 1) * DIGEST_SIZE),
        size: size[row] as number,
        blockHashes: hashes.subarray(hashAt, hashAt + bytesOfHashes),
      },
    );
    hashAt += bytesOfHashes;
  }
  return hashAt === hashes.length ? table : undefined;
}

/** An image, or parts of it, as a tar archive. The same image results in the same bytes. */
import { printable } from '../base/bytes.ts';
import {
  majorOf,
  minorOf,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
} from '../base/stat-bits.ts';
import { Holes } from '../manifest/holes.ts';
import { direntName, inlineOf, linkTarget, xattrsOf } from '../manifest/lookup.ts';
import { i64, type ManifestTables, shareTables, u64 } from '../manifest/tables.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import { dataAreas, type PiecePlan, planPieces } from './piece-plan.ts';
import { PieceStream } from './piece-stream.ts';
import { type ExtractPlan, pathInPlan, planOf } from './plan.ts';
import { pieceSettings } from './read-pieces.ts';
import * as tar from './tar-format.ts';

export interface TarOptions {
  /** The image's name in messages. */
  readonly image: string;
  /** Searched in this order. */
  readonly repositories: readonly LocalRepository[];
  /** Absolute paths that the image has; "/" for all of it. */
  readonly paths: readonly Uint8Array[];
  /** Threads that read ahead; 0 for none. */
  readonly threads: number;
  /** Receives lines about sockets, which an archive cannot have, and about bad copies of objects. */
  readonly warn: (line: string) => void;
}

const TYPES: Readonly<Record<number, number>> = {
  [S_IFREG]: tar.FILE,
  [S_IFDIR]: tar.DIRECTORY,
  [S_IFLNK]: tar.SYMLINK,
  [S_IFCHR]: tar.CHARACTER_DEVICE,
  [S_IFBLK]: tar.BLOCK_DEVICE,
  [S_IFIFO]: tar.FIFO,
};
const PERMISSIONS = 0o7777;
/** Larger ones are passed on as they are. */
const CHUNK = 1 << 16;
const EMPTY: Uint8Array = new Uint8Array();
const SLASH: Uint8Array = Buffer.from('/');
const PADDING: Uint8Array = new Uint8Array(tar.BLOCK);
const ROOT_NAME: Uint8Array = Buffer.from('./');

/**
 * The bytes of the archive, in pieces of any size, each valid until the next is requested. Directories come before what
 * is in them, names of files in the order of their bytes. After an error the archive has no end.
 * @throws CfsError (store) if no repository has a good copy of a content
 */
export async function* tarOf(tables: ManifestTables, options: TarOptions): AsyncGenerator<Uint8Array, void, undefined> {
  const plan = planOf(tables, options.paths);
  const holes = new Holes(tables);
  const pieces = planPieces(tables, holes, rowsOf(tables, plan));
  const settings = pieceSettings(shareTables(tables), pieces, options.image);
  const stream = new PieceStream(settings, options.repositories, options.threads, options.warn);
  try {
    const writer = new TarWriter(tables, plan, holes, pieces, options.warn);
    for (const step of writer.archive()) {
      if (step instanceof Uint8Array) yield step;
      else if (step === BATCH) writer.supply(await stream.next());
      else stream.release();
    }
  } finally {
    await stream.close();
  }
}

function* rowsOf(tables: ManifestTables, plan: ExtractPlan): Generator<number> {
  for (const dirent of plan.entries) yield tables.dirents.inode[dirent] as number;
}

/** Needs the next batch of contents: call `supply`. */
const BATCH: unique symbol = Symbol('batch');
/** Does not need the last batch any more. */
const RELEASE: unique symbol = Symbol('release');

/** Bytes of the archive, or a request. Synchronous: a promise for each member would take longer than the member. */
type Steps = Generator<Uint8Array | typeof BATCH | typeof RELEASE, void, undefined>;

class TarWriter {
  readonly #tables: ManifestTables;
  readonly #plan: ExtractPlan;
  readonly #holes: Holes;
  readonly #pieces: PiecePlan;
  readonly #warn: (line: string) => void;
  readonly #buffer: Buffer = Buffer.allocUnsafeSlow(CHUNK);
  /** Bytes in the buffer, and of the archive so far. */
  #used = 0;
  #length = 0;
  /** The bytes of the present batch that were not used yet; undefined between two batches. */
  #batch: Uint8Array | undefined;
  #batches = 0;
  /** The next piece. */
  #piece = 0;

  constructor(
    tables: ManifestTables,
    plan: ExtractPlan,
    holes: Holes,
    pieces: PiecePlan,
    warn: (line: string) => void,
  ) {
    this.#tables = tables;
    this.#plan = plan;
    this.#holes = holes;
    this.#pieces = pieces;
    this.#warn = warn;
  }

  supply(batch: Uint8Array): void {
    this.#batch = batch;
  }

  *archive(): Steps {
    const { row, selected, first, entries, links } = this.#plan;
    let link = 0;
    for (let directory = 0; directory < row.length; directory++) {
      const path = this.#directoryPath(directory);
      if (selected[directory] === 1) yield* this.#put(tar.headersOf(this.#member(row[directory] as number, path)));
      const prefix = directory === 0 ? EMPTY : path;
      for (let i = first[directory] as number; i < (first[directory + 1] as number); i++) {
        yield* this.#entry(entries[i] as number, prefix);
      }
      // in their directory: tar(1) sets its time when it has passed it
      for (; link < links.length && links[link] === directory; link += 4) {
        const [, dirent, to, toDirent] = links.subarray(link, link + 4) as unknown as [number, number, number, number];
        yield* this.#link(dirent, prefix, pathInPlan(this.#tables, this.#plan, to, toDirent));
      }
    }
    yield* this.#put(tar.endOf(this.#length));
    if (this.#used > 0) yield this.#buffer.subarray(0, this.#used);
  }

  /** Relative, with a slash at the end. */
  #directoryPath(directory: number): Uint8Array {
    return directory === 0 ? ROOT_NAME : Buffer.concat([pathInPlan(this.#tables, this.#plan, directory), SLASH]);
  }

  #pathOf(dirent: number, prefix: Uint8Array): Uint8Array {
    const name = direntName(this.#tables, dirent);
    return prefix.length === 0 ? name : Buffer.concat([prefix, name]);
  }

  #isSocket(row: number): boolean {
    return ((this.#tables.inodes.mode[row] as number) & S_IFMT) === S_IFSOCK;
  }

  *#link(dirent: number, prefix: Uint8Array, target: Uint8Array): Steps {
    const row = this.#tables.dirents.inode[dirent] as number;
    if (this.#isSocket(row)) return;
    const { xattrs, sparse, device, ...member } = this.#member(row, this.#pathOf(dirent, prefix));
    yield* this.#put(tar.headersOf({ ...member, type: tar.LINK, size: 0, target }));
  }

  *#entry(dirent: number, prefix: Uint8Array): Steps {
    const row = this.#tables.dirents.inode[dirent] as number;
    const path = this.#pathOf(dirent, prefix);
    if (this.#isSocket(row)) {
      this.#warn(`/${printable(path)} is a socket, which an archive cannot have: left out`);
      return;
    }
    const member = this.#member(row, path);
    yield* this.#put(tar.headersOf(member));
    if (member.size === 0) return;
    const inline = inlineOf(this.#tables, row);
    if (inline !== undefined) yield* this.#put(inline);
    else yield* this.#content(member.size);
    yield* this.#put(PADDING.subarray(0, tar.paddingOf(member.size)));
  }

  /** The pieces of a content. */
  *#content(size: number): Steps {
    for (let left = size; left > 0; this.#piece++) {
      if (this.#batch === undefined) yield BATCH;
      const batch = this.#batch as Uint8Array;
      const length = this.#pieces.pieces[this.#piece * 3 + 2] as number;
      yield* this.#put(batch.subarray(0, length));
      this.#batch = batch.subarray(length);
      left -= length;
      if (this.#piece + 1 < (this.#pieces.first[this.#batches + 1] as number)) continue;
      this.#batches++;
      this.#batch = undefined;
      yield RELEASE;
    }
  }

  /** Small pieces are collected. */
  *#put(bytes: Uint8Array): Steps {
    this.#length += bytes.length;
    if (this.#used > 0 && this.#used + bytes.length > CHUNK) {
      yield this.#buffer.subarray(0, this.#used);
      this.#used = 0;
    }
    if (bytes.length >= CHUNK) {
      yield bytes;
      return;
    }
    this.#buffer.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  #member(row: number, path: Uint8Array): tar.TarMember {
    const { mode, uid, gid, mtime, mtimeNsec, size, rdev } = this.#tables.inodes;
    const type = (mode[row] as number) & S_IFMT;
    const content = type === S_IFREG ? u64(size, row) : 0;
    const areas = content > 0 ? dataAreas(this.#tables, this.#holes, row) : undefined;
    const isDevice = type === S_IFCHR || type === S_IFBLK;
    return {
      type: TYPES[type] as number,
      path,
      mode: (mode[row] as number) & PERMISSIONS,
      uid: uid[row] as number,
      gid: gid[row] as number,
      mtime: i64(mtime, row),
      mtimeNsec: mtimeNsec[row] as number,
      size: areas?.reduce((sum, [, length]) => sum + length, 0) ?? content,
      xattrs: xattrsOf(this.#tables, row),
      ...(type === S_IFLNK ? { target: linkTarget(this.#tables, row) } : {}),
      ...(isDevice ? { device: { major: majorOf(rdev[row] as number), minor: minorOf(rdev[row] as number) } } : {}),
      ...(areas === undefined ? {} : { sparse: { size: content, data: withEnd(areas, content) } }),
    };
  }
}

/** GNU tar takes the end of the last area for the size: a hole at the end is followed by an empty area. */
function withEnd(areas: readonly (readonly [number, number])[], size: number): readonly (readonly [number, number])[] {
  const [offset = 0, length = 0] = areas.at(-1) ?? [];
  return offset + length === size ? areas : [...areas, [size, 0]];
}

/** Stores the entries of a source in a manifest, one after another, and their contents in objects. */
import { printable } from '../base/bytes.ts';
import { BLOCK_SIZE, blockCount, DIGEST_SIZE, type HashAlgorithm } from '../base/digest.ts';
import { CfsError } from '../base/error.ts';
import { type BuilderInode, ManifestBuilder } from '../manifest/builder.ts';
import { BLOCK_HASHES_LIMIT, type ManifestTables } from '../manifest/tables.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import { ObjectWriter } from '../store/object-writer.ts';
import { isOutOfFiles } from '../system/resource-limits.ts';
import type { ContentResult } from './content-job.ts';
import { ContentPool } from './content-pool.ts';
import type { FileCache } from './file-cache.ts';
import { MOST_OPEN_FILES } from './open-files-plan.ts';
import type { PackProgress, PackSettings } from './pack-settings.ts';
import type { FileContent, FileStamp, Source, SourceEntry } from './source.ts';

/** Mutable counts behind PackProgress. */
export interface PackCounts {
  entries: number;
  files: number;
  bytes: number;
  filesDone: number;
  bytesDone: number;
  inlineFiles: number;
  inlineBytes: number;
  unchangedFiles: number;
  scanned: boolean;
}

/** Files that an earlier run has read. */
type KnownFiles = Pick<FileCache, 'objects' | 'find' | 'isSettled' | 'add'>;

/** Of a run that neither knows nor remembers any. */
export const NO_KNOWN_FILES: KnownFiles = {
  objects: undefined,
  find: () => undefined,
  isSettled: () => false,
  add: () => undefined,
};

/** The main thread handles signals and messages after this many entries. */
const BREATHE = 512;

export interface PackedTree {
  readonly tables: ManifestTables;
  readonly counts: PackCounts;
  readonly newObjects: number;
  readonly newBytes: number;
}

/** Packs one source, once. */
export class Packer {
  readonly #source: Source;
  readonly #settings: PackSettings;
  /** The prefix of temporary files. */
  readonly #prefix: string;
  readonly #cache: KnownFiles;
  readonly #builder: ManifestBuilder;
  readonly #pool: ContentPool;
  /** By number of the entry. */
  readonly #inodeOf: BuilderInode[] = [0];
  /** Files that are being read, and may be remembered by these stamps. */
  readonly #toRemember = new Map<BuilderInode, FileStamp>();
  readonly #counts: PackCounts = {
    entries: 1,
    files: 0,
    bytes: 0,
    filesDone: 0,
    bytesDone: 0,
    inlineFiles: 0,
    inlineBytes: 0,
    unchangedFiles: 0,
    scanned: false,
  };

  /** Starts the threads; `run` ends them. */
  constructor(source: Source, settings: PackSettings, prefix: string, cache: KnownFiles) {
    this.#source = source;
    this.#settings = settings;
    this.#prefix = prefix;
    this.#cache = cache;
    const { repository, threads, durable, inlineMax, hashOnly = false, openFiles = MOST_OPEN_FILES } = settings;
    const { hash, uuid, place, path: store } = repository;
    this.#builder = new ManifestBuilder(hash, source.root);
    this.#pool = new ContentPool(
      { threads, prefix, store, meta: { hash, uuid }, place, durable, inlineMax, hashOnly, ...openFiles },
      (inode, result) => this.#stored(inode, result),
    );
  }

  /** @throws CfsError of kind source, store or image; the reason of the signal */
  async run(): Promise<PackedTree> {
    const { signal, repository, durable, repositories } = this.#settings;
    const onAbort = (): void => this.#pool.abort(signal?.reason);
    signal?.addEventListener('abort', onAbort);
    try {
      if (this.#cache.objects !== undefined) this.#pool.check(this.#cache.objects);
      await this.#takeAll();
      const { written, writtenBytes } = await this.#pool.finish();
      this.#source.finish?.();
      // the batches were synced before their renames; this syncs the names themselves
      if (durable && written > 0) syncNames(repository, this.#prefix);
      const tables = this.#builder.finish(repositories);
      return { tables, counts: this.#counts, newObjects: written, newBytes: writtenBytes };
    } finally {
      signal?.removeEventListener('abort', onAbort);
      await this.#pool.close();
      this.#source.close?.();
    }
  }

  /**
   * Waits only for a source that needs it: a turn of the event loop for each entry would take longer than the entry.
   */
  async #takeAll(): Promise<void> {
    const entries = this.#source.entries();
    if (Symbol.asyncIterator in entries) for await (const entry of entries) await this.#next(entry);
    else {
      for (const entry of entries) {
        const wait = this.#next(entry);
        if (wait !== undefined) await wait;
      }
    }
    this.#counts.scanned = true;
    this.#report();
  }

  /** @returns a promise to wait for before the next entry, if any */
  #next(entry: SourceEntry): Promise<void> | undefined {
    throwIfAborted(this.#settings.signal);
    const wait = this.#take(entry);
    if (++this.#counts.entries % BREATHE !== 0) return wait;
    this.#report();
    return Promise.all([wait, new Promise((resolve) => setImmediate(resolve))]).then(() => undefined);
  }

  #take(entry: SourceEntry): Promise<void> | undefined {
    const { inode: what, parent, name } = entry;
    const inode =
      what.kind === 'link' ? (this.#inodeOf[what.to] as BuilderInode) : this.#builder.addInode(what.metadata);
    if (what.kind === 'symlink') this.#builder.setTarget(inode, what.target);
    this.#inodeOf.push(inode);
    this.#builder.link(this.#inodeOf[parent] as BuilderInode, name, inode);
    return what.kind === 'regular' ? this.#takeFile(inode, what.content, entry) : undefined;
  }

  /** @param entry that has its path, which may have to be made */
  #takeFile(inode: BuilderInode, content: FileContent, entry: Pick<SourceEntry, 'path'>): Promise<void> | undefined {
    const { stamp, size, known: given } = content;
    this.#counts.files++;
    this.#counts.bytes += size;
    checkSize(size, entry, this.#settings.repository.hash);
    if (given !== undefined) {
      this.#counts.unchangedFiles++;
      this.#stored(inode, given, given.generation);
      return undefined;
    }
    if (stamp !== undefined && size > this.#settings.inlineMax) {
      const known = this.#cache.find(stamp);
      if (known !== undefined) {
        this.#counts.unchangedFiles++;
        this.#stored(inode, { content: known });
        return undefined;
      }
      if (this.#cache.isSettled(stamp)) this.#toRemember.set(inode, stamp);
    }
    try {
      return this.#pool.add(inode, content.open(), entry.path);
    } catch (error) {
      if (!(error instanceof CfsError) || !isOutOfFiles(error.cause)) throw error;
    }
    // other parts of the process have opened files, too, but most of them are contents that wait to be read
    return this.#pool.drain().then(() => this.#pool.add(inode, content.open(), entry.path));
  }

  /** The content of a file is known, and is in the repository or in memory. */
  #stored(inode: BuilderInode, { content, inline }: ContentResult, generation?: number): void {
    const counts = this.#counts;
    counts.filesDone++;
    counts.bytesDone += content.size;
    if (inline === undefined) {
      this.#builder.setObject(inode, content, generation);
      const stamp = this.#toRemember.get(inode);
      if (stamp !== undefined) this.#cache.add(stamp, content);
      this.#toRemember.delete(inode);
    } else {
      this.#builder.setInline(inode, content, inline, generation);
      if (content.size > 0) counts.inlineFiles++;
      counts.inlineBytes += content.size;
    }
    this.#report();
  }

  #report(): void {
    this.#settings.onProgress?.(this.#counts satisfies PackProgress);
  }
}

function syncNames(repository: LocalRepository, prefix: string): void {
  const writer = new ObjectWriter(repository, { durable: true, prefix });
  try {
    writer.sync();
  } finally {
    writer.close();
  }
}

/** A file that no image can describe is refused before it is read: 8 TiB of a sparse file take an hour. */
function checkSize(size: number, entry: Pick<SourceEntry, 'path'>, hash: HashAlgorithm): void {
  if (blockCount(hash, size) * DIGEST_SIZE <= BLOCK_HASHES_LIMIT) return;
  const most = Math.floor(BLOCK_HASHES_LIMIT / DIGEST_SIZE) * BLOCK_SIZE;
  throw new CfsError(
    'source',
    `Cannot pack ${printable(entry.path)}: it has ${size} bytes; an image can hold files of at most ${most}. Leave it out, or make it smaller: with 'truncate' if it is sparse.`,
  );
}

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw signal.reason;
}

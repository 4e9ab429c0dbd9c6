/**
 * What a repository holds, for people to look at: the space of its images, by directory, what they have in common, and
 * the differences between them. Takes no lock. The size of the result is limited, whatever the size of the images.
 */

import { setImmediate as breathe } from 'node:timers/promises';
import { printable } from '../base/bytes.ts';
import { CfsError } from '../base/error.ts';
import { shortened } from '../base/log.ts';
import { pathBytes } from '../base/path-text.ts';
import { readImage } from '../image/image-file.ts';
import { firstPlace, ImageFinder } from '../image/registered-image.ts';
import { inodeCount, type ManifestTables } from '../manifest/tables.ts';
import { listRoots, type Root } from '../store/gc/roots.ts';
import { type RepositoryUsage, repositoryUsage } from '../store/gc/usage.ts';
import { PREFIXES } from '../store/layout.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import { type Amounts, type ComparedEntry, compareTables } from './comparison.ts';
import { type ImageObjects, objectsOf, sharingOf } from './sharing.ts';
import { type SpaceNode, spaceTree } from './space-tree.ts';

/** A node of the tree of a space, as text: `\xHH` for bytes that people cannot read. */
export interface NamedSpace extends Omit<SpaceNode, 'name' | 'children'> {
  readonly name: string;
  readonly children?: readonly NamedSpace[];
}

/** An image whose file was read. */
export interface ReportedImage {
  readonly id: string;
  /** Its path, exactly: base/path-text.ts. */
  readonly file: string;
  /** Its path as text for people. */
  readonly path: string;
  readonly inodes: number;
  readonly space: NamedSpace;
  /** Bytes of the objects that it has in common with each of the reported images, in their order. */
  readonly common: readonly number[];
}

/** A change, with paths as text. */
export interface ReportedChange extends Omit<ComparedEntry, 'path' | 'from'> {
  readonly path: string;
  readonly from?: string;
}

export interface ReportedComparison {
  /** Index of the older image in `images`. */
  readonly from: number;
  /** Index of the newer one, which is greater. */
  readonly to: number;
  readonly added: Amounts;
  readonly removed: Amounts;
  readonly changed: Amounts;
  readonly renamed: Amounts;
  readonly lines: readonly ReportedChange[];
}

export interface RepositoryReport {
  readonly path: string;
  readonly uuid: string;
  readonly hash: string;
  /** In milliseconds since 1970. */
  readonly time: number;
  readonly usage: RepositoryUsage;
  /** When each image was registered, in seconds since 1970, by its id. */
  readonly registered: ReadonlyMap<string, number>;
  /** The images whose files were read, in the order of their registration. */
  readonly images: readonly ReportedImage[];
  /** Images that are registered, but could not be read, or are too many: text for people, by their ids. */
  readonly unread: ReadonlyMap<string, string>;
  /** Of each image with each later one, as far as the limits allow; neighbours first. */
  readonly comparisons: readonly ReportedComparison[];
}

/** How much a report holds at most. */
export interface ReportLimits {
  /** Images that are read: those registered last. */
  readonly images: number;
  /** Nodes of all trees together. */
  readonly nodes: number;
  readonly comparisons: number;
  /** Lines of all comparisons together. */
  readonly lines: number;
}

export const REPORT_LIMITS: ReportLimits = { images: 40, nodes: 8_000, comparisons: 200, lines: 8_000 };

export interface ReportOptions {
  readonly limits?: ReportLimits;
  readonly signal?: AbortSignal;
  /** Receives the finished part of the work, up to 1. */
  readonly onProgress?: (done: number) => void;
}

const HOUR_MS = 3_600_000;
/** The parts of the work, as guessed. */
const COUNTED = 0.3;
const READ = 0.5;

/** @throws CfsError (store) if the repository cannot be read; the reason of the signal */
export async function reportOn(repository: LocalRepository, options: ReportOptions = {}): Promise<RepositoryReport> {
  const { limits = REPORT_LIMITS, signal, onProgress } = options;
  const step = async (done: number): Promise<void> => {
    onProgress?.(done);
    await breathe();
    if (signal?.aborted === true) throw signal.reason;
  };
  const usage = await repositoryUsage(repository, {
    minAgeMs: HOUR_MS,
    ...(signal && { signal }),
    onProgress: (directories) => onProgress?.((directories / PREFIXES) * COUNTED),
  });
  const roots = listRoots(repository);
  const registered = new Map(
    roots.flatMap(({ image, header }) => (header === undefined ? [] : [[image, header.time] as const])),
  );
  const { images, unread } = await findImages(usage, roots, limits.images, (part) =>
    step(COUNTED + part * (READ - COUNTED)),
  );
  const tables = new TablesCache(images);
  const sharing = sharingOf(repository, new Map(images.map(({ id, objects }) => [id, objects])));
  const nodes = Math.max(2, Math.floor(limits.nodes / Math.max(1, images.length)));
  const pairs = pairsOf(images.length).slice(0, limits.comparisons);
  const reported = images.map(
    ({ id, path, inodes }, i): ReportedImage => ({
      id,
      file: path,
      path: printable(pathBytes(path)),
      inodes,
      space: named(spaceTree(tables.of(i), sharing.unique[i] as Uint8Array, nodes)),
      common: [...(sharing.bytes[i] as Float64Array)],
    }),
  );
  const lines = Math.floor(limits.lines / Math.max(1, pairs.length));
  const comparisons: ReportedComparison[] = [];
  for (const [i, [from, to]] of pairs.entries()) {
    await step(READ + (i / pairs.length) * (1 - READ));
    const compared = compareTables(tables.of(from), tables.of(to), lines);
    comparisons.push({ from, to, ...compared, lines: compared.lines.map(reportedChange) });
  }
  onProgress?.(1);
  const { path, uuid, hash } = repository;
  return { path, uuid, hash, time: Date.now(), usage, registered, images: reported, unread, comparisons };
}

interface FoundImage {
  readonly id: string;
  readonly path: string;
  readonly objects: ImageObjects;
  readonly inodes: number;
}

/** Registered images, the last one first. A header's time has whole seconds: within one, that of the file decides. */
export function latestFirst(roots: readonly Root[]): Root[] {
  return [...roots].sort(
    (a, b) =>
      (b.header?.time ?? 0) - (a.header?.time ?? 0) ||
      (b.mtimeMs ?? 0) - (a.mtimeMs ?? 0) ||
      (a.image < b.image ? -1 : 1),
  );
}

/**
 * The images that can be read, in the order of their registration, and the reasons why others are not.
 * @param step called before each is read, with the finished part
 */
async function findImages(
  { images }: RepositoryUsage,
  roots: readonly Root[],
  limit: number,
  step: (part: number) => Promise<void>,
): Promise<{ readonly images: readonly FoundImage[]; readonly unread: ReadonlyMap<string, string> }> {
  const finder = new ImageFinder();
  const unread = new Map<string, string>();
  const rank = new Map(latestFirst(roots).map(({ image }, i) => [image, i]));
  const rankOf = (id: string): number => rank.get(id) ?? rank.size;
  const latest = [...images].sort((a, b) => rankOf(a.image) - rankOf(b.image));
  const found: FoundImage[] = [];
  for (const { image: id, paths } of latest) {
    if (found.length === limit) {
      unread.set(id, `only the ${limit} images that were registered last are read`);
      continue;
    }
    const places = finder.look(paths, id);
    const path = firstPlace(places);
    if (path === undefined) unread.set(id, places.length === 0 ? 'its path is unknown' : 'its file is not there');
    else {
      try {
        await step(found.length / Math.min(limit, latest.length));
        const { tables } = readImage(path, id);
        found.push({ id, path, objects: objectsOf(tables), inodes: inodeCount(tables) });
      } catch (error) {
        if (!(error instanceof CfsError)) throw error;
        unread.set(id, error.message);
      }
    }
  }
  return { images: found.reverse(), unread };
}

/** Tables of several images: only some are in memory at a time. */
class TablesCache {
  static readonly #MOST = 4;
  readonly #images: readonly FoundImage[];
  /** The least recently used one is the first. */
  readonly #tables = new Map<number, ManifestTables>();

  constructor(images: readonly FoundImage[]) {
    this.#images = images;
  }

  of(image: number): ManifestTables {
    const { path, id } = this.#images[image] as FoundImage;
    const tables = this.#tables.get(image) ?? readImage(path, id).tables;
    this.#tables.delete(image);
    this.#tables.set(image, tables);
    const [oldest] = this.#tables.keys();
    if (this.#tables.size > TablesCache.#MOST && oldest !== undefined) this.#tables.delete(oldest);
    return tables;
  }
}

/** Pairs of an image and a later one: neighbours first, the latest first. */
function pairsOf(count: number): (readonly [from: number, to: number])[] {
  const pairs: [number, number][] = [];
  for (let distance = 1; distance < count; distance++) {
    for (let to = count - 1; to >= distance; to--) pairs.push([to - distance, to]);
  }
  return pairs;
}

/** Characters of a name, and of a path: hostile images must not make the report large. */
const NAME = 120;
const PATH = 240;

const named = ({ name, children, ...space }: SpaceNode): NamedSpace => ({
  name: shortened(printable(name), NAME),
  ...space,
  ...(children && { children: children.map(named) }),
});

const reportedChange = ({ path, from, ...change }: ComparedEntry): ReportedChange => ({
  ...change,
  path: shortened(printable(path), PATH),
  ...(from && { from: shortened(printable(from), PATH) }),
});

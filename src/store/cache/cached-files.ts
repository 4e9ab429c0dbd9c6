/** The files of a cache that may be deleted, and when they were used. */
import { lstatSync, type Stats } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { objectNames } from '../gc/digest-merge.ts';
import { PREFIXES, prefixName } from '../layout.ts';
import type { LocalRepository } from '../local-repository.ts';
import type { StoreDirectory } from '../store-directory.ts';
import type { CacheDirectory } from './cache-directory.ts';
import type { Pin, Pins } from './pins.ts';

/** Files take whole blocks of the disk. */
const BLOCK = 4096;
const IMAGE_NAME = /^([0-9a-f]{64})\.cfs$/;
/** Files that are being written; or were, when their program was killed. */
const UNFINISHED_IMAGE = /^[0-9a-f]{64}\.cfs\.[0-9a-f]+\.tmp$/;
const UNFINISHED_OBJECT = /^[0-9a-f]{16}-/;
/** Nothing is written for so long. */
const LEFT_OVER_MS = 3_600_000;

export type CachedKind = 'object' | 'image' | 'leftover';

export interface CachedFile {
  readonly kind: CachedKind;
  /** Of the cache; undefined: the file is in the directory of images. */
  readonly repository: LocalRepository | undefined;
  /** The directory in the repository, such as `objects/ab`; empty for images. */
  readonly below: string;
  readonly name: string;
  /** On the disk, in whole blocks. */
  readonly bytes: number;
  /** Milliseconds since 1970, as far as the file system notes when files are read; 0 for leftovers. */
  readonly used: number;
  /** A pinned image, or an object of one: it is not deleted. */
  readonly isPinned: boolean;
}

export interface ScanOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called with each pin that needs an object of the cache, and the bytes of the object on the disk. */
  readonly onPinned?: (pin: Pin, bytes: number) => void;
}

/**
 * All files of a cache. Other work of the thread goes on in between.
 * @throws errors of node:fs; CfsError (store) if another directory has taken the place of a part
 */
export async function filesIn(
  cache: CacheDirectory,
  pins: Pins,
  { signal, onPinned }: ScanOptions = {},
): Promise<CachedFile[]> {
  const files: CachedFile[] = [];
  for (const repository of cache.repositories) {
    for (let prefix = 0; prefix < PREFIXES; prefix++) {
      const objects = objectsIn(repository, `objects/${prefixName(prefix)}`);
      const pinned = new Set<number>();
      const names = objects.map(({ name }) => name);
      pins.find(repository, prefix, names, (pin, i) => {
        pinned.add(i);
        onPinned?.(pin, objects[i]?.bytes ?? 0);
      });
      files.push(...(pinned.size === 0 ? objects : objects.map((file, i) => ({ ...file, isPinned: pinned.has(i) }))));
      await setImmediate();
      if (signal?.aborted === true) throw signal.reason;
    }
    files.push(...leftoversIn(repository));
  }
  return [...files, ...imagesIn(cache, pins)];
}

/** By their names. */
function objectsIn(repository: LocalRepository, below: string): readonly CachedFile[] {
  const found = repository.within(below, (directory) =>
    objectNames(directory).flatMap((name): CachedFile[] => {
      const stat = statIn(directory, name);
      if (stat === undefined) return [];
      return [{ kind: 'object', repository, below, name, ...sizeAndTime(stat), isPinned: false }];
    }),
  );
  return found ?? [];
}

function leftoversIn(repository: LocalRepository): readonly CachedFile[] {
  const found = repository.within('tmp', (directory) =>
    directory.names().flatMap((name): CachedFile[] => {
      const stat = UNFINISHED_OBJECT.test(name) ? statIn(directory, name) : undefined;
      if (stat === undefined || !isLeftOver(stat)) return [];
      return [{ kind: 'leftover', repository, below: 'tmp', name, ...useless(stat) }];
    }),
  );
  return found ?? [];
}

function imagesIn(cache: CacheDirectory, pins: Pins): readonly CachedFile[] {
  const found = cache.withImages((directory) =>
    directory.names().flatMap((name): CachedFile[] => {
      const id = idOfName(name);
      const isImage = id !== undefined;
      const stat = isImage || UNFINISHED_IMAGE.test(name) ? statIn(directory, name) : undefined;
      const place = { repository: undefined, below: '', name };
      if (stat === undefined) return [];
      if (isImage && stat.isFile()) return [{ kind: 'image', ...place, ...sizeAndTime(stat), isPinned: pins.has(id) }];
      // in place of an image there may be a link or a fifo, which no mount uses
      return isImage || isLeftOver(stat) ? [{ kind: 'leftover', ...place, ...useless(stat) }] : [];
    }),
  );
  return found ?? [];
}

/** The id of an image, from the name of its file. */
export const idOfName = (name: string): string | undefined => IMAGE_NAME.exec(name)?.[1];

/** Undefined if it was deleted in the meantime, or is a directory. */
function statIn(directory: StoreDirectory, name: string): Stats | undefined {
  const stat = lstatSync(`/proc/self/fd/${directory.fd}/${name}`, { throwIfNoEntry: false });
  return stat?.isDirectory() === true ? undefined : stat;
}

const isLeftOver = (stat: Stats): boolean => Date.now() - Math.max(stat.mtimeMs, stat.ctimeMs) > LEFT_OVER_MS;

const blocksOf = (stat: Stats): number => Math.ceil(stat.size / BLOCK) * BLOCK;

const sizeAndTime = (stat: Stats): Pick<CachedFile, 'bytes' | 'used'> => ({
  bytes: blocksOf(stat),
  used: Math.max(stat.atimeMs, stat.ctimeMs),
});

const useless = (stat: Stats): Pick<CachedFile, 'bytes' | 'used' | 'isPinned'> => ({
  bytes: blocksOf(stat),
  used: 0,
  isPinned: false,
});

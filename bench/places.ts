/** New file systems to write to. ext4 avoids inodes that were freed in the last minutes: a new one has none. */
import { mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Bench } from './contract.ts';
import { fileSystemUnavailable, unmount } from './mounts.ts';
import { missingProgram, run } from './process.ts';
import type { Place, PlaceKind } from './writing.ts';

/** Bytes of a new ext4, beside several large files. Its file has holes. */
const EXT4_SIZE = 8 * 2 ** 30;

/** The reason why there is no place of this kind; undefined if there is. */
export function placeUnavailable(kind: PlaceKind): string | undefined {
  if (kind === 'tmpfs') return fileSystemUnavailable('tmpfs');
  return fileSystemUnavailable('ext4') ?? missingProgram('mkfs.ext4', 'Debian: e2fsprogs');
}

let images = 0;

/** @param name of the writer: each has a place of its own */
export async function makePlace(kind: PlaceKind, name: string, bench: Bench): Promise<Place> {
  const path = bench.scratch.directory(`place-${name}`);
  if (kind === 'tmpfs') {
    await run(['mount', '-t', 'tmpfs', '-o', 'size=100%', 'tmpfs', path], bench.signal);
    return { kind, path };
  }
  // another one each time: a new mount namespace of some other program keeps the file system of an earlier one mounted
  const image = bench.scratch.file(`place-${name}-${images++}.ext4`);
  writeFileSync(image, '');
  truncateSync(image, EXT4_SIZE + 2 * bench.largeSize);
  await run(['mkfs.ext4', '-q', '-F', image], bench.signal);
  await run(['mount', '-t', 'ext4', '-o', 'loop', image, path], bench.signal);
  // the loop device keeps it open, and is removed with the mount
  rmSync(image);
  return { kind, path };
}

export const removePlace = (name: string, bench: Bench): Promise<void> =>
  unmount(bench.scratch.directory(`place-${name}`));

/** A directory of this name in the place, made. */
export function directoryIn({ path }: Place, name: string): string {
  const directory = join(path, name);
  mkdirSync(directory, { recursive: true });
  return directory;
}

/**
 * The paths of registered images: `paths/<image id>-<16 digits>`, a small file for each path of each image, so that two
 * programs that register the same image at the same time do not undo each other's work. docs/repository.md specifies
 * them. The digits are the beginning of the path's BLAKE3; a record with another path is malformed.
 */
import { closeSync } from 'node:fs';
import { toHex } from '../../base/bytes.ts';
import { blake3 } from '../../base/digest.ts';
import { ENOENT, errnoOf } from '../../base/errno.ts';
import { CfsError, reasonOf } from '../../base/error.ts';
import { pathBytes, pathText } from '../../base/path-text.ts';
import { readUpTo } from '../../objects/read-content.ts';
import type { PathPlace } from '../../system/path-place.ts';
import type { LocalRepository } from '../local-repository.ts';
import { replaceSmallFile } from '../small-file.ts';
import type { StoreDirectory } from '../store-directory.ts';

/** A path of a registered image. */
export interface RegisteredPath {
  /** Absolute. Empty: the image is kept wherever it is. */
  readonly path: string;
  /** The file system of the path when it was registered; undefined if unknown. */
  readonly place: PathPlace | undefined;
}

/** A file in paths/. */
export interface PathRecord {
  /** Of the file. */
  readonly name: string;
  readonly image: string;
  readonly registered: RegisteredPath | undefined;
  /** Its problem, if it is malformed. */
  readonly problem: string | undefined;
}

const NAME = /^([0-9a-f]{64})-([0-9a-f]{16})$/;
const BEGINNING = 'cfs-path 1\n';
const PATH_AT = '\npath ';
const PATH_LIMIT = 4096;
/** Two paths, and little more. */
const SIZE_LIMIT = 16_384;

/** The end of the names of all records of `path`, whatever the image. */
export const pathMark = (path: string): string => `-${toHex(blake3(pathBytes(path))).slice(0, 16)}`;

export const recordName = (image: string, path: string): string => image + pathMark(recorded(path));

/** For a path that is too long it is impossible to tell whether it is gone. */
const recorded = (path: string): string => (pathBytes(path).length > PATH_LIMIT ? '' : path);

/** The image id in the name of a record; undefined for any other name. */
export const imageOfRecord = (name: string): string | undefined => NAME.exec(name)?.[1];

export function encodePathRecord({ path, place }: RegisteredPath): Uint8Array {
  const lines = [
    ...(place === undefined || place.mountpoint === '' ? [] : [`mount ${lineOf(place.mountpoint)}`]),
    ...(place === undefined || place.uuid === '' ? [] : [`uuid ${place.uuid}`]),
    ...(place === undefined || place.fsid === '' ? [] : [`fsid ${place.fsid}`]),
  ];
  const head = [BEGINNING.trimEnd(), ...lines].join('\n');
  return Buffer.concat([Buffer.from(head, 'latin1'), Buffer.from(PATH_AT), pathBytes(recorded(path))]);
}

/** A mount point, bytes as latin1 text, in one line. */
const lineOf = (text: string): string =>
  text.replace(/[\n\\]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`);
const unline = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

/** @returns the record, or its problem */
export function decodePathRecord(bytes: Uint8Array, mark: string): RegisteredPath | string {
  const text = Buffer.from(bytes).toString('latin1');
  if (!text.startsWith(BEGINNING)) return 'it is not a record of a path, or is of an unknown version';
  const at = text.indexOf(PATH_AT);
  if (at < 0) return 'it is cut off';
  const path = pathText(bytes.subarray(at + PATH_AT.length));
  if (pathMark(path) !== mark) return 'its path does not match its name';
  if (path !== '' && !path.startsWith('/')) return 'its path is not absolute';
  const fields = new Map(
    text
      .slice(0, at)
      .split('\n')
      .slice(1)
      .map((line) => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)] as const),
  );
  if (fields.size === 0) return { path, place: undefined };
  return {
    path,
    place: {
      mountpoint: unline(fields.get('mount') ?? ''),
      uuid: fields.get('uuid') ?? '',
      fsid: fields.get('fsid') ?? '',
    },
  };
}

/**
 * Reads a file of paths/.
 * @returns undefined for a name that is not a record's
 */
export function readPathRecord(directory: StoreDirectory, name: string): PathRecord | undefined {
  const [, image, digits] = NAME.exec(name) ?? [];
  if (image === undefined) return undefined;
  const path = `${directory.path}/${name}`;
  const malformed = (problem: string): PathRecord => ({ name, image, registered: undefined, problem });
  let fd: number | undefined;
  try {
    fd = directory.openFile(name);
    const bytes = Buffer.alloc(SIZE_LIMIT + 1);
    const length = readUpTo(fd, bytes, bytes.length, 0);
    const decoded = length > SIZE_LIMIT ? 'it is too long' : decodePathRecord(bytes.subarray(0, length), `-${digits}`);
    if (typeof decoded === 'string') return malformed(`${path} is malformed: ${decoded}`);
    return { name, image, registered: decoded, problem: undefined };
  } catch (error) {
    if (error instanceof CfsError) throw error;
    return malformed(`Cannot read ${path}: ${reasonOf(error)}`);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/**
 * Other images that are registered with `path`, by their ids, if `image` is not: it was overwritten. Normally this
 * looks up only one name.
 * @throws errors of node:fs
 */
export function othersAtPath(repository: LocalRepository, image: string, path: string): string[] {
  const others = repository.within('paths', (directory) => {
    if (directory.stat(recordName(image, path)) !== undefined) return [];
    const mark = pathMark(path);
    return directory
      .names()
      .filter((name) => name.endsWith(mark))
      .flatMap((name) => readPathRecord(directory, name) ?? [])
      .filter(({ registered }) => registered?.path === path)
      .map((record) => record.image);
  });
  // a record without a root is a leftover of a killed program
  if (others === undefined || others.length === 0) return [];
  return repository.within('roots', (roots) => others.filter((other) => roots.stat(other) !== undefined)) ?? [];
}

/**
 * Records a path of an image.
 * @returns whether it is new; an existing record is rewritten, because its file system may have changed
 * @throws errors of node:fs
 */
export function writePathRecord(
  repository: LocalRepository,
  image: string,
  { path, place }: { readonly path: string; readonly place?: PathPlace | undefined },
  durable: boolean,
): boolean {
  const target = recordName(image, path);
  const paths = repository.makeDirectory('paths');
  try {
    const isNew = paths.stat(target) === undefined;
    replaceSmallFile(repository, paths, target, encodePathRecord({ path, place }), 'path', durable);
    return isNew;
  } finally {
    paths.close();
  }
}

/** Deletes the record, if it exists. @throws errors of node:fs */
export function forgetRecord(repository: LocalRepository, name: string): void {
  try {
    repository.within('paths', (paths) => paths.unlink(name));
  } catch (error) {
    if (errnoOf(error) !== ENOENT) throw error;
  }
}

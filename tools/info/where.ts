/** `cfs-info where`: the place of a file's content in a mount. */

import { closeSync, constants, lstatSync, openSync } from 'node:fs';
import { printable, toHex } from '../../src/base/bytes.ts';
import { ENOTCONN, errnoOf, isErrno } from '../../src/base/errno.ts';
import { CfsError, reasonOf } from '../../src/base/error.ts';
import { jsonText } from '../../src/base/json-text.ts';
import { askFile } from '../../src/mount-info/ask-mount.ts';
import { askFd, type MountAnswer } from '../../src/mount-info/ask-mount-at.ts';
import type { ContentPlace, FileRecord, RefusedCopy, Verified } from '../../src/mount-info/file-record.ts';
import { mountOfFd } from '../../src/mount-info/open-path.ts';
import type { RemoteKnowledge, RemotePlace } from '../../src/mount-info/remote-place.ts';
import { O_PATH } from '../../src/system/libc.ts';
import { listMounts } from '../../src/system/mount-table.ts';
import type { ExitStatus } from '../cli.ts';
import { typedPath } from './directory-entry.ts';
import { formatLines } from './inode.ts';
import { answerEach } from './operands.ts';
import type { Output } from './output.ts';
import { privateXattr } from './private-xattr.ts';

/**
 * Shows for each path the mount's data about its content: opens and verifies nothing. Symbolic links are not followed.
 * @throws CfsError: `usage` if a path is not in a mount of cfs, `system` if the mount cannot be queried
 */
export function showWhere(paths: readonly string[], json: boolean, out: Output): ExitStatus {
  return answerEach(paths, json, out, (argument, answered) => {
    const path = typedPath(argument);
    const file = fileAt(path);
    const mount = mountOf(path);
    if (json) out.jsonElement(jsonOfPlace(path, file, mount));
    else out.text((answered > 0 ? '\n' : '') + textOfPlace(path, file, mount));
  });
}

function fileAt(path: Buffer): FileRecord {
  const dead = (): CfsError => new CfsError('system', `Cannot ask the mount of ${printable(path)}: its daemon is dead`);
  try {
    lstatSync(path);
  } catch (error) {
    if (errnoOf(error) === ENOTCONN) throw dead();
    throw new CfsError('usage', `Cannot find ${printable(path)}: ${reasonOf(error)}`, { cause: error });
  }
  const file = askFile(path);
  if (!isErrno(file)) return file;
  if (file === ENOTCONN) throw dead();
  throw new CfsError(
    'usage',
    `${printable(path)} is not in a mount of cfs, or only root may query: links, devices and files that you may not read`,
  );
}

/** For the names of the sources; undefined if this process may not query them. */
function mountOf(path: Buffer): MountAnswer | undefined {
  const mounts = listMounts();
  const mount = withOpen(path, O_PATH | constants.O_NOFOLLOW, (fd) => mountOfFd(fd, mounts));
  if (mount === undefined) return undefined;
  // the file's own mount may be hidden by another one, or be a bind mount of one file
  const others = mounts.filter((other) => other !== mount && other.device === mount.device);
  for (const { mountpointBytes } of [mount, ...others]) {
    const answer = withOpen(mountpointBytes, constants.O_RDONLY | constants.O_DIRECTORY, (fd) =>
      mountOfFd(fd, mounts)?.device === mount.device ? askFd(fd) : undefined,
    );
    if (answer !== undefined && !isErrno(answer)) return answer;
  }
  return undefined;
}

/** Undefined if `path` cannot be opened. */
function withOpen<T>(path: Uint8Array, flags: number, use: (fd: number) => T): T | undefined {
  let fd: number;
  try {
    fd = openSync(Buffer.from(path), flags);
  } catch {
    return undefined;
  }
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}

const VERIFIED: Readonly<Record<Verified, string>> = {
  yes: 'yes, all of it',
  reading: 'each block when it is read',
  no: 'not yet: at its first open',
  off: 'no: the mount has verify=off',
  fsverity: 'yes, by fs-verity: the kernel checks each page when it reads it',
};

const HIDDEN = 'hidden: too long, or in a directory that you may not search';

function textOfPlace(path: Buffer, file: FileRecord, mount: MountAnswer | undefined): string {
  const { content, ino, generation, size } = file;
  const lines: [key: string, value: string][] = [
    ['path', printable(path)],
    ['image', `${file.imageId}${nameOf(mount, 0, ' ')}`],
  ];
  if (file.path.length > 0) lines.push(['in the image', printable(file.path)]);
  else if (content === undefined || !isInUpper(content)) lines.push(['in the image', HIDDEN]);
  lines.push(['inode', `${ino}, generation ${generation}`]);
  if (content === undefined) return formatLines([...lines, ['content', 'none: it is not a regular file']]);
  lines.push(['size', `${size} ${size === 1 ? 'byte' : 'bytes'}`]);
  if (isInUpper(content)) {
    return formatLines([...lines, ['content', `in the upper layer${nameOf(mount, content.source, ', ')}`]]);
  }
  const { object, source, holders, verified } = content;
  if (object === undefined) {
    lines.push(['content', size === 0 ? 'empty' : 'in the image itself']);
    return formatLines(lines);
  }
  const others = holders.filter((holder) => holder !== source);
  const remote = remoteAt(path);
  const named = (number: number): string =>
    `repository ${number}${remote?.cache === number ? ', the cache' : ''}${nameOf(mount, number, ', ')}`;
  const isToFetch = remote !== undefined && source < 0;
  lines.push(
    ['object', `${object.hash}:${toHex(object.digest)}`],
    ['verified', source < 0 ? unserved(holders.length > 0, isToFetch) : VERIFIED[verified]],
    [
      'served by',
      source >= 0
        ? named(source)
        : `none: no ${isToFetch ? 'local ' : ''}repository has ${holders.length > 0 ? 'a good copy' : 'it'}`,
    ],
  );
  const refused = refusedAt(path);
  for (const other of others) {
    if (refused.every((copy) => copy.source !== other)) lines.push(['also in', `${named(other)}, not verified`]);
  }
  for (const { source: number, outcome, time, reason } of refused) {
    lines.push([outcome, `in ${named(number)} (${time}: ${reason})`]);
  }
  if (remote?.from !== undefined) lines.push(['fetched from', remote.from]);
  for (const place of remote?.repositories ?? []) lines.push(['remote', `${place.url}: ${textOfRemote(place)}`]);
  return formatLines(lines);
}

function unserved(isThere: boolean, isToFetch: boolean): string {
  if (isThere) return 'no: it was refused';
  return isToFetch ? 'not yet: when it is fetched' : 'no: it is missing';
}

function textOfRemote({ map, place }: RemotePlace): string {
  if (place === 'pack') return 'in a pack';
  if (place === 'file') return 'a file in objects';
  if (place === 'absent') return 'it was not there when it was asked for';
  return map === 'none' ? 'not known yet: it has no map of the image' : 'not known yet: it was not asked';
}

/** Content that was written in the mount. */
const isInUpper = ({ object, source }: ContentPlace): boolean => object === undefined && source > 0;

/** Copies that were refused when a reader asked for the content; none if an older version serves the mount. */
function refusedAt(path: Buffer): readonly RefusedCopy[] {
  const value = privateXattr(path, 'refused');
  return isErrno(value) ? [] : (JSON.parse(value) as RefusedCopy[]);
}

/** Undefined without remote repositories, or if an older version serves the mount. */
function remoteAt(path: Buffer): RemoteKnowledge | undefined {
  const value = privateXattr(path, 'remote');
  return isErrno(value) ? undefined : (JSON.parse(value) as RemoteKnowledge);
}

function nameOf(mount: MountAnswer | undefined, source: number, before: string): string {
  const path = mount?.sources[source]?.path;
  return path === undefined ? '' : `${before}${printable(path)}`;
}

/** Keys without a value are omitted. Numbers of sources: 0 is the image, then the repositories. */
interface PlaceJson {
  readonly path: string;
  readonly pathBase64: string | undefined;
  readonly imageId: string;
  readonly imagePath: string | undefined;
  readonly imagePathBase64: string | undefined;
  readonly ino: number;
  readonly generation: number;
  readonly size: number;
  readonly content: 'object' | 'image' | 'empty' | 'upper' | undefined;
  readonly hash: string | undefined;
  readonly object: string | undefined;
  readonly verified: Verified | undefined;
  readonly source: SourceNameJson | undefined;
  readonly holders: readonly SourceNameJson[] | undefined;
  /** Copies that were refused, and did not change since. */
  readonly refused: readonly RefusedCopy[] | undefined;
  /** Of a mount with remote repositories. */
  readonly remote: RemoteKnowledge | undefined;
}

interface SourceNameJson {
  readonly number: number;
  readonly id: string | undefined;
  readonly path: string | undefined;
  readonly pathBase64: string | undefined;
}

function jsonOfPlace(pathBytes: Buffer, file: FileRecord, mount: MountAnswer | undefined): PlaceJson {
  const { content, ino, generation, size, imageId } = file;
  const path = jsonText(pathBytes);
  const imagePath = file.path.length === 0 ? undefined : jsonText(file.path);
  return {
    path: path.text,
    pathBase64: path.base64,
    imageId,
    imagePath: imagePath?.text,
    imagePathBase64: imagePath?.base64,
    ino,
    generation,
    size,
    content: content && kindOf(content, size),
    hash: content?.object?.hash,
    object: content?.object && toHex(content.object.digest),
    verified: content?.verified,
    source: content === undefined || content.source < 0 ? undefined : sourceName(mount, content.source),
    holders: content?.holders.map((holder) => sourceName(mount, holder)),
    refused: content?.object && refusedAt(pathBytes),
    remote: content?.object && remoteAt(pathBytes),
  };
}

function kindOf(content: ContentPlace, size: number): PlaceJson['content'] {
  if (content.object !== undefined) return 'object';
  if (isInUpper(content)) return 'upper';
  return size === 0 ? 'empty' : 'image';
}

function sourceName(mount: MountAnswer | undefined, number: number): SourceNameJson {
  const source = mount?.sources[number];
  const path = source?.path && jsonText(source.path);
  return { number, id: source?.id, path: path?.text, pathBase64: path?.base64 };
}

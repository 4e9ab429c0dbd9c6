/** `cfs-info open-handle`: the file that a handle refers to, and its path. */
import { type BigIntStats, closeSync, constants, fstatSync, openSync } from 'node:fs';
import { printable } from '../../src/base/bytes.ts';
import { EINVAL, EOPNOTSUPP, EPERM, type Errno, ESTALE, isErrno } from '../../src/base/errno.ts';
import { CfsError, reasonOf } from '../../src/base/error.ts';
import { type FileHandle, formatHandle, fuseHandle, fuseIdentity, parseHandle } from '../../src/base/handle-format.ts';
import { jsonText } from '../../src/base/json-text.ts';
import { mountOfFd, type OpenPath, pathOfFd } from '../../src/mount-info/open-path.ts';
import { closeFd } from '../../src/system/descriptors.ts';
import { nameToHandle, openByHandle } from '../../src/system/file-handle.ts';
import { errnoText, O_PATH } from '../../src/system/libc.ts';
import { listMounts } from '../../src/system/mount-table.ts';
import { type DirectoryEntry, type DirectoryEntryJson, entryOf, jsonOfEntry, typedPath } from './directory-entry.ts';
import { jsonOfStat, linesOfStat, type StatJson } from './file-stat.ts';
import { type HandleJson, identityOf, jsonFields } from './handle.ts';
import { formatLines } from './inode.ts';
import type { Output } from './output.ts';

/**
 * Opens a handle (O_PATH, so that no content is read and no device touched) and describes the file.
 * @param place any path in the mount
 * @throws CfsError: `usage` if it is not a handle, `system` if the kernel refuses
 */
export function showOpened(place: string, handleText: string, json: boolean, out: Output): void {
  const handle = parseHandle(handleText);
  if (handle === undefined) {
    throw new CfsError(
      'usage',
      `"${handleText}" is not a handle: a handle looks like 0x81:f8aa02003aa919227a05e036, as 'cfs-info handle' shows it, or is a struct file_handle in hexadecimal`,
    );
  }
  const fd = openHandle(typedPath(place), handle);
  try {
    const opened = describe(fd, handle);
    if (json) out.text(`${JSON.stringify(jsonOfOpened(opened))}\n`);
    else out.text(textOfOpened(opened));
  } finally {
    closeFd(fd);
  }
}

function openHandle(place: Buffer, handle: FileHandle): number {
  const mountFd = openMount(place);
  try {
    const fd = openByHandle(mountFd, handle, O_PATH);
    if (!isErrno(fd)) return fd;
    // root of a user namespace may open only directories: fs/fhandle.c, may_decode_fh
    const directory = fd === EPERM ? openByHandle(mountFd, handle, O_PATH | constants.O_DIRECTORY) : fd;
    if (!isErrno(directory)) return directory;
    throw new CfsError('system', `Cannot open handle ${formatHandle(handle)}: ${refusal(fd, place)}`);
  } finally {
    closeSync(mountFd);
  }
}

/** Opens the root of the mount of `place`: a connectable handle opens only below this directory. */
function openMount(place: Buffer): number {
  const { O_RDONLY, O_DIRECTORY, O_NONBLOCK, O_NOCTTY } = constants;
  try {
    const fd = openSync(place, O_PATH);
    try {
      const mount = mountOfFd(fd, listMounts());
      if (mount !== undefined && isRootOf(mount.mountpointBytes, mount.mountId)) {
        return openSync(Buffer.from(mount.mountpointBytes), O_RDONLY | O_DIRECTORY);
      }
    } finally {
      closeSync(fd);
    }
    // another mount hides the mount point, or it is a file
    return openSync(place, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  } catch (error) {
    throw new CfsError('system', `Cannot open a file of the mount at ${printable(place)}: ${reasonOf(error)}`);
  }
}

function isRootOf(mountpoint: Uint8Array, mountId: number): boolean {
  const fd = openSync(Buffer.from(mountpoint), O_PATH);
  try {
    return mountOfFd(fd, listMounts())?.mountId === mountId && fstatSync(fd).isDirectory();
  } finally {
    closeSync(fd);
  }
}

function refusal(errno: Errno, place: Buffer): string {
  switch (errno) {
    case ESTALE:
      if (nameToHandle(place) === EOPNOTSUPP) return `the file system of ${printable(place)} has no handles`;
      return 'stale file handle: the file was changed, replaced or removed since, or the handle is of another image';
    case EPERM:
      return 'operation not permitted: open_by_handle_at(2) needs CAP_DAC_READ_SEARCH outside of user namespaces; run this as root';
    case EINVAL:
      return 'invalid argument: a handle has 1 to 128 bytes, and a type without flags that this kernel does not know';
    default:
      return errnoText(errno);
  }
}

interface Opened {
  readonly handle: FileHandle;
  readonly stat: BigIntStats;
  readonly where: OpenPath;
  readonly parent: DirectoryEntry | undefined;
}

function describe(fd: number, handle: FileHandle): Opened {
  const where = pathOfFd(fd);
  return { handle, stat: fstatSync(fd, { bigint: true }), where, parent: parentOf(where, handle) };
}

function parentOf({ path, mount }: OpenPath, handle: FileHandle): DirectoryEntry | undefined {
  if (path !== undefined) return mount === undefined ? undefined : entryOf(path, mount.mountId);
  const parent = fuseIdentity(handle)?.parent;
  return parent === undefined ? undefined : { handle: fuseHandle(parent), name: undefined };
}

/** The output of --json. Keys without a value are omitted; for paths that are not UTF-8 see `InodeJson`. */
interface OpenedJson extends HandleJson {
  /** Leads to the file now. */
  readonly path: string | undefined;
  readonly pathBase64: string | undefined;
  /** The reason why there is no path. */
  readonly pathProblem: string | undefined;
  /** Of its first name, from the root of the image. */
  readonly imagePath: string | undefined;
  readonly imagePathBase64: string | undefined;
  readonly parent: DirectoryEntryJson | undefined;
  readonly mountId: number | undefined;
  readonly mountpoint: string | undefined;
  readonly stat: StatJson;
}

function jsonOfOpened({ handle, stat, where, parent }: Opened): OpenedJson {
  const path = where.path && jsonText(where.path);
  const imagePath = where.imagePath && jsonText(where.imagePath);
  return {
    path: path?.text,
    pathBase64: path?.base64,
    pathProblem: where.problem,
    imagePath: imagePath?.text,
    imagePathBase64: imagePath?.base64,
    ...jsonFields(handle, identityOf(handle, stat.ino)),
    parent: parent && jsonOfEntry(parent),
    mountId: where.mount?.mountId,
    mountpoint: where.mount?.mountpoint,
    stat: jsonOfStat(stat),
  };
}

function textOfOpened({ handle, stat, where, parent }: Opened): string {
  const lines: [key: string, value: string][] = [
    ['path', where.path === undefined ? `not known: ${where.problem}` : printable(where.path)],
  ];
  if (where.imagePath !== undefined) lines.push(['in the image', printable(where.imagePath)]);
  lines.push(...linesOfStat(stat), ['handle', formatHandle(handle)]);
  const { generation } = identityOf(handle, stat.ino) ?? {};
  if (generation !== undefined) lines.push(['generation', String(generation)]);
  if (parent !== undefined) {
    const name = parent.name === undefined ? '' : ` ${printable(parent.name)}`;
    lines.push(['parent', `${formatHandle(parent.handle)}${name}`]);
  }
  if (where.mount !== undefined) lines.push(['mount', `${where.mount.mountpoint} (id ${where.mount.mountId})`]);
  return formatLines(lines);
}

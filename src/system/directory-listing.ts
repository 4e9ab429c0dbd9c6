/** The entries of open directories. As in descriptors.ts: a result or a negative errno. */
import { constants } from 'node:fs';
import { type Errno, isErrno } from '../base/errno.ts';
import { pathText } from '../base/path-text.ts';
import { closeFd, openAt } from './descriptors.ts';
import { asErrno, native } from './libc.ts';

const DOT: Uint8Array = Uint8Array.of(0x2e);
const U32 = 0x1_0000_0000;

const getdentsFn = native('int64_t getdents64(int fd, void *buffer, size_t size)');
const DIRENT_BYTES = 1 << 18;
/** Offsets in struct linux_dirent64. */
const DIRENT_LENGTH = 16;
const DIRENT_TYPE = 18;
const DIRENT_NAME = 19;
/** A buffer that no listing uses: a listing inside of the sink of another takes a second one. */
let spareDirents: Buffer | undefined;

/** The place of an entry in `buffer`: its record begins at `at`, and its name ends before `end`. */
type Visitor = (buffer: Buffer, at: number, end: number) => void;

/**
 * All entries of an open directory but "." and "..", from its beginning; also for an O_PATH descriptor. The listing has
 * a file position of its own, so that several may run at once. Memory does not grow with the directory.
 * @param sink gets the name, which is its own to keep; the type, one of DT_*; and the inode number
 */
export function readDirectory(dir: number, sink: (name: Uint8Array, type: number, ino: number) => void): 0 | Errno {
  return visitEntries(dir, (buffer, at, end) => {
    const from = at + DIRENT_NAME;
    const name = new Uint8Array(end - from);
    for (let i = from; i < end; i++) name[i - from] = buffer[i] as number;
    sink(name, buffer[at + DIRENT_TYPE] as number, buffer.readUInt32LE(at) + buffer.readUInt32LE(at + 4) * U32);
  });
}

/** The names of the same entries, in the form of `pathText`. */
export function namesAt(dir: number): string[] | Errno {
  const names: string[] = [];
  const result = visitEntries(dir, (buffer, at, end) => {
    names.push(pathText(buffer.subarray(at + DIRENT_NAME, end)));
  });
  return isErrno(result) ? result : names;
}

function visitEntries(dir: number, visit: Visitor): 0 | Errno {
  const fd = openAt(dir, DOT, constants.O_RDONLY | constants.O_DIRECTORY);
  if (isErrno(fd)) return fd;
  const buffer = spareDirents ?? Buffer.allocUnsafeSlow(DIRENT_BYTES);
  spareDirents = undefined;
  try {
    for (;;) {
      const length = getdentsFn(fd, buffer, buffer.length);
      if (length <= 0) return asErrno(length);
      visitRecords(buffer, length, visit);
    }
  } finally {
    spareDirents = buffer;
    closeFd(fd);
  }
}

function visitRecords(buffer: Buffer, length: number, visit: Visitor): void {
  for (let at = 0; at < length; ) {
    const next = at + ((buffer[at + DIRENT_LENGTH] ?? 0) | ((buffer[at + DIRENT_LENGTH + 1] ?? 0) << 8));
    let end = at + DIRENT_NAME;
    while (buffer[end] !== 0) end++;
    if (!isDots(buffer, at + DIRENT_NAME, end)) visit(buffer, at, end);
    at = next;
  }
}

/** "." or ".." */
const isDots = (buffer: Buffer, from: number, end: number): boolean =>
  buffer[from] === 0x2e && (end === from + 1 || (end === from + 2 && buffer[from + 1] === 0x2e));

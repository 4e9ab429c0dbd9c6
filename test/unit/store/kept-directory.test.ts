/** A repository that is kept open: its objects are served even if its directory is moved or replaced. */
import {
  closeSync,
  constants,
  cpSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { digestContent } from '../../../src/base/digest.ts';
import { ELOOP, ENOENT, type Errno, isErrno } from '../../../src/base/errno.ts';
import { LocalRepository } from '../../../src/store/local-repository.ts';
import { initRepository } from '../../../src/store/open-repository.ts';
import { emptyFileVersion } from '../../../src/system/file-status.ts';
import { useScratch } from './scratch.ts';

const at = useScratch();
const CONTENT = Buffer.alloc(3000, 'the right bytes ');
const { digest } = digestContent('blake3', CONTENT);
const MISSING = new Uint8Array(32).fill(9);
let serial = 0;
let path: string;
let kept: LocalRepository;
let fd: number;

beforeEach(() => {
  path = at(`repository-${serial++}`);
  const made = initRepository(path, 'blake3');
  writeFileSync(made.objectPath(digest), CONTENT);
  fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  kept = new LocalRepository(path, { hash: 'blake3', uuid: made.uuid }, fd);
});
afterEach(() => closeSync(fd));

/** The content that is served; checks that the status is that of the same file. */
function served(): string | Errno {
  const opened = kept.open(digest);
  const status = emptyFileVersion();
  const result = kept.status(digest, status);
  if (isErrno(opened)) {
    expect(result).not.toBe(0);
    return opened;
  }
  try {
    const { ino, size } = fstatSync(opened);
    expect([result, status.ino, status.size, status.isFile]).toEqual([0, ino, size, true]);
    return readFileSync(opened, 'latin1');
  } finally {
    closeSync(opened);
  }
}

const RIGHT = CONTENT.toString('latin1');

describe('a repository whose directory is kept open', () => {
  test('serves at its path', () => {
    expect(served()).toBe(RIGHT);
    expect(kept.open(MISSING)).toBe(ENOENT);
    expect(kept.status(MISSING, emptyFileVersion())).toBe(ENOENT);
  });

  test('still serves after it was renamed', () => {
    renameSync(path, `${path} elsewhere`);
    expect(served()).toBe(RIGHT);
    expect(kept.open(MISSING)).toBe(ENOENT);
  });

  const TAKEN: readonly (readonly [string, () => void])[] = [
    ['a file', () => writeFileSync(path, 'a file')],
    ['an empty directory', () => mkdirSync(path)],
    ['a symbolic link to itself', () => symlinkSync(path, path)],
    ['another repository without the object', () => void initRepository(path, 'blake3')],
    [
      'another repository with other bytes under the name of the object',
      () => writeFileSync(initRepository(path, 'blake3').objectPath(digest), Buffer.alloc(CONTENT.length, 'wrong')),
    ],
    [
      'another repository with a directory in the place of the object',
      () => mkdirSync(initRepository(path, 'blake3').objectPath(digest)),
    ],
    [
      'another repository with a link in the place of the object',
      () => symlinkSync('/dev/null', initRepository(path, 'blake3').objectPath(digest)),
    ],
  ];

  test.each(TAKEN)('still serves while %s is at its old path', (_, take) => {
    renameSync(path, `${path} elsewhere`);
    take();
    expect(served()).toBe(RIGHT);
  });

  test('serves a new one at its path after it was deleted', () => {
    cpSync(path, `${path} copy`, { recursive: true });
    rmSync(path, { recursive: true });
    expect(served()).toBe(ENOENT);
    renameSync(`${path} copy`, path);
    expect(served()).toBe(RIGHT);
    expect(statSync(path).ino).not.toBe(fstatSync(fd).ino);
  });

  test('reports its own problem, not that nothing is at its old path', () => {
    const object = kept.objectPath(digest);
    unlinkSync(object);
    symlinkSync('/dev/null', object);
    renameSync(path, `${path} elsewhere`);
    expect(kept.open(digest)).toBe(ELOOP);
  });
});

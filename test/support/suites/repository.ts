/**
 * The requirements for every `Repository`, with any kind of storage. Each implementation's test runs this on itself.
 */
import { closeSync, fstatSync, readSync, writeSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { digestContent, HASH_ALGORITHMS } from '../../../src/base/digest.ts';
import { EBADF, ENOENT, type Errno, errnoOf, isErrno } from '../../../src/base/errno.ts';
import type { Repository } from '../../../src/objects/repository.ts';
import { emptyFileVersion, fileVersionOf } from '../../../src/system/file-status.ts';

/** A repository, and access to its storage that readers do not have. */
export interface RepositoryFixture {
  readonly repository: Repository;
  /** Stores the object. */
  readonly put: (digest: Uint8Array, content: Uint8Array) => void;
  readonly remove: (digest: Uint8Array) => void;
}

/** All bytes of a descriptor, which is closed. */
function drain(fd: number | Errno): Buffer {
  if (isErrno(fd)) throw new Error(`open() gave ${fd}`);
  try {
    const content = Buffer.alloc(fstatSync(fd).size);
    expect(readSync(fd, content, 0, content.length, 0)).toBe(content.length);
    return content;
  } finally {
    closeSync(fd);
  }
}

/** @param create makes an empty repository */
export function describeRepository(name: string, create: () => RepositoryFixture): void {
  describe(`${name} as a Repository`, () => {
    let fixture: RepositoryFixture;
    let serial = 0;

    beforeAll(() => {
      fixture = create();
    });

    /** A content that no other test has stored, and its digest. */
    function fresh(length = 1000): { content: Buffer; digest: Uint8Array } {
      const content = Buffer.alloc(length, `object ${serial++} `);
      return { content, digest: digestContent(fixture.repository.hash, content).digest };
    }

    function stored(length?: number): { content: Buffer; digest: Uint8Array } {
      const object = fresh(length);
      fixture.put(object.digest, object.content);
      return object;
    }

    test('names itself by an absolute path, a uuid and a known hash', () => {
      const { path, uuid, hash } = fixture.repository;
      expect(isAbsolute(path)).toBe(true);
      expect(uuid).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
      expect(HASH_ALGORITHMS).toContain(hash);
    });

    test.each([1, 1000, 70_000, 3_000_000])('open() returns a whole object of %i bytes', (length) => {
      const { content, digest } = stored(length);
      expect(drain(fixture.repository.open(digest)).equals(content)).toBe(true);
      expect(fixture.repository.size(digest)).toBe(length);
    });

    test('open() and size() return ENOENT for a missing object', () => {
      const { digest } = fresh();
      expect(fixture.repository.open(digest)).toBe(ENOENT);
      expect(fixture.repository.size(digest)).toBe(ENOENT);
    });

    test.each(['status', 'glance'] as const)('%s() returns the same as fstat of the open object', (method) => {
      const { digest } = stored();
      const [there, open] = [emptyFileVersion(), emptyFileVersion()];
      expect(fixture.repository[method](digest, there)).toBe(0);
      const fd = fixture.repository.open(digest) as number;
      expect(fileVersionOf(fd, open)).toBe(0);
      closeSync(fd);
      expect(there).toEqual(open);
      expect(there).toMatchObject({ isFile: true, size: 1000 });
    });

    test.each(['status', 'glance'] as const)('%s() returns ENOENT for a missing object', (method) => {
      expect(fixture.repository[method](fresh().digest, emptyFileVersion())).toBe(ENOENT);
      const { digest } = stored();
      fixture.remove(digest);
      expect(fixture.repository[method](digest, emptyFileVersion())).toBe(ENOENT);
    });

    test('an object that is added after a failed lookup is found', () => {
      const { content, digest } = fresh();
      expect(fixture.repository.open(digest)).toBe(ENOENT);
      fixture.put(digest, content);
      expect(drain(fixture.repository.open(digest)).equals(content)).toBe(true);
    });

    test('a digest is compared whole: one that differs only in its first or last byte is another object', () => {
      const { digest } = stored();
      for (const at of [0, digest.length - 1]) {
        const other = Uint8Array.from(digest, (byte, i) => (i === at ? byte ^ 1 : byte));
        expect(fixture.repository.open(other)).toBe(ENOENT);
        expect(fixture.repository.size(other)).toBe(ENOENT);
      }
    });

    test('open() returns a new descriptor each time', () => {
      const { content, digest } = stored();
      const first = fixture.repository.open(digest);
      const second = fixture.repository.open(digest);
      expect(first).not.toBe(second);
      closeSync(first);
      expect(drain(second).equals(content)).toBe(true);
    });

    test('a descriptor is not writable', () => {
      const { content, digest } = stored();
      const fd = fixture.repository.open(digest);
      let errno: Errno | undefined;
      try {
        writeSync(fd, 'x', 0);
      } catch (error) {
        errno = errnoOf(error);
      }
      expect(errno).toBe(EBADF);
      expect(drain(fd).equals(content)).toBe(true);
    });

    test('an open descriptor outlives the object', () => {
      const { content, digest } = stored();
      const fd = fixture.repository.open(digest);
      fixture.remove(digest);
      expect(fixture.repository.open(digest)).toBe(ENOENT);
      expect(fixture.repository.size(digest)).toBe(ENOENT);
      expect(drain(fd).equals(content)).toBe(true);
    });
  });
}

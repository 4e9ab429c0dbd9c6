/** Two repositories with objects, and the log of the stores over them, for the tests of WholeObjects. */
import { closeSync, readSync, truncateSync, writeFileSync } from 'node:fs';
import { beforeEach, expect } from 'vitest';
import { digestContent, type HashAlgorithm } from '../../../src/base/digest.ts';
import { isErrno } from '../../../src/base/errno.ts';
import { BY_BLOCKS } from '../../../src/objects/content-source.ts';
import { allocateObjectState, type ObjectState } from '../../../src/objects/object-state.ts';
import type { ObjectName, Repository, WholeMode } from '../../../src/objects/repository.ts';
import { WholeObjects, type WholeObjectsOptions } from '../../../src/objects/whole-objects.ts';

import { Random } from '../../support/random.ts';
import { WatchedRepository } from '../objects/watched-repository.ts';

export interface StoredObject extends ObjectName {
  readonly content: Buffer;
}

/** The largest number of objects of a test. */
export const COUNT = 64;
const SIZE = 5000;
/** The path of the object's file in the log. */
export const NAMED = '/a/file';

/** Trusts every file system, so that the tests run on any. */
export const BELIEVED: WholeObjectsOptions = { isKernelsOwn: () => true };

/** Created once in a test file; state and log are new for each test. */
export class StoreFixture {
  readonly first: WatchedRepository;
  readonly second: WatchedRepository;
  state: ObjectState = allocateObjectState(COUNT);
  log: string[] = [];
  readonly #random = new Random(13);
  #index = 0;

  /** @param at returns paths in a scratch directory */
  constructor(at: (name: string) => string) {
    this.first = new WatchedRepository(at('first'));
    this.second = new WatchedRepository(at('second'));
    beforeEach(() => {
      this.first.reset();
      this.second.reset();
      this.state = allocateObjectState(COUNT);
      this.log = [];
      this.#index = 0;
    });
  }

  /** A new object of 5,000 random bytes that is in no repository yet. */
  object(hash: HashAlgorithm = 'blake3'): StoredObject {
    const content = this.#random.bytes(SIZE);
    return { index: this.#index++, content, size: SIZE, digest: digestContent(hash, content).digest };
  }

  /** A new object in these repositories. */
  stored(...repositories: readonly WatchedRepository[]): StoredObject {
    const object = this.object();
    for (const repository of repositories) writeFileSync(repository.pathOf(object), object.content);
    return object;
  }

  /** The store of one thread; all stores of a test share their state. */
  store(
    mode: WholeMode = 'open',
    repositories: readonly Repository[] = [this.first, this.second],
    options: WholeObjectsOptions = BELIEVED,
  ): WholeObjects {
    return new WholeObjects(repositories, mode, this.state, (line) => void this.log.push(line), options);
  }
}

export const open = (store: WholeObjects, object: ObjectName): ReturnType<WholeObjects['open']> =>
  store.open(object, () => NAMED);

/** All bytes of the descriptor that `open` returned. */
export function contentOf(fd: ReturnType<WholeObjects['open']>): Buffer {
  if (isErrno(fd) || fd === BY_BLOCKS) throw new Error(`open() gave ${String(fd)}`);
  const bytes = Buffer.alloc(SIZE + 1);
  const length = readSync(fd, bytes, 0, bytes.length, 0);
  closeSync(fd);
  return bytes.subarray(0, length);
}

export function expectGood(store: WholeObjects, object: StoredObject): void {
  expect(contentOf(open(store, object)).equals(object.content)).toBe(true);
}

/** Kinds of damage to an object's file, and the words of the message for each. */
export const DAMAGES: readonly (readonly [string, (path: string, content: Buffer) => void, string])[] = [
  [
    'a flipped bit',
    (path, good) =>
      writeFileSync(
        path,
        good.map((b, i) => (i === 4999 ? b ^ 1 : b)),
      ),
    'its content is corrupted: blake3 is ',
  ],
  ['fewer bytes', (path) => truncateSync(path, 4999), 'it is truncated: 4999 bytes instead of 5000'],
  ['no bytes', (path) => truncateSync(path, 0), 'it is truncated: 0 bytes instead of 5000'],
  ['more bytes', (path) => truncateSync(path, 5001), 'it is grown: 5001 bytes instead of 5000'],
  ['other content', (path) => writeFileSync(path, Buffer.alloc(5000)), 'its content is corrupted'],
];

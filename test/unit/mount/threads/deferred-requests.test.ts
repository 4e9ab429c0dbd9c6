/** Requests that wait for objects: who is answered, when, and with what. */
import { beforeEach, expect, test } from 'vitest';
import { DEFERRED, EINTR, EIO, type Errno } from '../../../../src/base/errno.ts';
import * as abi from '../../../../src/fuse/abi.ts';
import { type Context, Dispatcher, NO_WAITING } from '../../../../src/fuse/dispatcher.ts';
import { ReplyBuffer } from '../../../../src/fuse/reply.ts';
import { RequestBuffer } from '../../../../src/fuse/request.ts';
import { DeferredRequests } from '../../../../src/mount/threads/deferred-requests.ts';
import type { ObjectName } from '../../../../src/objects/repository.ts';
import { until } from '../../../support/until.ts';
import { fuseRequest } from '../../fuse/kernel-structs.ts';

const FD = 7;
const OBJECT: ObjectName = { index: 3, digest: new Uint8Array(32), size: 5 };

/** Whether the object is there, and what its fetches wait for. */
let isThere: boolean;
let fetches: ((problem: string | undefined) => void)[];
let replies: { readonly unique: number; readonly error: number }[];
let undone: number;
let isKilled: boolean;
let isWanted: boolean;
let requests: DeferredRequests;
let answered: number;

beforeEach(() => {
  isThere = false;
  fetches = [];
  replies = [];
  undone = 0;
  isKilled = false;
  isWanted = true;
  answered = 0;
  const note = (unique: number, error: number): boolean => {
    replies.push({ unique, error });
    return isWanted;
  };
  requests = new DeferredRequests(
    (elsewhere) => {
      const open = (): number | Errno => {
        if (isThere) return 16;
        return elsewhere(OBJECT) === undefined ? DEFERRED : EIO;
      };
      const rows = { [abi.FUSE_OPEN]: { name: 'OPEN', answer: open, undo: () => void undone++ } };
      const context: Context = { request: new RequestBuffer(4096), reply: new ReplyBuffer(4096), waiting: NO_WAITING };
      return new Dispatcher(rows, context, () => undefined);
    },
    {
      fetch: () => new Promise((resolve) => void fetches.push(resolve)),
      reply: (_, bytes) => note(Buffer.from(bytes).readUInt32LE(8), Buffer.from(bytes).readInt32LE(4)),
      answer: (_, uniqueLow, _high, error) => void note(uniqueLow, error),
      isBeingKilled: () => isKilled,
      answered: () => void answered++,
    },
  );
});

const begin = (unique: number): Promise<void> =>
  requests.begin(FD, fuseRequest(abi.FUSE_OPEN, 1, Buffer.alloc(8), unique));

const arrive = (problem?: string): void => {
  isThere = problem === undefined;
  for (const resolve of fetches.splice(0)) resolve(problem);
};

test('a request is answered when its object has come', async () => {
  const both = [begin(1), begin(2)];
  expect([replies, fetches.length]).toEqual([[], 2]);
  arrive();
  await Promise.all(both);
  expect(replies).toEqual([1, 2].map((unique) => ({ unique, error: 0 })));
  expect(answered).toBe(2);
});

test('EIO if the object does not come, and the next request asks again', async () => {
  const first = begin(1);
  arrive('no server has it');
  await first;
  const second = begin(2);
  arrive();
  await second;
  expect(replies).toEqual([
    { unique: 1, error: EIO },
    { unique: 2, error: 0 },
  ]);
});

test('an object that is deleted at once is fetched three times, and no more', async () => {
  const done = begin(1);
  for (let i = 0; i < 3; i++) {
    await until('it is fetched', () => fetches.length === 1);
    fetches.shift()?.(undefined);
  }
  await done;
  expect(replies).toEqual([{ unique: 1, error: EIO }]);
});

test('an open is undone if nobody waits for it any more', async () => {
  isWanted = false;
  const done = begin(1);
  arrive();
  await done;
  expect(undone).toBe(1);
});

test('who is being killed gets EINTR, and others wait on', async () => {
  const both = [begin(1), begin(2)];
  requests.interrupt(2, 0);
  expect(replies).toEqual([]);
  isKilled = true;
  await until('it is answered', () => replies.length === 1);
  arrive();
  await Promise.all(both);
  expect(replies).toEqual([
    { unique: 2, error: EINTR },
    { unique: 1, error: 0 },
  ]);
  expect(undone).toBe(0);
});

test('a signal that comes before its request is not lost', async () => {
  isKilled = true;
  requests.interrupt(1, 0);
  const done = begin(1);
  expect(replies).toEqual([{ unique: 1, error: EINTR }]);
  arrive();
  await done;
  expect(replies).toHaveLength(1);
});

test('bytes that are no request are ignored', async () => {
  await requests.begin(FD, Buffer.alloc(3));
  expect([replies, fetches]).toEqual([[], []]);
});

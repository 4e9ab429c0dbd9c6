/** Requests of a thread that failed get an answer. */
import { expect, test } from 'vitest';
import { EIO, type Errno } from '../../../../src/base/errno.ts';
import * as abi from '../../../../src/fuse/abi.ts';
import { uniqueOf, WaitingRequests } from '../../../../src/mount/threads/waiting-requests.ts';
import { fuseRequest } from '../../fuse/kernel-structs.ts';

const LARGE = 0xffff_fffe;

const request = (unique: number, high = 0): Uint8Array => {
  const bytes = Uint8Array.from(fuseRequest(abi.FUSE_OPEN, 1, Buffer.alloc(8), unique));
  new DataView(bytes.buffer).setUint32(12, high, true);
  return bytes;
};

test('those that were not answered get EIO, once', () => {
  const sent: (readonly [fd: number, low: number, high: number, error: Errno])[] = [];
  const waiting = new WaitingRequests((...answer) => sent.push(answer));
  waiting.add({ fd: 7, bytes: request(1) });
  waiting.add({ fd: 8, bytes: request(1, LARGE) });
  waiting.add({ fd: 7, bytes: request(LARGE) });
  waiting.add({ fd: 7, bytes: request(3) });
  waiting.answered(uniqueOf(request(1)));
  waiting.answered(uniqueOf(request(2)));
  waiting.fail();
  waiting.fail();
  expect(sent).toEqual([
    [8, 1, LARGE, EIO],
    [7, LARGE, 0, EIO],
    [7, 3, 0, EIO],
  ]);
});

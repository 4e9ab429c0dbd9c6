/** Requests that no kernel sends to a writable mount. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as abi from '../../../src/fuse/abi.ts';
import { fuseRequest, struct, u32, u64, zeros } from './kernel-structs.ts';
import { WritableClient } from './writable-client.ts';
import { name } from './writable-structs.ts';

const client = new WritableClient();
Object.assign(client.answers, {
  ...{ open: { fd: -1 }, create: { fd: 9 }, tmpfile: { fd: 9 }, statfs: { blockSize: 4096, blocks: 1, files: 1 } },
  ...{ readlink: Buffer.from('target'), getxattr: Buffer.from('v'), listxattr: Buffer.from('user.a\0') },
  ioctl: (_ino: number, _command: number, _input: Uint8Array, room: number) => Buffer.alloc(Math.min(room, 100)),
  ...{ read: (_ino: number, _offset: number, into: Uint8Array) => into.length },
});

let sent = 0;

/**
 * Checks the reply as the kernel does (fs/fuse/dev.c, fuse_dev_do_write), and that no call of the file system is
 * absurd.
 */
function expectAcceptable(bytes: Uint8Array): void {
  const reply = client.send(bytes);
  if (++sent % 10 === 0) client.dispatcher.abandon();
  for (const call of client.taken()) {
    for (const arg of call.slice(1)) expect(Number.isNaN(arg) || arg === undefined).toBe(false);
  }
  client.waits.length = 0;
  if (reply === undefined) return;
  expect(reply.error).toBeGreaterThan(-512);
  expect(reply.error).toBeLessThanOrEqual(0);
  expect(reply.unique).toBe(Buffer.from(bytes).readBigUInt64LE(8));
  if (reply.error !== 0) expect(reply.payload).toHaveLength(0);
}

const opcode = fc.oneof(fc.integer({ min: 0, max: 60 }), fc.nat(0xffffffff));
const nodeid = fc.oneof(fc.nat(900).map(BigInt), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }));
const word = fc.oneof(fc.constantFrom(0, 1, 2, 100, 4096, 0x7fffffff, 0x80000000, 0xffffffff), fc.nat(0xffffffff));
const names = fc.constantFrom(name('a'), struct(name('old'), name('new')), name('..'), name(''), Buffer.from('x'));
const body = fc
  .tuple(
    fc.array(word, { maxLength: 24 }).map((words) => struct(...words.map(u32))),
    names,
    fc.uint8Array({ maxLength: 100 }),
  )
  .map((parts) => struct(...parts));

describe('random requests to a writable mount', () => {
  test('get valid answers', () => {
    fc.assert(
      fc.property(opcode, nodeid, body, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (op, id, bytes, unique) => {
        expectAcceptable(fuseRequest(op, id, bytes, unique));
      }),
      { numRuns: 5000 },
    );
  });

  test('of any bytes never throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const request = Buffer.from(bytes);
        if (request.length >= 4) request.writeUInt32LE(request.length, 0);
        expectAcceptable(request);
      }),
      { numRuns: 3000 },
    );
  });

  test('without a body are answered, and leave nothing of the previous request', () => {
    for (let op = 0; op < 60; op++) {
      client.send(fuseRequest(abi.FUSE_SETATTR, 5, Buffer.alloc(4000, 0x61)));
      client.taken();
      expectAcceptable(fuseRequest(op, 5, zeros(0)));
    }
  });

  test('have no line in the log: nothing threw', () => {
    client.log.splice(0, client.log.length, ...client.log.filter((line) => !line.startsWith('ignored bytes')));
    expect(client.log).toEqual([]);
    expect(client.call(abi.FUSE_FORGET + 1, 5, u64(0)).error).toBe(0);
  });
});

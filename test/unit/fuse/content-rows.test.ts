/** Requests for content and attributes in a writable mount: bytes in, calls of the file system, bytes out. */
import { beforeEach, describe, expect, test } from 'vitest';
import { EFBIG, EINVAL, EIO, ENODATA, ENOSPC, ENOSYS, ENXIO, ERANGE } from '../../../src/base/errno.ts';
import type { WritableAttributes } from '../../../src/fs/writable-filesystem.ts';
import * as abi from '../../../src/fuse/abi.ts';
import { fuseReadIn, fuseRequest, struct, u32, u64, zeros } from './kernel-structs.ts';
import { ATTRIBUTES, type Call, WritableClient, writer } from './writable-client.ts';
import * as k from './writable-structs.ts';

const { name } = k;
const INO = 77;
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

let client: WritableClient;
beforeEach(() => {
  client = new WritableClient();
});

/** A request that is cut off at any byte changes nothing. */
function expectWhole(opcode: number, body: Buffer): void {
  for (let length = 0; length < body.length; length++) {
    expect(client.call(opcode, INO, body.subarray(0, length)).error).toBe(EINVAL);
  }
  expect(client.taken()).toEqual([]);
}

describe('GETATTR and STATX', () => {
  test('have all times, and how long they are valid', () => {
    expect(hex(client.ask(abi.FUSE_GETATTR, INO, zeros(16)))).toBe(hex(k.fuseAttrOut(ATTRIBUTES)));
    expect(hex(client.ask(abi.FUSE_STATX, INO, zeros(24)))).toBe(hex(k.fuseStatxOut(ATTRIBUTES, 0xfff)));
  });

  test('STATX shows no time of creation if none is known', () => {
    const without = { btimeLow: 0, btimeHigh: 0, btimeNsec: 0, ttl: 0 };
    client.answers['getattr'] = (_ino: number, out: WritableAttributes) => {
      Object.assign(out, without);
      return 0;
    };
    const expected = k.fuseStatxOut({ ...ATTRIBUTES, ...without }, 0x7ff);
    expect(hex(client.ask(abi.FUSE_STATX, INO, zeros(24)))).toBe(hex(expected));
  });
});

describe('SETATTR', () => {
  const FILE_TIME = { low: 0x2222, high: 0, nsec: 5 };
  const none = { mode: undefined, uid: undefined, gid: undefined, size: undefined };
  const noTimes = { atime: undefined, mtime: undefined, ctime: undefined, killPrivileges: false };

  test.each([
    ['nothing', 0, {}],
    ['mode, of which the type is no part', 1 << 0, { mode: 0o4711 }],
    ['uid', 1 << 1, { uid: 88 }],
    ['gid, and loses privileges', (1 << 2) | (1 << 11), { gid: 99, killPrivileges: true }],
    ['atime', 1 << 4, { atime: FILE_TIME }],
    ['atime to the present', (1 << 4) | (1 << 7), { atime: 'now' }],
    ['mtime', 1 << 5, { mtime: { low: 0x3333, high: 0, nsec: 6 } }],
    ['mtime to the present', (1 << 5) | (1 << 8), { mtime: 'now' }],
    ['ctime', 1 << 10, { ctime: { low: 0x4444, high: 0, nsec: 7 } }],
    ['nothing for a handle and a lock owner', (1 << 6) | (1 << 9), {}],
  ])('changes %s', (_what, valid, changes) => {
    expect(hex(client.ask(abi.FUSE_SETATTR, INO, k.fuseSetattrIn(valid)))).toBe(hex(k.fuseAttrOut(ATTRIBUTES)));
    expect(client.taken()).toEqual([['setattr', INO, { ...none, ...noTimes, ...changes }, writer()]]);
    expect(client.waits).toEqual([]);
    expect(client.intents.begun.size).toBe(1);
  });

  test('changes the size, which may take long', () => {
    client.ask(abi.FUSE_SETATTR, INO, k.fuseSetattrIn(1 << 3, { size: 2 ** 45 + 3 }));
    expect(client.taken()).toEqual([['setattr', INO, { ...none, ...noTimes, size: 2 ** 45 + 3 }, writer()]]);
    expect(client.waits).toEqual(['begin', 0]);
  });

  test('takes times before 1970 and far in the future', () => {
    const body = k.fuseSetattrIn(0x30, { atime: -2n, mtime: 0x3_8000_0000n });
    client.ask(abi.FUSE_SETATTR, INO, body);
    expect(client.taken()[0]?.[2]).toMatchObject({
      atime: { low: 0xfffffffe, high: 0xffffffff, nsec: 5 },
      mtime: { low: 0x80000000, high: 3, nsec: 6 },
    });
  });

  test('passes errors on, refuses a size beyond every file, and does nothing if it is cut off', () => {
    client.answers['setattr'] = ENOSPC;
    expect(client.call(abi.FUSE_SETATTR, INO, k.fuseSetattrIn(1)).error).toBe(ENOSPC);
    client.taken();
    const huge = k.fuseSetattrIn(1 << 3, { size: 2 ** 60 });
    expect(client.call(abi.FUSE_SETATTR, INO, huge).error).toBe(EFBIG);
    expectWhole(abi.FUSE_SETATTR, k.fuseSetattrIn(0xfff));
  });
});

describe('READ', () => {
  test('is answered with the bytes, and with fewer at the end', () => {
    client.answers['read'] = (_ino: number, _offset: number, into: Uint8Array) => {
      into.set(Buffer.from('hello'));
      return 5;
    };
    expect(client.ask(abi.FUSE_READ, INO, fuseReadIn(0, 2 ** 40 + 1, 4096)).toString()).toBe('hello');
    expect(client.taken()[0]?.slice(0, 3)).toEqual(['read', INO, 2 ** 40 + 1]);
    expect(client.waits).toEqual(['begin', 4096]);
    client.answers['read'] = EIO;
    expect(client.call(abi.FUSE_READ, INO, fuseReadIn(0, 0, 0xffffffff)).error).toBe(EIO);
    expect(client.taken()[0]?.[3]).toHaveLength(1 << 20);
  });
});

describe('WRITE', () => {
  const writing = (text: string, flags = 0, openFlags = 0, offset: number | bigint = 2 ** 40 + 1): Buffer =>
    struct(k.fuseWriteIn(offset, text.length, flags, openFlags), Buffer.from(text));

  test('writes the bytes that follow', () => {
    client.answers['write'] = 5;
    expect(hex(client.ask(abi.FUSE_WRITE, INO, writing('hello')))).toBe(hex(struct(u32(5), u32(0))));
    client.ask(abi.FUSE_WRITE, INO, writing('hello', 4 | 1));
    expect(client.taken()).toEqual([
      ['write', INO, 2 ** 40 + 1, 'hello', false],
      ['write', INO, 2 ** 40 + 1, 'hello', true],
    ]);
    expect(client.waits).toEqual(['begin', 5, 'begin', 5]);
    // it may be repeated
    expect(client.intents.begun.size).toBe(0);
  });

  test('takes a whole MiB', () => {
    client.answers['write'] = (_ino: number, _offset: number, bytes: Uint8Array) => bytes.length;
    const bytes = Buffer.alloc(1 << 20, 'x');
    const reply = client.ask(abi.FUSE_WRITE, INO, struct(k.fuseWriteIn(0, bytes.length), bytes));
    expect(reply.readUInt32LE(0)).toBe(1 << 20);
    expect(client.taken()[0]?.[3]).toBe(bytes.toString());
  });

  test('with O_SYNC or O_DSYNC is on the disk when it is answered', () => {
    client.answers['write'] = 1;
    for (const flags of [0o4010000, 0o10000]) {
      client.ask(abi.FUSE_WRITE, INO, writing('x', 0, flags));
      expect(client.taken().at(-1)).toEqual(['sync', INO, true]);
    }
    client.answers['sync'] = EIO;
    expect(client.call(abi.FUSE_WRITE, INO, writing('x', 0, 0o10000)).error).toBe(EIO);
  });

  test('passes errors on, and writes nothing of a request that is cut off or beyond every file', () => {
    client.answers['write'] = ENOSPC;
    expect(client.call(abi.FUSE_WRITE, INO, writing('x')).error).toBe(ENOSPC);
    client.taken();
    expect(client.call(abi.FUSE_WRITE, INO, writing('x', 0, 0, 2n ** 62n)).error).toBe(EFBIG);
    const whole = writing('hello');
    for (let length = 24; length < whole.length; length++) {
      expect(client.call(abi.FUSE_WRITE, INO, whole.subarray(0, length)).error).toBe(EINVAL);
    }
    expect(client.taken()).toEqual([]);
  });
});

describe('FALLOCATE, LSEEK and COPY_FILE_RANGE', () => {
  test('FALLOCATE is passed on', () => {
    const body = k.fuseFallocateIn(4096, 2 ** 33, 3);
    expect(client.ask(abi.FUSE_FALLOCATE, INO, body)).toHaveLength(0);
    expect(client.taken()).toEqual([['fallocate', INO, 3, 4096, 2 ** 33]]);
    expect(client.waits).toEqual(['begin', 2 ** 33]);
    expectWhole(abi.FUSE_FALLOCATE, body);
    expect(client.call(abi.FUSE_FALLOCATE, INO, k.fuseFallocateIn(2n ** 62n, 1, 0)).error).toBe(EFBIG);
  });

  test('LSEEK finds data and holes', () => {
    client.answers['seek'] = (_ino: number, _offset: number, hole: boolean) => (hole ? 2 ** 41 : ENXIO);
    expect(hex(client.ask(abi.FUSE_LSEEK, INO, k.fuseLseekIn(7, 4)))).toBe(hex(u64(2 ** 41)));
    expect(client.call(abi.FUSE_LSEEK, INO, k.fuseLseekIn(7, 3)).error).toBe(ENXIO);
    expect(client.taken()).toEqual([
      ['seek', INO, 7, true],
      ['seek', INO, 7, false],
    ]);
    expect(client.call(abi.FUSE_LSEEK, INO, k.fuseLseekIn(7, 0)).error).toBe(EINVAL);
  });

  test.each([
    ['COPY_FILE_RANGE', abi.FUSE_COPY_FILE_RANGE, struct(u32(4096), u32(0))],
    ['COPY_FILE_RANGE_64', abi.FUSE_COPY_FILE_RANGE_64, u64(4096)],
  ])('%s copies between files', (_what, opcode, answer) => {
    client.answers['copyRange'] = 4096;
    const body = k.fuseCopyFileRangeIn(2 ** 33, 88, 2 ** 34, 5000);
    expect(hex(client.ask(opcode, INO, body))).toBe(hex(answer));
    expect(client.taken()).toEqual([['copyRange', INO, 2 ** 33, 88, 2 ** 34, 5000]]);
    expect(client.waits).toEqual(['begin', 5000]);
    client.answers['copyRange'] = ENOSPC;
    expect(client.call(opcode, INO, body).error).toBe(ENOSPC);
    client.taken();
    expect(client.call(opcode, INO, k.fuseCopyFileRangeIn(0, 88, 0, 1, 1)).error).toBe(EINVAL);
    expect(client.call(opcode, INO, k.fuseCopyFileRangeIn(0, 88, 2n ** 62n, 1)).error).toBe(EFBIG);
    expect(client.call(opcode, INO, k.fuseCopyFileRangeIn(2n ** 62n, 88, 0, 1)).error).toBe(EFBIG);
    expectWhole(opcode, body);
  });

  test('COPY_FILE_RANGE_64 has more than 32 bits', () => {
    client.answers['copyRange'] = 2 ** 33 + 1;
    const body = k.fuseCopyFileRangeIn(0, 88, 0, 2 ** 34);
    expect(hex(client.ask(abi.FUSE_COPY_FILE_RANGE_64, INO, body))).toBe(hex(u64(2 ** 33 + 1)));
  });
});

describe('FSYNC, FSYNCDIR, SYNCFS and FLUSH', () => {
  test.each([abi.FUSE_FSYNC, abi.FUSE_FSYNCDIR])('opcode %i waits for the disk', (opcode) => {
    client.ask(opcode, INO, k.fuseFsyncIn(0));
    client.ask(opcode, INO, k.fuseFsyncIn(1));
    expect(client.taken()).toEqual([
      ['sync', INO, false],
      ['sync', INO, true],
    ]);
    expect(client.waits).toEqual(['begin', Number.MAX_SAFE_INTEGER, 'begin', Number.MAX_SAFE_INTEGER]);
    client.answers['sync'] = EIO;
    expect(client.call(opcode, INO, k.fuseFsyncIn(0)).error).toBe(EIO);
  });

  test('SYNCFS writes all back', () => {
    expect(client.ask(abi.FUSE_SYNCFS, 1, u64(0))).toHaveLength(0);
    expect(client.taken()).toEqual([['syncAll']]);
    client.answers['syncAll'] = EIO;
    expect(client.call(abi.FUSE_SYNCFS, 1, u64(0)).error).toBe(EIO);
  });

  test('FLUSH is not needed', () => {
    expect(client.call(abi.FUSE_FLUSH, INO, zeros(24)).error).toBe(ENOSYS);
  });
});

describe('extended attributes', () => {
  const setting = (value: string, flags = 0, setxattrFlags = 0): Buffer =>
    struct(k.fuseSetxattrIn(value.length, flags, setxattrFlags), name('user.a'), Buffer.from(value));

  test('SETXATTR sets one, and reports the effect on the set-group-ID bit', () => {
    expect(client.ask(abi.FUSE_SETXATTR, INO, setting('value', 1))).toHaveLength(0);
    client.ask(abi.FUSE_SETXATTR, INO, setting('a\0b', 2, 1));
    client.ask(abi.FUSE_SETXATTR, INO, setting(''));
    expect(client.taken()).toEqual([
      ['setxattr', INO, 'user.a', 'value', 1, false, writer()],
      ['setxattr', INO, 'user.a', 'a\0b', 2, true, writer()],
      ['setxattr', INO, 'user.a', '', 0, false, writer()],
    ]);
    expect(client.intents.begun.size).toBe(3);
  });

  test('of 64 KiB is taken whole', () => {
    client.ask(abi.FUSE_SETXATTR, INO, setting('v'.repeat(65_536)));
    expect(client.taken()[0]?.[3]).toHaveLength(65_536);
  });

  test('REMOVEXATTR removes one', () => {
    expect(client.ask(abi.FUSE_REMOVEXATTR, INO, name('user.a'))).toHaveLength(0);
    expect(client.taken()).toEqual([['removexattr', INO, 'user.a', writer()]]);
    client.answers['removexattr'] = ENODATA;
    expect(client.call(abi.FUSE_REMOVEXATTR, INO, name('user.a')).error).toBe(ENODATA);
  });

  test('without a name or cut off do nothing', () => {
    for (const body of [struct(k.fuseSetxattrIn(1, 0), name(''), Buffer.from('x')), setting('x').subarray(0, -1)]) {
      expect(client.call(abi.FUSE_SETXATTR, INO, body).error).toBe(EINVAL);
    }
    expect(client.call(abi.FUSE_REMOVEXATTR, INO, name('')).error).toBe(EINVAL);
    expect(client.call(abi.FUSE_REMOVEXATTR, INO, Buffer.from('user.a')).error).toBe(EINVAL);
    expectWhole(abi.FUSE_SETXATTR, setting('value'));
  });

  test('GETXATTR and LISTXATTR have a length, a value, or ERANGE', () => {
    client.answers['getxattr'] = client.answers['listxattr'] = Buffer.from('value');
    for (const [opcode, what] of [
      [abi.FUSE_GETXATTR, name('user.a')],
      [abi.FUSE_LISTXATTR, zeros(0)],
    ] as const) {
      const asking = (size: number): Buffer => struct(u32(size), u32(0), what);
      expect(client.ask(opcode, INO, asking(0)).readUInt32LE(0)).toBe(5);
      expect(client.ask(opcode, INO, asking(5)).toString()).toBe('value');
      expect(client.call(opcode, INO, asking(4)).error).toBe(ERANGE);
    }
    expect(client.taken()[0]).toEqual(['getxattr', INO, 'user.a', { uid: 1000 }]);
    expect(client.waits).toEqual([]);
  });

  test('GETXATTR of what the mount answers itself may wait for a repository', () => {
    client.answers['getxattr'] = Buffer.from('value');
    client.ask(abi.FUSE_GETXATTR, INO, struct(u32(5), u32(0), name('user.cfs.digest')));
    expect(client.waits).toEqual(['begin']);
  });
});

describe('the rest', () => {
  test('STATFS reports the free space', () => {
    const statistics = { blockSize: 4096, blocks: 1000, files: 500, nameMax: 255 };
    client.answers['statfs'] = { ...statistics, blocksFree: 2 ** 34, blocksAvailable: 300, filesFree: 200 };
    const expected = struct(u64(1000), u64(2 ** 34), u64(300), u64(500), u64(200), u32(4096), u32(255), u32(4096));
    expect(hex(client.ask(abi.FUSE_STATFS, 1))).toBe(hex(struct(expected, zeros(28))));
  });

  test('READLINK and IOCTL are passed on', () => {
    client.answers['readlink'] = Buffer.from('target');
    expect(client.ask(abi.FUSE_READLINK, INO).toString()).toBe('target');
    client.answers['ioctl'] = Buffer.from('out');
    const ioctlIn = struct(u64(0), u32(0), u32(0x1234), u64(0), u32(2), u32(64), Buffer.from('in'));
    expect(client.ask(abi.FUSE_IOCTL, INO, ioctlIn).subarray(16).toString()).toBe('out');
    expect(client.taken().at(-1)?.slice(0, 5)).toEqual(['ioctl', INO, 0x1234, 'in', 64]);
  });

  test('INTERRUPT reaches the thread that waits', () => {
    expect(client.send(fuseRequest(abi.FUSE_INTERRUPT, 0, u64(0x1_0000_0002n)))).toBeUndefined();
    expect(client.waits).toEqual(['interrupt', 2, 1]);
  });

  test.each([
    ['ENOSYS', ENOSYS, [abi.FUSE_OPENDIR, abi.FUSE_ACCESS, abi.FUSE_POLL, 0, 31, 33, 37, 48, 54, 0xffffffff]],
    ['success', 0, [abi.FUSE_DESTROY]],
    ['EIO', EIO, [abi.FUSE_INIT]],
  ])('%s is the only answer of some opcodes', (_what, error, opcodes) => {
    for (const opcode of opcodes) expect(client.call(opcode, 1, zeros(64)).error).toBe(error);
    expect(client.taken()).toEqual([]);
  });

  test('an exception of the file system becomes EIO and a line with the place', () => {
    client.answers['unlink'] = () => {
      throw new Error('a bug');
    };
    expect(client.call(abi.FUSE_UNLINK, INO, name('f')).error).toBe(EIO);
    expect(client.log[0]).toMatch(/^UNLINK of inode 77 failed, EIO: Error: a bug/);
  });

  test("a writer has the caller's gid, not its uid", () => {
    const request = fuseRequest(abi.FUSE_UNLINK, INO, name('f'));
    request.writeUInt32LE(2000, 28);
    client.send(request);
    expect(client.taken()).toEqual([['unlink', INO, 'f', { ...writer(), gid: 2000 }] satisfies Call]);
  });
});

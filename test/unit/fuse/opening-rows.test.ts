/** Requests that open, create and release files in a writable mount: bytes in, calls of the file system, bytes out. */
import { beforeEach, describe, expect, test } from 'vitest';
import { EEXIST, EINVAL, EIO, EISDIR, ELOOP, ENFILE, ENOSPC } from '../../../src/base/errno.ts';
import type { WritableAttributes } from '../../../src/fs/writable-filesystem.ts';
import * as abi from '../../../src/fuse/abi.ts';
import { fuseOpenOut, struct, zeros } from './kernel-structs.ts';
import { ATTRIBUTES, WritableClient, writer } from './writable-client.ts';
import * as k from './writable-structs.ts';

const { name } = k;
const INO = 77;
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const O_RDWR = 2;
const O_CREAT = 0o100;
const O_EXCL = 0o200;
const O_TRUNC = 0o1000;
const CACHED = (1 << 1) | (1 << 5);
const THROUGH = (1 << 7) | (1 << 5);
const HANDLE = 0x8000_0000;
const RESENT = 1n << 63n;

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

describe('OPEN and RELEASE', () => {
  test('of a file in the image goes through the page cache', () => {
    client.answers['open'] = { fd: -1 };
    expect(hex(client.ask(abi.FUSE_OPEN, INO, k.fuseOpenIn(0)))).toBe(hex(fuseOpenOut(0, CACHED, 0)));
    expect(client.taken()).toEqual([
      ['open', INO, 0, false, writer()],
      ['closeContent', { fd: -1 }],
    ]);
    expect(client.waits).toEqual(['begin', 0]);
    expect(client.table.opens(INO)).toBe(1);
    expect(client.ask(abi.FUSE_RELEASE, INO, k.fuseReleaseIn(0))).toHaveLength(0);
    expect(client.taken()).toEqual([['closed', INO]]);
  });

  test('that copies nothing is not announced to other threads', () => {
    client.answers['open'] = { fd: -1 };
    client.answers['opensAtOnce'] = (ino: number, flags: number) => ino === INO && flags === O_TRUNC;
    client.ask(abi.FUSE_OPEN, INO, k.fuseOpenIn(O_TRUNC));
    expect(client.waits).toEqual([]);
    client.ask(abi.FUSE_OPEN, INO, k.fuseOpenIn(O_RDWR));
    expect(client.waits).toEqual(['begin', 0]);
  });

  test('of a file in the upper layer is left to the kernel', () => {
    client.answers['open'] = { fd: 9 };
    const reply = client.ask(abi.FUSE_OPEN, INO, k.fuseOpenIn(O_RDWR | O_TRUNC, 1));
    expect(hex(reply)).toBe(hex(fuseOpenOut(HANDLE, THROUGH, 1)));
    expect(client.taken()).toEqual([
      ['open', INO, O_RDWR | O_TRUNC, true, writer()],
      ['closeContent', { fd: 9 }],
    ]);
    // another open for reading needs no call of the file system
    expect(hex(client.ask(abi.FUSE_OPEN, INO, k.fuseOpenIn(0)))).toBe(hex(fuseOpenOut(HANDLE, THROUGH, 1)));
    expect(client.taken()).toEqual([]);
    // an open for writing or with O_TRUNC does
    client.ask(abi.FUSE_OPEN, INO, k.fuseOpenIn(1));
    client.ask(abi.FUSE_OPEN, INO, k.fuseOpenIn(O_TRUNC));
    expect(client.taken().map(([method]) => method)).toEqual(['open', 'closeContent', 'open', 'closeContent']);
    for (let i = 0; i < 4; i++) {
      expect(client.taken()).toEqual([]);
      client.ask(abi.FUSE_RELEASE, INO, k.fuseReleaseIn(HANDLE));
    }
    expect(client.taken()).toEqual([['closed', INO]]);
  });

  test('that fails counts nothing', () => {
    client.answers['open'] = EISDIR;
    expect(client.call(abi.FUSE_OPEN, INO, k.fuseOpenIn(0)).error).toBe(EISDIR);
    client.answers['open'] = { fd: 9 };
    client.table.unknown.add(INO);
    expect(client.call(abi.FUSE_OPEN, INO, k.fuseOpenIn(0)).error).toBe(ENFILE);
    expect(client.taken().at(-1)).toEqual(['closeContent', { fd: 9 }]);
    client.dispatcher.abandon();
    expect(client.table.opens(INO)).toBe(0);
    expectWhole(abi.FUSE_OPEN, k.fuseOpenIn(0));
  });

  test('is undone if the answer is not sent', () => {
    client.answers['open'] = { fd: 9 };
    client.ask(abi.FUSE_OPEN, INO, k.fuseOpenIn(O_RDWR));
    client.taken();
    client.dispatcher.abandon();
    expect(client.taken()).toEqual([['closed', INO]]);
    expect(client.table.opens(INO)).toBe(0);
  });

  test('RELEASE that an earlier server may have counted is not counted again', () => {
    client.answers['open'] = { fd: 9 };
    client.ask(abi.FUSE_OPEN, INO, k.fuseOpenIn(O_RDWR));
    expect(client.call(abi.FUSE_RELEASE, INO, k.fuseReleaseIn(HANDLE), RESENT | 4n).error).toBe(0);
    expect(client.table.opens(INO)).toBe(1);
  });
});

describe('CREATE and TMPFILE', () => {
  const NEW = ATTRIBUTES.ino;
  const creating = (flags = O_CREAT | O_RDWR, openFlags = 0): Buffer =>
    struct(k.fuseCreateIn(flags, 0o106755, 0o22, openFlags), name('new'));
  const created = hex(struct(k.fuseEntryOut(ATTRIBUTES), fuseOpenOut(HANDLE, THROUGH, 1)));

  test('make a file and open it', () => {
    client.answers['create'] = { fd: 9 };
    client.answers['tmpfile'] = { fd: 10 };
    expect(hex(client.ask(abi.FUSE_CREATE, INO, creating()))).toBe(created);
    expect(hex(client.ask(abi.FUSE_TMPFILE, INO, creating()))).toBe(created);
    expect(client.taken()).toEqual([
      ['create', INO, 'new', 0o6755, 0o102, writer(0o22)],
      ['closeContent', { fd: 9 }],
      ['tmpfile', INO, 0o6755, writer(0o22)],
      ['closeContent', { fd: 10 }],
    ]);
    expect(client.intents.begun.size).toBe(2);
    expect(client.waits).toEqual([]);
  });

  test('are undone if the answer is not sent', () => {
    for (const opcode of [abi.FUSE_CREATE, abi.FUSE_TMPFILE]) {
      client.answers['create'] = client.answers['tmpfile'] = { fd: 9 };
      client.ask(opcode, INO, creating());
      client.taken();
      client.dispatcher.abandon();
      expect(client.taken()).toEqual([
        ['closed', NEW],
        ['forget', NEW, 1],
      ]);
    }
  });

  test('leave nothing if the file cannot be opened', () => {
    client.answers['create'] = client.answers['tmpfile'] = { fd: 9 };
    client.table.unknown.add(NEW);
    expect(client.call(abi.FUSE_CREATE, INO, creating()).error).toBe(ENFILE);
    expect(client.call(abi.FUSE_TMPFILE, INO, creating()).error).toBe(ENFILE);
    expect(client.taken().map(([method, ino]) => [method, ino])).toEqual([
      ['create', INO],
      ['closeContent', { fd: 9 }],
      ['unlink', INO],
      ['forget', NEW],
      ['tmpfile', INO],
      ['closeContent', { fd: 9 }],
      ['forget', NEW],
    ]);
  });

  test('pass errors on, and do nothing if they are cut off', () => {
    client.answers['create'] = client.answers['tmpfile'] = ENOSPC;
    expect(client.call(abi.FUSE_CREATE, INO, creating()).error).toBe(ENOSPC);
    expect(client.call(abi.FUSE_TMPFILE, INO, creating()).error).toBe(ENOSPC);
    client.taken();
    expectWhole(abi.FUSE_CREATE, creating());
    expectWhole(abi.FUSE_TMPFILE, zeros(16));
  });

  test('CREATE opens an existing file, except with O_EXCL', () => {
    client.answers['create'] = EEXIST;
    client.answers['open'] = { fd: 9 };
    expect(client.call(abi.FUSE_CREATE, INO, creating(O_CREAT | O_EXCL)).error).toBe(EEXIST);
    client.taken();
    expect(hex(client.ask(abi.FUSE_CREATE, INO, creating(O_RDWR | O_TRUNC, 1)))).toBe(created);
    expect(client.taken().slice(1)).toEqual([
      ['lookup', INO, 'new'],
      ['open', NEW, O_RDWR | O_TRUNC, true, writer()],
      ['closeContent', { fd: 9 }],
      ['getattr', NEW],
    ]);
  });

  test('CREATE opens nothing but a regular file, and counts nothing if that fails', () => {
    client.answers['create'] = EEXIST;
    client.answers['lookup'] = (_parent: number, _name: Uint8Array, out: WritableAttributes) => {
      out.mode = 0o40755;
      return 0;
    };
    expect(client.call(abi.FUSE_CREATE, INO, creating()).error).toBe(EEXIST);
    expect(client.taken().at(-1)).toEqual(['forget', NEW, 1]);
    client.answers['lookup'] = 0;
    client.answers['open'] = EIO;
    expect(client.call(abi.FUSE_CREATE, INO, creating()).error).toBe(EIO);
    expect(client.taken().at(-1)).toEqual(['forget', NEW, 1]);
    client.answers['open'] = { fd: 9 };
    client.answers['getattr'] = EIO;
    expect(client.call(abi.FUSE_CREATE, INO, creating()).error).toBe(EIO);
    expect(client.taken().slice(-2)).toEqual([
      ['closed', NEW],
      ['forget', NEW, 1],
    ]);
    client.answers['lookup'] = ELOOP;
    expect(client.call(abi.FUSE_CREATE, INO, creating()).error).toBe(ELOOP);
  });
});

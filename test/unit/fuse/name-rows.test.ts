/** Requests about names in a writable mount: bytes in, calls of the file system, bytes out. */
import { beforeEach, describe, expect, test } from 'vitest';
import { EEXIST, EINVAL, EIO, ENOENT, ENOSPC } from '../../../src/base/errno.ts';
import type { WritableAttributes } from '../../../src/fs/writable-filesystem.ts';
import * as abi from '../../../src/fuse/abi.ts';
import { fuseDirent, fuseReadIn, fuseRequest, negativeEntryOut, struct, u32, u64, zeros } from './kernel-structs.ts';
import { ATTRIBUTES, type Call, WritableClient, writer } from './writable-client.ts';
import * as k from './writable-structs.ts';

const { name } = k;
const DIR = 77;
const RESENT = 1n << 63n;
const entry = k.fuseEntryOut(ATTRIBUTES).toString('hex');

let client: WritableClient;
beforeEach(() => {
  client = new WritableClient();
});

/** Requests that make an entry: opcode, body, and the call. */
const making: readonly (readonly [string, number, Buffer, Call])[] = [
  [
    'MKNOD',
    abi.FUSE_MKNOD,
    struct(k.fuseMknodIn(0o60644, 0x801, 0o27), name('node')),
    ['mknod', DIR, 'node', 0o60644, 0x801, writer(0o27)],
  ],
  [
    'MKDIR',
    abi.FUSE_MKDIR,
    struct(k.fuseMkdirIn(0o1777, 0o77), name('dir')),
    ['mkdir', DIR, 'dir', 0o1777, writer(0o77)],
  ],
  [
    'SYMLINK',
    abi.FUSE_SYMLINK,
    struct(name('link'), name('../some/target')),
    ['symlink', DIR, 'link', '../some/target', writer()],
  ],
  ['LINK', abi.FUSE_LINK, struct(u64(2 ** 51 + 5), name('other')), ['link', 2 ** 51 + 5, DIR, 'other', writer()]],
];
/** Requests that remove or rename an entry. */
const removing: readonly (readonly [string, number, Buffer, Call])[] = [
  ['UNLINK', abi.FUSE_UNLINK, name('file'), ['unlink', DIR, 'file', writer()]],
  ['RMDIR', abi.FUSE_RMDIR, name('dir'), ['rmdir', DIR, 'dir', writer()]],
  [
    'RENAME',
    abi.FUSE_RENAME,
    struct(u64(2 ** 40), name('old'), name('newer')),
    ['rename', DIR, 'old', 2 ** 40, 'newer', 0, writer()],
  ],
  [
    'RENAME2',
    abi.FUSE_RENAME2,
    struct(k.fuseRename2In(88, 2), name('one'), name('two')),
    ['rename', DIR, 'one', 88, 'two', 2, writer()],
  ],
];

describe.each(making)('%s', (_what, opcode, body, call) => {
  test('makes the entry and is answered with it', () => {
    expect(client.ask(opcode, DIR, body).toString('hex')).toBe(entry);
    expect(client.taken()).toEqual([call]);
    expect(client.waits).toEqual([]);
  });

  test('is undone if the answer is not sent: the kernel does not count it', () => {
    client.ask(opcode, DIR, body);
    client.taken();
    client.dispatcher.abandon();
    expect(client.taken()).toEqual([['forget', ATTRIBUTES.ino, 1]]);
  });
});

describe.each(removing)('%s', (_what, opcode, body, call) => {
  test('is answered without a payload', () => {
    expect(client.ask(opcode, DIR, body)).toHaveLength(0);
    expect(client.taken()).toEqual([call]);
    client.dispatcher.abandon();
    expect(client.taken()).toEqual([]);
  });
});

describe.each([...making, ...removing])('%s', (_what, opcode, body, call) => {
  test.each([EEXIST, ENOSPC, EIO])('passes error %i on', (errno) => {
    client.answers[call[0]] = errno;
    expect(client.call(opcode, DIR, body).error).toBe(errno);
    client.dispatcher.abandon();
    expect(client.taken()).toEqual([call]);
  });

  test('changes nothing if the request is cut off', () => {
    for (let length = 0; length < body.length; length++) {
      expect(client.call(opcode, DIR, body.subarray(0, length)).error).toBe(EINVAL);
    }
    expect(client.taken()).toEqual([]);
    expect(client.intents.begun.size).toBe(0);
  });

  test('is recorded before the file system is called, without bit 63', () => {
    client.answers[call[0]] = () => {
      expect([...client.intents.begun]).toEqual([[0x1_2345_0002n, { a: 0, b: 0 }]]);
      return 0;
    };
    expect(client.call(opcode, DIR, body, 0x1_2345_0002n).error).toBe(0);
    expect(client.taken()).toHaveLength(1);
  });

  test('is served again if an earlier server began it, and only then', () => {
    const again = (unique: bigint): unknown => {
      client.call(opcode, DIR, body, unique);
      return client.taken()[0]?.at(-1);
    };
    const umask = (call.at(-1) as { umask: number }).umask;
    expect(again(RESENT | 6n)).toEqual(writer(umask));
    expect(again(RESENT | 6n)).toEqual(writer(umask, true));
    // another request never has the number of one that was served; the same request may come again
    expect(again(6n)).toEqual(writer(umask));
  });

  test('knows the numbers that the earlier server noted, and leaves them to the next one', () => {
    client.answers[call[0]] = (...args: unknown[]) => {
      (args.findLast((arg) => typeof arg === 'object' && arg !== null && 'note' in arg) as { note: Note }).note(5, 6);
      return 0;
    };
    client.call(opcode, DIR, body, 8n);
    client.answers[call[0]] = 0;
    for (let server = 0; server < 2; server++) {
      client.taken();
      client.call(opcode, DIR, body, RESENT | 8n);
      expect(client.taken()[0]?.at(-1)).toMatchObject({ again: true, noted: [5, 6] });
    }
  });
});

type Note = (a: number, b: number) => void;

describe('names that no entry can have', () => {
  const bodies = (bad: Buffer): readonly (readonly [number, Buffer])[] => [
    [abi.FUSE_MKNOD, struct(zeros(16), bad)],
    [abi.FUSE_MKDIR, struct(zeros(8), bad)],
    [abi.FUSE_SYMLINK, struct(bad, name('target'))],
    [abi.FUSE_LINK, struct(zeros(8), bad)],
    [abi.FUSE_UNLINK, bad],
    [abi.FUSE_RMDIR, bad],
    [abi.FUSE_RENAME, struct(zeros(8), bad, name('good'))],
    [abi.FUSE_RENAME, struct(zeros(8), name('good'), bad)],
    [abi.FUSE_RENAME2, struct(zeros(16), bad, name('good'))],
    [abi.FUSE_RENAME2, struct(zeros(16), name('good'), bad)],
    [abi.FUSE_CREATE, struct(zeros(16), bad)],
  ];

  test.each(['', '.', '..', '/', 'a/b', '../escape', '/etc/passwd'])('"%s" is refused', (text) => {
    for (const [opcode, body] of bodies(name(text))) expect(client.call(opcode, DIR, body).error).toBe(EINVAL);
    expect(client.taken()).toEqual([]);
  });

  test.each(['...', '.a', '..a', 'a.', '\xff\x01', '*'])('"%s" is a name like others', (text) => {
    for (const [opcode, body] of bodies(Buffer.from(`${text}\0`, 'latin1'))) {
      expect(client.call(opcode, DIR, body).error).toBe(0);
    }
  });

  test('a symbolic link to nowhere is refused', () => {
    expect(client.call(abi.FUSE_SYMLINK, DIR, struct(name('link'), name(''))).error).toBe(EINVAL);
  });
});

describe('LOOKUP', () => {
  test('is answered with the entry, and undone if the answer is not sent', () => {
    expect(client.ask(abi.FUSE_LOOKUP, DIR, name('file')).toString('hex')).toBe(entry);
    client.dispatcher.abandon();
    expect(client.taken()).toEqual([
      ['lookup', DIR, 'file'],
      ['forget', ATTRIBUTES.ino, 1],
    ]);
  });

  test('of a missing name is remembered by the kernel, and not counted', () => {
    client.answers['lookup'] = ENOENT;
    expect(client.ask(abi.FUSE_LOOKUP, DIR, name('none')).equals(negativeEntryOut)).toBe(true);
    client.dispatcher.abandon();
    expect(client.taken()).toEqual([['lookup', DIR, 'none']]);
  });
});

describe('FORGET', () => {
  const send = (opcode: number, body: Buffer): unknown => {
    expect(client.send(fuseRequest(opcode, 5, body))).toBeUndefined();
    return client.taken();
  };

  test('gives up the given number of references', () => {
    expect(send(abi.FUSE_FORGET, u64(3))).toEqual([['forget', 5, 3]]);
    expect(send(abi.FUSE_FORGET, u64(2 ** 40))).toEqual([['forget', 5, 2 ** 40]]);
  });

  test('of many inodes gives up the references of each', () => {
    const body = k.fuseBatchForgetIn(3, [2 ** 51, 1], [6, 2 ** 33], [7, 4]);
    expect(send(abi.FUSE_BATCH_FORGET, body)).toEqual([
      ['forget', 2 ** 51, 1],
      ['forget', 6, 2 ** 33],
      ['forget', 7, 4],
    ]);
  });

  test('counts only complete entries', () => {
    expect(send(abi.FUSE_FORGET, zeros(0))).toEqual([]);
    expect(send(abi.FUSE_BATCH_FORGET, zeros(0))).toEqual([]);
    expect(send(abi.FUSE_BATCH_FORGET, k.fuseBatchForgetIn(0xffffffff, [5, 1]))).toEqual([['forget', 5, 1]]);
    expect(send(abi.FUSE_BATCH_FORGET, k.fuseBatchForgetIn(1, [5, 1], [6, 1]))).toEqual([['forget', 5, 1]]);
    const cut = k.fuseBatchForgetIn(2, [5, 1], [6, 1]);
    expect(send(abi.FUSE_BATCH_FORGET, cut.subarray(0, -1))).toEqual([['forget', 5, 1]]);
  });
});

describe('READDIR and READDIRPLUS', () => {
  /** Lists `count` entries after the cookie; each entry is named by its cookie. */
  const listing =
    (count: number, result = 0) =>
    (_ino: number, from: number, _plus: boolean, _out: WritableAttributes, sink: Sink): number => {
      for (let at = from; at < count; at++) if (!sink(Buffer.from(String(at)), at + 1)) break;
      return result;
    };
  type Sink = (text: Uint8Array, next: number) => boolean;
  const dirent = (at: number): Buffer => fuseDirent(ATTRIBUTES.shownIno, at + 1, 8, Buffer.from(String(at)));

  test('are answered with entries, as many as fit', () => {
    client.answers['readdir'] = listing(3);
    expect(client.ask(abi.FUSE_READDIR, DIR, fuseReadIn(0, 1, 4096)).toString('hex')).toBe(
      struct(dirent(1), dirent(2)).toString('hex'),
    );
    expect(client.ask(abi.FUSE_READDIRPLUS, DIR, fuseReadIn(0, 0, 2 * 160 + 100)).toString('hex')).toBe(
      [0, 1].map((at) => entry + dirent(at).toString('hex')).join(''),
    );
    expect(client.ask(abi.FUSE_READDIR, DIR, fuseReadIn(0, 3, 4096))).toHaveLength(0);
    expect(client.taken().map((call) => call.slice(0, 4))).toEqual([
      ['readdir', DIR, 1, false],
      ['readdir', DIR, 0, true],
      ['readdir', DIR, 3, false],
    ]);
  });

  test('send the entries before an error, and the error next time', () => {
    client.answers['readdir'] = listing(2, EIO);
    expect(client.ask(abi.FUSE_READDIRPLUS, DIR, fuseReadIn(0, 0, 4096))).toHaveLength(2 * 160);
    expect(client.call(abi.FUSE_READDIRPLUS, DIR, fuseReadIn(0, 2, 4096)).error).toBe(EIO);
  });

  test('without room for one entry return an error, not the end', () => {
    client.answers['readdir'] = listing(2);
    expect(client.call(abi.FUSE_READDIRPLUS, DIR, fuseReadIn(0, 0, 100)).error).toBe(EINVAL);
    expect(client.call(abi.FUSE_READDIR, DIR, u32(0)).error).toBe(EINVAL);
  });

  test('RELEASEDIR is passed on', () => {
    expect(client.ask(abi.FUSE_RELEASEDIR, DIR, k.fuseReleaseIn(0))).toHaveLength(0);
    expect(client.taken()).toEqual([['releaseDirectory', DIR]]);
  });
});

import { describe, expect, test } from 'vitest';
import { ROOT_INO } from '../../../src/fs/filesystem.ts';
import * as abi from '../../../src/fuse/abi.ts';
import { opcodeName } from '../../../src/fuse/opcodes.ts';
import { traced } from '../../../src/fuse/request-trace.ts';
import { imageFixture, inoOf, smallTree } from '../fs/image-fixture.ts';
import { useScratch } from '../store/scratch.ts';
import { Client } from './client.ts';
import * as k from './kernel-structs.ts';
import { ATTRIBUTES, WritableClient } from './writable-client.ts';

const at = useScratch();
const { fs } = imageFixture(smallTree, at('small'));

/** Serves requests, and keeps the lines that were logged for them. */
function tracing() {
  const { dispatcher } = new Client(fs);
  const lines: string[] = [];
  const clock = { ms: 5 };
  const serve = traced(dispatcher, opcodeName, {
    log: (line) => lines.push(line),
    thread: 3,
    pathOf: (nodeid) => (nodeid === ROOT_INO ? '/' : undefined),
    now: () => {
      clock.ms += 0.0125;
      return clock.ms;
    },
  });
  const send = (opcode: number, nodeid: number, body: Buffer = Buffer.alloc(0), unique = 2n): number => {
    const bytes = k.fuseRequest(opcode, nodeid, body, unique);
    dispatcher.request.bytes.set(bytes);
    return serve(bytes.length);
  };
  return { dispatcher, lines, send };
}

describe('traced()', () => {
  test('shows opcode, inode, answer and time', () => {
    const { lines, send } = tracing();
    send(abi.FUSE_LOOKUP, ROOT_INO, Buffer.from('bin\0'), 0x1_0000_0002n);
    send(abi.FUSE_LOOKUP, ROOT_INO, Buffer.from('none\0'));
    send(abi.FUSE_RMDIR, ROOT_INO, Buffer.from('bin\0'));
    send(abi.FUSE_INTERRUPT, 0, Buffer.alloc(8));
    expect(lines).toEqual([
      `debug: LOOKUP unique 4294967298 inode 1 / "bin" -> inode ${inoOf(fs, '/bin')}, 13 µs, thread 3`,
      'debug: LOOKUP unique 2 inode 1 / "none" -> no such name, 13 µs, thread 3',
      'debug: RMDIR unique 2 inode 1 / "bin" -> EROFS, 13 µs, thread 3',
      'debug: INTERRUPT unique 2 -> no reply, 13 µs, thread 3',
    ]);
  });

  test('shows the bytes that were requested', () => {
    const { lines, send } = tracing();
    send(abi.FUSE_READ, inoOf(fs, '/bin/small'), k.fuseReadIn(0, 1, 4096));
    expect(lines[0]).toContain('4096 bytes at 1 -> ');
  });

  test('has the written bytes, the names of a rename, and the new inode', () => {
    const client = new WritableClient();
    const lines: string[] = [];
    const log = (line: string): void => void lines.push(line.replace(/, \d+ µs, thread 1$/, ''));
    const serve = traced(client.dispatcher, opcodeName, { log, thread: 1, pathOf: () => undefined, writable: true });
    client.answers['write'] = 3;
    for (const [opcode, body] of [
      [abi.FUSE_MKDIR, k.struct(k.zeros(8), Buffer.from('d\0'))],
      [abi.FUSE_RENAME2, k.struct(k.u64(8), k.zeros(8), Buffer.from('a\0b\0'))],
      [abi.FUSE_SETXATTR, k.struct(k.u32(0), k.zeros(12), Buffer.from('user.a\0'))],
      [abi.FUSE_WRITE, k.struct(k.u64(0), k.u64(9), k.u32(3), k.zeros(20), Buffer.from('abc'))],
    ] as const) {
      const bytes = k.fuseRequest(opcode, 7, body);
      client.dispatcher.request.bytes.set(bytes);
      serve(bytes.length);
    }
    expect(lines).toEqual([
      `debug: MKDIR unique 2 inode 7 "d" -> inode ${ATTRIBUTES.ino}`,
      'debug: RENAME2 unique 2 inode 7 "a" to inode 8 "b" -> 0 bytes',
      'debug: SETXATTR unique 2 inode 7 "user.a" -> 0 bytes',
      'debug: WRITE unique 2 inode 7 3 bytes at 9 -> 8 bytes',
    ]);
  });

  test('shows a name in one line, and returns the reply unchanged', () => {
    const { dispatcher, lines, send } = tracing();
    const length = send(abi.FUSE_LOOKUP, ROOT_INO, Buffer.from('a\nb\0'));
    expect(length).toBe(dispatcher.reply.bytes.readUInt32LE(0));
    expect(lines).toHaveLength(1);
    expect(lines[0]).not.toContain('\n');
  });

  test('has no line for bytes that are not a request', () => {
    const { dispatcher, lines } = tracing();
    expect(traced(dispatcher, opcodeName, { log: (line) => lines.push(line), thread: 0, pathOf: () => '' })(3)).toBe(0);
    expect(lines).toEqual([]);
  });
});

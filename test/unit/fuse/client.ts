/** The kernel's side of a Dispatcher: sends the bytes of requests, and decodes the bytes of replies. */
import { expect } from 'vitest';
import type { Filesystem } from '../../../src/fs/filesystem.ts';
import { imageDispatcher } from '../../../src/fuse/dispatch.ts';
import type { RequestServer } from '../../../src/fuse/dispatcher.ts';
import { allocateOpenFileState, type BackingRegistry, OpenFiles } from '../../../src/fuse/open-files.ts';
import { fuseReadIn, fuseRequest } from './kernel-structs.ts';

export interface Reply {
  readonly error: number;
  readonly unique: bigint;
  readonly payload: Buffer;
}

/** One entry of a READDIR or READDIRPLUS reply. */
export interface DirectoryEntry {
  readonly name: string;
  readonly ino: number;
  readonly off: number;
  readonly type: number;
  /** fuse_entry_out, in replies to READDIRPLUS only. */
  readonly entry: Buffer | undefined;
}

export class Client {
  readonly dispatcher: RequestServer;
  readonly log: string[] = [];
  #unique = 2n;

  constructor(fs: Filesystem, registry?: BackingRegistry) {
    const openFiles = new OpenFiles(fs, allocateOpenFileState(fs.slots), registry);
    this.dispatcher = imageDispatcher(fs, openFiles, (line) => void this.log.push(line));
  }

  /** Sends any bytes. Undefined if no reply is to be sent. */
  send(bytes: Uint8Array): Reply | undefined {
    const { request, reply } = this.dispatcher;
    request.bytes.set(bytes);
    const length = this.dispatcher.serve(bytes.length);
    if (length === 0) return undefined;
    const sent = Buffer.from(reply.bytes.subarray(0, length));
    expect(sent.readUInt32LE(0)).toBe(length);
    return { error: sent.readInt32LE(4), unique: sent.readBigUInt64LE(8), payload: sent.subarray(16) };
  }

  /** Sends a well-formed request, and checks that the reply is to this request. */
  call(opcode: number, nodeid: number | bigint, body?: Uint8Array): Reply {
    const unique = this.#unique;
    this.#unique += 2n;
    const reply = this.send(fuseRequest(opcode, nodeid, body, unique));
    if (reply === undefined) throw new Error(`no reply to opcode ${opcode}`);
    expect(reply.unique).toBe(unique);
    if (reply.error !== 0) expect(reply.payload).toHaveLength(0);
    return reply;
  }

  /** The payload of a call that must succeed. */
  ask(opcode: number, nodeid: number | bigint, body?: Uint8Array): Buffer {
    const { error, payload } = this.call(opcode, nodeid, body);
    expect(error).toBe(0);
    return payload;
  }

  /** All entries of a directory, read through a buffer of `size` bytes as the kernel does: until a reply is empty. */
  readDirectory(opcode: number, nodeid: number, plus: boolean, size: number): DirectoryEntry[] {
    const all: DirectoryEntry[] = [];
    for (let offset = 0; ; ) {
      const page = this.ask(opcode, nodeid, fuseReadIn(0, offset, size));
      expect(page.length).toBeLessThanOrEqual(size);
      if (page.length === 0) return all;
      all.push(...entriesOf(page, plus));
      offset = all.at(-1)?.off as number;
    }
  }
}

function entriesOf(page: Buffer, plus: boolean): DirectoryEntry[] {
  const entries: DirectoryEntry[] = [];
  for (let at = 0; at < page.length; ) {
    const entry = plus ? page.subarray(at, at + 128) : undefined;
    if (plus) at += 128;
    const length = page.readUInt32LE(at + 16);
    entries.push({
      ino: Number(page.readBigUInt64LE(at)),
      off: Number(page.readBigUInt64LE(at + 8)),
      type: page.readUInt32LE(at + 20),
      name: page.toString('latin1', at + 24, at + 24 + length),
      entry,
    });
    at += Math.ceil((24 + length) / 8) * 8;
  }
  return entries;
}

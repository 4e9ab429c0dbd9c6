/** The kernel's side of the dispatcher of a writable mount, and a file system that records its calls. */
import { expect } from 'vitest';
import type { Errno } from '../../../src/base/errno.ts';
import {
  emptyWritableAttributes,
  type WritableAttributes,
  type WritableFilesystem,
  type Writer,
} from '../../../src/fs/writable-filesystem.ts';
import { writableDispatcher } from '../../../src/fuse/dispatch-writable.ts';
import type { RequestServer } from '../../../src/fuse/dispatcher.ts';
import type { BackingRegistry } from '../../../src/fuse/open-files.ts';
import type { RequestBuffer } from '../../../src/fuse/request.ts';
import type { IntentLog } from '../../../src/fuse/writable-context.ts';
import {
  allocateWritableOpenFileState,
  type OpenTable,
  WritableOpenFiles,
} from '../../../src/fuse/writable-open-files.ts';
import type { Reply } from './client.ts';
import { fuseRequest } from './kernel-structs.ts';

/** The attributes of every inode of the fake; each field differs. */
export const ATTRIBUTES: WritableAttributes = {
  ...emptyWritableAttributes(),
  ...{ ino: 0xf_1234_5678_9abc, shownIno: 0xf_1234_5678_9abd, generation: 0xdeadbeef, mode: 0o100644, nlink: 3 },
  ...{ uid: 1001, gid: 1002, size: 5_000_000_000, blocks: 9_765_632 },
  ...{ atimeLow: 11, atimeHigh: 1, atimeNsec: 12, mtimeLow: 0xfffffff0, mtimeHigh: 0xffffffff, mtimeNsec: 14 },
  ...{ ctimeLow: 15, ctimeHigh: 3, ctimeNsec: 16, btimeLow: 17, btimeHigh: 0, btimeNsec: 18, ttl: 1 },
};

/** A call: the method and its arguments, without the attributes to be filled; names are text. */
export type Call = readonly [method: string, ...args: readonly unknown[]];

/** The fields of a writer at the time of the call. */
const writerOf = ({ uid, gid, pid, umask, again, noted }: Writer): object => ({ uid, gid, pid, umask, again, noted });

const isAttributes = (value: unknown): boolean => typeof value === 'object' && value !== null && 'btimeLow' in value;
const isWriter = (value: unknown): value is Writer => typeof value === 'object' && value !== null && 'note' in value;

/** A file system with any method; `answers` has their results. */
export class FakeFilesystem {
  readonly calls: Call[] = [];
  /** Results other than 0, by method: a value, or a function of the arguments. */
  readonly answers: Record<string, unknown> = {};
  readonly fs: WritableFilesystem = new Proxy(
    {},
    {
      get:
        (_target, method: string) =>
        (...args: unknown[]): unknown => {
          for (const arg of args) if (isAttributes(arg)) Object.assign(arg as object, ATTRIBUTES);
          // a question before each open, which changes nothing
          if (method !== 'opensAtOnce')
            this.calls.push([method, ...args.filter((arg) => !isAttributes(arg)).map(shown)]);
          const answer = this.answers[method];
          return typeof answer === 'function' ? answer(...args) : (answer ?? 0);
        },
    },
  ) as unknown as WritableFilesystem;
}

function shown(arg: unknown): unknown {
  if (arg instanceof Uint8Array) return Buffer.from(arg).toString('latin1');
  if (typeof arg === 'function') return 'function';
  // a RequestBuffer as Caller
  if (typeof arg === 'object' && arg !== null && 'entryName' in arg) return { uid: (arg as RequestBuffer).uid };
  return isWriter(arg) ? writerOf(arg) : arg;
}

/** Rows of the inodes below 1000: an inode's row is its number. */
export class FakeTable implements OpenTable {
  readonly opensOf: number[] = [];
  readonly backingOf: number[] = [];
  readonly markOf: number[] = [];
  readonly nameless = new Set<number>();
  readonly outdated = new Set<number>();
  readonly unknown = new Set<number>();
  /** Called after each change. */
  changed: () => void = () => undefined;

  find(ino: number): number {
    const row = ino === ATTRIBUTES.ino ? 999 : ino;
    return row >= 1000 || this.unknown.has(ino) ? -1 : row;
  }
  opens(row: number): number {
    return this.opensOf[row] ?? 0;
  }
  addOpens(row: number, change: number): void {
    this.opensOf[row] = this.opens(row) + change;
    this.changed();
  }
  backing(row: number): number {
    return this.backingOf[row] ?? 0;
  }
  setBacking(row: number, backing: number): void {
    this.backingOf[row] = backing;
    this.changed();
  }
  mark(row: number): number {
    return this.markOf[row] ?? 0;
  }
  setMark(row: number, mark: number): void {
    this.markOf[row] = mark;
  }
  takeOutdated(row: number): boolean {
    return this.outdated.delete(row);
  }
  isNamed(row: number): boolean {
    return !this.nameless.has(row);
  }
}

/** The kernel's registry of backing files. */
export class FakeRegistry implements BackingRegistry {
  readonly ids = new Set<number>();
  /** Returned in place of an id. */
  refusal: Errno | undefined;
  /** Whether the thread is without CAP_FSETID, as it has to be while it asks for an id. */
  isWithout = false;
  #next = 1;

  open(): number | Errno {
    expect(this.isWithout).toBe(true);
    if (this.refusal !== undefined) return this.refusal;
    this.ids.add(this.#next);
    return this.#next++;
  }
  close(id: number): void {
    expect(this.ids.delete(id)).toBe(true);
  }
  readonly asWriterOf = <T>(_fd: number, work: () => T): T => {
    this.isWithout = true;
    try {
      return work();
    } finally {
      this.isWithout = false;
    }
  };
}

/** The intents that the servers of a mount leave, for one thread. */
export class FakeIntents implements IntentLog {
  readonly begun = new Map<bigint, { a: number; b: number }>();
  begin(uniqueLow: number, uniqueHigh: number, a: number, b: number): void {
    this.begun.set((BigInt(uniqueHigh) << 32n) | BigInt(uniqueLow), { a, b });
  }
  find(uniqueLow: number, uniqueHigh: number): { a: number; b: number } | undefined {
    return this.begun.get((BigInt(uniqueHigh) << 32n) | BigInt(uniqueLow));
  }
}

export class WritableClient extends FakeFilesystem {
  readonly table = new FakeTable();
  readonly registry = new FakeRegistry();
  readonly intents = new FakeIntents();
  readonly log: string[] = [];
  /** The calls of `Waiting`. */
  readonly waits: (string | number)[] = [];
  readonly dispatcher: RequestServer;
  readonly openFiles: WritableOpenFiles;
  #unique = 2n;

  constructor(isPassthrough = true) {
    super();
    const registry = isPassthrough ? this.registry : undefined;
    const state = allocateWritableOpenFileState(4);
    this.openFiles = new WritableOpenFiles(this.table, state, registry, this.registry.asWriterOf);
    this.dispatcher = writableDispatcher(this.fs, this.openFiles, this.intents, (line) => void this.log.push(line), {
      begin: () => void this.waits.push('begin'),
      beforeWork: (bytes) => void this.waits.push(bytes),
      interrupt: (low, high) => void this.waits.push('interrupt', low, high),
    });
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

  /** Sends a request, and checks that the reply is to it. */
  call(opcode: number, nodeid: number, body?: Uint8Array, unique = this.#nextUnique()): Reply {
    const reply = this.send(fuseRequest(opcode, nodeid, body, unique));
    if (reply === undefined) throw new Error(`no reply to opcode ${opcode}`);
    expect(reply.unique).toBe(unique);
    if (reply.error !== 0) expect(reply.payload).toHaveLength(0);
    return reply;
  }

  /** The payload of a call that must succeed. */
  ask(opcode: number, nodeid: number, body?: Uint8Array): Buffer {
    const { error, payload } = this.call(opcode, nodeid, body);
    expect(error).toBe(0);
    return payload;
  }

  /** The calls since this was last called. */
  taken(): Call[] {
    return this.calls.splice(0);
  }

  #nextUnique(): bigint {
    this.#unique += 2n;
    return this.#unique;
  }
}

/** The writer of a request of `fuseRequest`. */
export const writer = (umask = 0, again = false, noted: readonly [number, number] = [0, 0]): object => ({
  uid: 1000,
  gid: 1000,
  pid: 4242,
  umask,
  again,
  noted,
});

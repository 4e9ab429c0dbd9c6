/** Random changes of one file, compared with the expected bytes after each, as in fsx. */
import { fstatSync } from 'node:fs';
import fc from 'fast-check';
import * as calls from './calls.ts';

/** The largest size of a file. */
const MOST = 400_000;

/** One change, or one read. Positions and lengths are limited to the size of the file if need be. */
export type Change =
  | {
      readonly op: 'write' | 'append' | 'mapWrite' | 'mapPrivate';
      readonly at: number;
      readonly length: number;
      readonly fill: number;
    }
  | {
      readonly op: 'read' | 'mapRead' | 'punch' | 'zero' | 'zeroKeep' | 'allocate' | 'allocateKeep';
      readonly at: number;
      readonly length: number;
    }
  | { readonly op: 'copy'; readonly at: number; readonly to: number; readonly length: number }
  | { readonly op: 'truncate' | 'truncatePath'; readonly size: number }
  | { readonly op: 'reopen' | 'rename' | 'sync' | 'dropPages' | 'chmod' | 'link' };

const position = fc.oneof(
  fc.nat(MOST - 1),
  fc
    .nat(97)
    .map((page) => page * 4096 - (page % 3))
    .map((at) => Math.max(at, 0)),
);
const length = fc.oneof(
  fc.integer({ min: 1, max: 9000 }),
  fc.integer({ min: 1, max: 140_000 }),
  fc.constantFrom(1, 4096, 8192),
);
const fill = fc.integer({ min: 1, max: 255 });
const just = <T extends string>(...ops: T[]) => fc.constantFrom(...ops);

export const changes: fc.Arbitrary<Change[]> = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.record({ op: just('write'), at: position, length, fill }) },
    {
      weight: 4,
      arbitrary: fc.record({ op: just('append', 'mapWrite', 'mapWrite', 'mapPrivate'), at: position, length, fill }),
    },
    { weight: 6, arbitrary: fc.record({ op: just('read', 'read', 'mapRead'), at: position, length }) },
    {
      weight: 4,
      arbitrary: fc.record({ op: just('punch', 'zero', 'zeroKeep', 'allocate', 'allocateKeep'), at: position, length }),
    },
    { weight: 2, arbitrary: fc.record({ op: just('copy'), at: position, to: position, length }) },
    { weight: 2, arbitrary: fc.record({ op: just('truncate', 'truncatePath'), size: position }) },
    {
      weight: 3,
      arbitrary: fc.record({ op: just('reopen', 'reopen', 'rename', 'sync', 'dropPages', 'chmod', 'link') }),
    },
  ),
  { minLength: 1, maxLength: 250, size: 'max' },
);

/** A file that is changed, and the bytes that it should have. */
export class Exerciser {
  #bytes: Buffer;
  #path: string;
  #fd: number;
  /** Another open file of the same inode, which appends. */
  #appender: number;
  #renamed = 0;

  /** @param path a regular file with the content `bytes`, not open anywhere */
  constructor(path: string, bytes: Buffer) {
    this.#path = path;
    this.#bytes = Buffer.from(bytes);
    this.#fd = must(calls.open(path, calls.O_RDWR), 'open');
    this.#appender = must(calls.open(path, calls.O_RDWR | calls.O_APPEND), 'open');
  }

  get path(): string {
    return this.#path;
  }

  /** Makes the change, and throws if the file then differs from the expected bytes. */
  do(change: Change): void {
    switch (change.op) {
      case 'write':
        this.#write(change.at, Buffer.alloc(change.length, change.fill));
        break;
      case 'append':
        this.#append(Buffer.alloc(change.length % 5000, change.fill));
        break;
      case 'read':
        this.#expect(change.at, calls.pread(this.#fd, change.length, change.at));
        break;
      case 'mapRead':
      case 'mapWrite':
      case 'mapPrivate':
        this.#map(change);
        break;
      case 'punch':
        this.#fallocate(calls.FALLOC_FL_PUNCH_HOLE | calls.FALLOC_FL_KEEP_SIZE, change.at, change.length);
        break;
      case 'zero':
        this.#fallocate(calls.FALLOC_FL_ZERO_RANGE, change.at, change.length);
        break;
      case 'zeroKeep':
        this.#fallocate(calls.FALLOC_FL_ZERO_RANGE | calls.FALLOC_FL_KEEP_SIZE, change.at, change.length);
        break;
      case 'allocate':
        this.#fallocate(0, change.at, change.length);
        break;
      case 'allocateKeep':
        this.#fallocate(calls.FALLOC_FL_KEEP_SIZE, change.at, change.length);
        break;
      case 'copy':
        this.#copy(change.at, change.to, change.length);
        break;
      case 'truncate':
        must(calls.ftruncate(this.#fd, change.size), 'ftruncate');
        this.#resize(change.size);
        break;
      case 'truncatePath':
        must(calls.truncate(this.#path, change.size), 'truncate');
        this.#resize(change.size);
        break;
      default:
        this.#handle(change.op);
        break;
    }
  }

  /** Reads the whole file in several ways; throws if it differs from the expected bytes. Closes it. */
  finish(): void {
    const whole = MOST * 2;
    this.#expect(0, calls.pread(this.#fd, whole, 0));
    this.#expect(0, calls.pread(this.#appender, whole, 0));
    this.close();
    this.checkPath();
  }

  /** As `finish`, by the name only. */
  checkPath(): void {
    const fd = must(calls.open(this.#path, calls.O_RDONLY), 'open');
    this.#expect(0, calls.pread(fd, MOST * 2, 0));
    calls.close(fd);
  }

  close(): void {
    for (const fd of [this.#fd, this.#appender]) calls.close(fd);
  }

  #write(at: number, bytes: Buffer): void {
    const end = Math.min(at + bytes.length, MOST);
    const part = bytes.subarray(0, end - at);
    same(calls.pwrite(this.#fd, part, at), part.length, 'bytes written');
    this.#resize(Math.max(this.#bytes.length, end));
    this.#bytes.set(part, at);
    this.#checkSize();
  }

  #append(bytes: Buffer): void {
    const part = bytes.subarray(0, Math.max(0, MOST - this.#bytes.length));
    same(calls.write(this.#appender, part), part.length, 'bytes appended');
    this.#bytes = Buffer.concat([this.#bytes, part]);
    this.#checkSize();
  }

  #map({ op, at, length, fill = 0 }: { op: string; at: number; length: number; fill?: number }): void {
    const size = this.#bytes.length;
    if (size === 0) return;
    const from = at % size;
    const to = Math.min(from + length, size);
    const done = calls.withMapping(this.#fd, size, op === 'mapPrivate' ? 'private' : 'shared', (mapped) => {
      this.#expect(from, Buffer.from(mapped.subarray(from, to)));
      if (op === 'mapRead') return;
      mapped.fill(fill, from, to);
      if (op === 'mapWrite') this.#bytes.fill(fill, from, to);
      this.#expect(from, calls.pread(this.#appender, to - from, from));
    });
    must(done, op);
  }

  #fallocate(mode: number, at: number, length: number): void {
    const end = Math.min(at + length, MOST);
    must(calls.fallocate(this.#fd, mode, at, end - at), 'fallocate');
    if ((mode & calls.FALLOC_FL_KEEP_SIZE) === 0) this.#resize(Math.max(this.#bytes.length, end));
    const size = this.#bytes.length;
    const clears = mode !== 0 && mode !== calls.FALLOC_FL_KEEP_SIZE;
    if (clears) this.#bytes.fill(0, Math.min(at, size), Math.min(end, size));
    this.#checkSize();
  }

  #copy(at: number, to: number, length: number): void {
    const most = Math.min(length, Math.abs(at - to), MOST - to, Math.max(0, this.#bytes.length - at));
    if (most === 0) return;
    const copied = calls.copyRange(this.#fd, at, this.#fd, to, most);
    same(copied, most, 'bytes copied');
    const part = Buffer.from(this.#bytes.subarray(at, at + most));
    this.#resize(Math.max(this.#bytes.length, to + most));
    this.#bytes.set(part, to);
    this.#checkSize();
  }

  #handle(op: 'reopen' | 'rename' | 'sync' | 'dropPages' | 'chmod' | 'link'): void {
    if (op === 'rename' || op === 'link') {
      const path = `${this.#path.replace(/~\d+$/, '')}~${++this.#renamed}`;
      if (op === 'link') must(calls.link(this.#path, path), 'link');
      else must(calls.rename(this.#path, path), 'rename');
      if (op === 'link') must(calls.unlink(this.#path), 'unlink');
      this.#path = path;
    } else if (op === 'reopen') {
      this.close();
      this.#fd = must(calls.open(this.#path, calls.O_RDWR), 'open');
      this.#appender = must(calls.open(this.#path, calls.O_RDWR | calls.O_APPEND), 'open');
    } else if (op === 'chmod') must(calls.chmod(this.#path, 0o600 + (this.#bytes.length % 0o100)), 'chmod');
    else must(op === 'sync' ? calls.fsync(this.#fd) : calls.dropPages(this.#fd), op);
    this.#checkSize();
  }

  #resize(size: number): void {
    if (size > this.#bytes.length) this.#bytes = Buffer.concat([this.#bytes, Buffer.alloc(size - this.#bytes.length)]);
    else this.#bytes = this.#bytes.subarray(0, size);
  }

  #checkSize(): void {
    for (const fd of [this.#fd, this.#appender]) same(fstatSync(fd).size, this.#bytes.length, 'size');
  }

  /** Expects that the bytes read from `at` are right, and complete if that is required. */
  #expect(at: number, read: Buffer | number): void {
    if (typeof read === 'number') throw new Error(`pread: ${calls.nameOf(read)}`);
    const wanted = this.#bytes.subarray(at, at + read.length);
    if (read.equals(wanted)) return;
    const wrong = read.findIndex((byte, i) => byte !== wanted[i]);
    const text = `byte ${at + wrong} of ${this.#bytes.length} is ${read[wrong]}, not ${wanted[wrong]}`;
    throw new Error(`${text}; read ${read.length} bytes from ${at}`);
  }
}

function must(result: number, call: string): number {
  if (result < 0) throw new Error(`${call}: ${calls.nameOf(result)}`);
  return result;
}

function same(result: number, expected: number, what: string): void {
  if (result !== expected) throw new Error(`${what}: ${result < 0 ? calls.nameOf(result) : result}, not ${expected}`);
}

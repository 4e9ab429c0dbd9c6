/** Reads the whole content of a file into a hash: large reads, and holes that cost no read. */
import { fstatSync } from 'node:fs';
import type { Hasher } from '../base/digest.ts';
import { isErrno } from '../base/errno.ts';
import { pread } from '../system/file-calls.ts';
import { systemError } from '../system/libc.ts';
import { SEEK_DATA, SEEK_HOLE, seek } from '../system/reading-writing.ts';

const CHUNK = 1 << 20;

let sharedChunk: Uint8Array | undefined;

/** This thread's buffer for reading contents, 1 MiB; its bytes are valid until the next read. */
export function chunkBuffer(): Uint8Array {
  sharedChunk ??= new Uint8Array(CHUNK);
  return sharedChunk;
}

/**
 * Reads from `position` into the beginning of `buffer`, until `length` bytes or the end of the file.
 * @returns the number of bytes read
 * @throws a `systemError`
 */
export function readUpTo(fd: number, buffer: Uint8Array, length: number, position: number): number {
  let done = 0;
  while (done < length) {
    const n = pread(fd, done === 0 ? buffer : buffer.subarray(done), length - done, position + done);
    if (isErrno(n)) throw systemError(n, 'read', '');
    if (n === 0) break;
    done += n;
  }
  return done;
}

/** A hash that accepts a run of zeros without their bytes. */
export interface ContentSink {
  update(bytes: Uint8Array): void;
  updateZeros(length: number): void;
}

/** A run of a file: bytes that are stored, or a hole that reads as zeros. */
export interface Segment {
  readonly offset: number;
  readonly length: number;
  readonly hole: boolean;
}

/**
 * The segments of the first `limit` bytes of `fd`, or of all if it has fewer, in order. One data segment if the file
 * has no holes or does not report them.
 */
export function* segmentsOf(fd: number, limit: number): Generator<Segment> {
  const stat = fstatSync(fd);
  const size = Math.min(limit, stat.size);
  if (size < CHUNK || stat.blocks * 512 >= size) {
    if (size > 0) yield { offset: 0, length: size, hole: false };
    return;
  }
  for (let offset = 0; offset < size; ) {
    const found = seek(fd, offset, SEEK_DATA);
    const data = isErrno(found) ? (found === ENXIO ? size : offset) : Math.min(found, size);
    if (data > offset) yield { offset, length: data - offset, hole: true };
    if (data === size) return;
    const hole = seek(fd, data, SEEK_HOLE);
    const end = isErrno(hole) || hole <= data ? size : Math.min(hole, size);
    yield { offset: data, length: end - data, hole: false };
    offset = end;
  }
}
/** lseek(2): the offset is beyond the last data. */
const ENXIO = -6;

/**
 * Feeds the first `size` bytes of `fd` to `sink`.
 * @returns the bytes fed: fewer than `size` if the file has become shorter
 * @throws a `systemError`
 */
export function readContent(fd: number, size: number, sink: ContentSink): number {
  const buffer = chunkBuffer();
  let end = 0;
  for (const { offset, length, hole } of segmentsOf(fd, size)) {
    end = offset + length;
    if (hole) {
      sink.updateZeros(length);
      continue;
    }
    for (let done = 0; done < length; ) {
      const n = pread(fd, buffer, Math.min(length - done, buffer.length), offset + done);
      if (isErrno(n)) throw systemError(n, 'read', '');
      if (n === 0) return offset + done;
      sink.update(buffer.subarray(0, n));
      done += n;
    }
  }
  return end;
}

/** Bytes of a hole between two calls of `onBytes`. */
const ZEROS_AT_ONCE = 1 << 28;

/**
 * `sink`, with an observer of its input.
 * @param onBytes called before each piece with its size; may throw to stop the work
 */
export function watched(sink: ContentSink, onBytes: (length: number) => void): ContentSink {
  return {
    update: (bytes) => {
      onBytes(bytes.length);
      sink.update(bytes);
    },
    updateZeros: (length) => {
      for (let left = length; left > 0; left -= ZEROS_AT_ONCE) {
        const n = Math.min(left, ZEROS_AT_ONCE);
        onBytes(n);
        sink.updateZeros(n);
      }
    },
  };
}

const zeroChunk: Uint8Array = new Uint8Array(65536);

/** A plain hash as a sink; holes are fed as zeros from memory. */
export function sinkOf(hasher: Hasher): ContentSink {
  return {
    update: (bytes) => hasher.update(bytes),
    updateZeros: (length) => {
      for (let left = length; left > 0; left -= zeroChunk.length) {
        hasher.update(left < zeroChunk.length ? zeroChunk.subarray(0, left) : zeroChunk);
      }
    },
  };
}

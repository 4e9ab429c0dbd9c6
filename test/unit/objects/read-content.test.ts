import { closeSync, fstatSync, ftruncateSync, openSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { toHex } from '../../../src/base/bytes.ts';
import { blake3, createBlake3 } from '../../../src/base/digest.ts';
import {
  type ContentSink,
  chunkBuffer,
  readContent,
  type Segment,
  segmentsOf,
  sinkOf,
} from '../../../src/objects/read-content.ts';
import { Random } from '../../support/random.ts';
import { useScratch } from '../store/scratch.ts';

const MIB = 1 << 20;
const at = useScratch();
const random = new Random(7);
const opened: number[] = [];

afterEach(() => {
  for (const fd of opened.splice(0)) closeSync(fd);
});

/** A file of `size` bytes with data at `islands` only. */
function fileOf(size: number, islands: readonly (readonly [offset: number, content: Uint8Array])[]): number {
  const fd = openSync(at('file'), 'w+');
  opened.push(fd);
  for (const [offset, content] of islands) writeSync(fd, content, 0, content.length, offset);
  ftruncateSync(fd, size);
  return fd;
}

/** A sink that keeps the content, and counts the bytes that were reported as zeros without being read. */
function collector(): ContentSink & { content(): Buffer; zeros: number } {
  const parts: Buffer[] = [];
  return {
    zeros: 0,
    update: (bytes) => void parts.push(Buffer.from(bytes)),
    updateZeros(length) {
      this.zeros += length;
      parts.push(Buffer.alloc(length));
    },
    content: () => Buffer.concat(parts),
  };
}

describe('segmentsOf()', () => {
  test('returns nothing for no bytes', () => {
    expect([...segmentsOf(fileOf(0, []), 0)]).toEqual([]);
    expect([...segmentsOf(fileOf(5, [[0, Buffer.from('12345')]]), 0)]).toEqual([]);
  });

  test('returns a file without holes as one run', () => {
    const content = random.bytes(3 * MIB);
    expect([...segmentsOf(fileOf(3 * MIB, [[0, content]]), 3 * MIB)]).toEqual([
      { offset: 0, length: 3 * MIB, hole: false },
    ]);
  });

  test('does not look for holes in a small file', () => {
    expect([...segmentsOf(fileOf(MIB - 1, []), MIB - 1)]).toEqual([{ offset: 0, length: MIB - 1, hole: false }]);
  });

  test('returns a file without data as one hole', () => {
    expect([...segmentsOf(fileOf(5 * MIB, []), 5 * MIB)]).toEqual([{ offset: 0, length: 5 * MIB, hole: true }]);
  });

  test('returns holes at the beginning, between and at the end', () => {
    const data = random.bytes(4096);
    const fd = fileOf(8 * MIB, [
      [MIB, data],
      [3 * MIB, data],
    ]);
    expect([...segmentsOf(fd, 8 * MIB)]).toEqual([
      { offset: 0, length: MIB, hole: true },
      { offset: MIB, length: 4096, hole: false },
      { offset: MIB + 4096, length: 2 * MIB - 4096, hole: true },
      { offset: 3 * MIB, length: 4096, hole: false },
      { offset: 3 * MIB + 4096, length: 5 * MIB - 4096, hole: true },
    ]);
  });

  test('ends at the requested size, in data and in a hole', () => {
    const fd = fileOf(8 * MIB, [[2 * MIB, random.bytes(MIB)]]);
    expect([...segmentsOf(fd, 2 * MIB + 100)].at(-1)).toEqual({ offset: 2 * MIB, length: 100, hole: false });
    expect([...segmentsOf(fd, MIB + 5)]).toEqual([{ offset: 0, length: MIB + 5, hole: true }]);
  });

  test('covers every byte once, in order', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(4 * MIB), fc.integer({ min: 1, max: 20_000 })), { maxLength: 6 }),
        fc.nat(4 * MIB),
        (islands, size) => {
          const fd = fileOf(
            4 * MIB,
            islands.map(([offset, length]) => [offset, random.bytes(length)]),
          );
          const segments: Segment[] = [...segmentsOf(fd, size)];
          let end = 0;
          for (const { offset, length } of segments) {
            expect(offset).toBe(end);
            expect(length).toBeGreaterThan(0);
            end += length;
          }
          expect(end).toBe(size);
        },
      ),
      { numRuns: 30 },
    );
  });
});

describe('readContent()', () => {
  test.each([0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 5])('feeds the %i bytes of a file', (size) => {
    const content = random.bytes(size);
    const sink = collector();
    expect(readContent(fileOf(size, [[0, content]]), size, sink)).toBe(size);
    expect(sink.content().equals(content)).toBe(true);
  });

  test('feeds no more than requested', () => {
    const content = random.bytes(2 * MIB);
    const sink = collector();
    expect(readContent(fileOf(2 * MIB, [[0, content]]), MIB + 7, sink)).toBe(MIB + 7);
    expect(sink.content().equals(content.subarray(0, MIB + 7))).toBe(true);
  });

  test('does not read holes', () => {
    const data = random.bytes(4096);
    const sink = collector();
    readContent(fileOf(64 * MIB, [[32 * MIB, data]]), 64 * MIB, sink);
    expect(sink.zeros).toBe(64 * MIB - 4096);
    expect(
      sink
        .content()
        .subarray(32 * MIB, 32 * MIB + 4096)
        .equals(data),
    ).toBe(true);
  });

  test.each([1000, 2 * MIB])('returns the number of bytes of a file of %i that was cut in the meantime', (size) => {
    const fd = fileOf(size, [[0, random.bytes(size)]]);
    truncateSync(at('file'), size / 2);
    const sink = collector();
    expect(readContent(fd, size, sink)).toBe(size / 2);
    expect(sink.content()).toHaveLength(size / 2);
  });

  test('does not move the position of the descriptor', () => {
    writeFileSync(at('position'), 'abc');
    const fd = openSync(at('position'), 'r');
    opened.push(fd);
    readContent(fd, 3, collector());
    const again = collector();
    expect(readContent(fd, 3, again)).toBe(3);
    expect(again.content().toString()).toBe('abc');
    expect(fstatSync(fd).size).toBe(3);
  });
});

describe('sinkOf()', () => {
  test.each([0, 1, 65535, 65536, 65537, 200_000])('hashes %i zeros from their number alone', (length) => {
    const hasher = createBlake3();
    const sink = sinkOf(hasher);
    sink.update(Buffer.from('before'));
    sink.updateZeros(length);
    sink.update(Buffer.from('after'));
    const whole = Buffer.concat([Buffer.from('before'), Buffer.alloc(length), Buffer.from('after')]);
    expect(toHex(hasher.digest())).toBe(toHex(blake3(whole)));
  });
});

describe('chunkBuffer()', () => {
  test('is one buffer of 1 MiB', () => {
    expect(chunkBuffer()).toHaveLength(MIB);
    expect(chunkBuffer()).toBe(chunkBuffer());
  });
});

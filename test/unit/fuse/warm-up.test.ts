import { describe, expect, test } from 'vitest';
import { type Filesystem, ROOT_INO } from '../../../src/fs/filesystem.ts';
import { REPLY_BUFFER_SIZE } from '../../../src/fuse/abi.ts';
import { ReplyBuffer } from '../../../src/fuse/reply.ts';
import { warmUp } from '../../../src/fuse/warm-up.ts';

/** A root directory with `count` entries that records its calls. */
function rootOf(count: number) {
  const asked: { ino: number; from: number }[] = [];
  let entries = 0;
  const fs: Pick<Filesystem, 'readdir' | 'lookup' | 'getattr'> = {
    readdir: (ino, from, _out, sink) => {
      asked.push({ ino, from });
      for (let i = from; i < count; i++) if (!sink(Buffer.from(`name ${i}`), i + 1)) return 0;
      return 0;
    },
    lookup: () => {
      entries++;
      return 0;
    },
    getattr: () => 0,
  };
  return { fs, asked, entries: () => entries };
}

const reply = new ReplyBuffer(REPLY_BUFFER_SIZE);
const LONG_MS = 600_000;

describe('warmUp()', () => {
  test.each([0, 1, 2, 63, 64, 65, 1_000, 100_000])('ends on a root of %d entries', (count) => {
    const { fs, asked, entries } = rootOf(count);
    warmUp(fs, reply, () => false, LONG_MS);
    expect(asked.every(({ ino }) => ino === ROOT_INO)).toBe(true);
    if (count > 0) expect(entries()).toBeGreaterThan(500);
    expect(entries()).toBeLessThan(3_000);
  });

  test('begins again at the end of a directory, and continues in a large one', () => {
    const small = rootOf(100);
    warmUp(small.fs, reply, () => false, LONG_MS);
    expect(small.asked.slice(0, 4).map(({ from }) => from)).toEqual([0, 64, 100, 0]);
  });

  test('does nothing if a request waits, and stops when one comes', () => {
    const { fs, asked } = rootOf(1_000);
    warmUp(fs, reply, () => true, LONG_MS);
    expect(asked).toEqual([]);
    warmUp(fs, reply, () => asked.length === 3, LONG_MS);
    expect(asked.length).toBe(3);
  });

  test('stops when its time is over', () => {
    const { fs, asked } = rootOf(1_000);
    warmUp(fs, reply, () => false, 0);
    expect(asked).toEqual([]);
  });
});

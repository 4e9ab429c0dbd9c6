/** The contract's part on the contents of files. */
import { execFile, execFileSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { Random } from '../random.ts';
import { BOUNDARY_SIZES } from '../tree-oddities.ts';
import { codeOf, type Subject } from './filesystem-subject.ts';

const READERS = 8;

/** Reads `length` bytes at `offset`, with one pread(2). */
function readAt(fd: number, offset: number, length: number): Buffer {
  const buffer = Buffer.alloc(length);
  return buffer.subarray(0, readSync(fd, buffer, 0, length, offset));
}

function withFile<T>(path: string, use: (fd: number) => T): T {
  const fd = openSync(path, 'r');
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}

/** Maps each file named on stdin, privately and shared, and prints its digest; an empty file cannot be mapped. */
const MMAP_DIGESTS = `
import sys, mmap, hashlib, os
for name in sys.stdin.read().split('\\n'):
    with open(name, 'rb') as f:
        size = os.fstat(f.fileno()).st_size
        for flags in (mmap.MAP_PRIVATE, mmap.MAP_SHARED):
            data = b'' if size == 0 else mmap.mmap(f.fileno(), size, flags, mmap.PROT_READ)
            print(os.path.basename(name), hashlib.sha256(data).hexdigest())
`;

export function contentTests(subject: Subject): void {
  const { all } = subject;
  const inSource = (path: string): string => join(all.source, path);
  const inMount = (path: string): string => join(all.mount, path);

  describe('a file', () => {
    test.each(BOUNDARY_SIZES)(
      'of %d bytes returns nothing at and beyond its end, and the bytes that remain before it',
      (size) => {
        const content = readFileSync(inSource(`odd/sizes/${size}`));
        withFile(inMount(`odd/sizes/${size}`), (fd) => {
          for (const beyond of [0, 1, 4095, 4096, 1_000_000, 2 ** 40]) {
            expect(readAt(fd, size + beyond, 4096)).toHaveLength(0);
          }
          for (const before of [1, 7, 4096, 70_000]) {
            const offset = Math.max(0, size - before);
            expect(readAt(fd, offset, 200_000).equals(content.subarray(offset, offset + 200_000))).toBe(true);
          }
        });
      },
    );

    test('returns the right bytes at any offset and length', () => {
      const random = new Random(7);
      for (const size of [65, 4097, 65_537, (1 << 20) + 1]) {
        const content = readFileSync(inSource(`odd/sizes/${size}`));
        withFile(inMount(`odd/sizes/${size}`), (fd) => {
          for (let i = 0; i < 150; i++) {
            const offset = random.integer(0, size);
            const length = random.integer(1, random.pick([10, 5000, 300_000]));
            expect(readAt(fd, offset, length).equals(content.subarray(offset, offset + length))).toBe(true);
          }
        });
      }
    });

    test('that is sparse reads as zeros in its holes', () => {
      for (const name of ['only-hole', 'hole-first', 'hole-last', 'holes', 'zeros']) {
        expect(readFileSync(inMount(`odd/sparse/${name}`)).equals(readFileSync(inSource(`odd/sparse/${name}`)))).toBe(
          true,
        );
      }
    });

    test('can be mapped into memory', () => {
      const digests = (directory: string): string => {
        const files = readdirSync(directory).map((name) => join(directory, name));
        return execFileSync('python3', ['-c', MMAP_DIGESTS], { input: files.join('\n'), encoding: 'utf8' });
      };
      const mapped = digests(inMount('odd/sizes')).split('\n').sort();
      expect(mapped).toEqual(digests(inSource('odd/sizes')).split('\n').sort());
      expect(mapped.length).toBeGreaterThan(2 * BOUNDARY_SIZES.length);
    });

    test('runs if it is a program', () => {
      const output = execFileSync(join(subject.plain.mount, 'program'), ['from the mount'], { encoding: 'utf8' });
      expect(output).toBe('from the mount\n');
    });

    test('can be open many times at once, each with its own position', () => {
      const path = inMount('odd/sizes/65537');
      const content = readFileSync(inSource('odd/sizes/65537'));
      const fds = Array.from({ length: 50 }, () => openSync(path, 'r'));
      try {
        fds.forEach((fd, i) => {
          const buffer = Buffer.alloc(i + 1);
          for (let at = 0; at < 3; at++) {
            expect(readSync(fd, buffer, 0, i + 1, null)).toBe(i + 1);
            expect(buffer.equals(content.subarray(at * (i + 1), (at + 1) * (i + 1)))).toBe(true);
          }
        });
      } finally {
        for (const fd of fds) closeSync(fd);
      }
    });
  });

  test('a directory cannot be read as a file, and a file cannot be listed', () => {
    withFile(inMount('odd'), (fd) => expect(codeOf(() => readAt(fd, 0, 10))).toBe('EISDIR'));
    expect(codeOf(() => readdirSync(inMount('odd/types/regular')))).toBe('ENOTDIR');
  });

  test(`${READERS} processes read everything at once, each correctly`, async () => {
    const script =
      'cd "$1" && find tree odd/sizes odd/sparse -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum';
    const digest = async (directory: string): Promise<string> =>
      (await promisify(execFile)('bash', ['-o', 'pipefail', '-c', script, 'sh', directory])).stdout;
    const expected = await digest(all.source);
    const results = await Promise.all(Array.from({ length: READERS }, () => digest(all.mount)));
    expect(results).toEqual(results.map(() => expected));
  });
}

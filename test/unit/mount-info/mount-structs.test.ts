/** The structures in which a mount describes itself: they are read back as written, and no bytes make reading throw. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toHex } from '../../../src/base/bytes.ts';
import { HASH_ALGORITHMS } from '../../../src/base/digest.ts';
import type { FileHandle } from '../../../src/base/handle-format.ts';
import { commandNumber, MAX_IOCTL_SIZE } from '../../../src/base/ioctl-command.ts';
import { decodeFile, encodeFile, FILE_SIZE, type FileRecord } from '../../../src/mount-info/file-record.ts';
import {
  CFS_IOC_FILE,
  CFS_IOC_MOUNT,
  CFS_IOC_SOURCE,
  NR_FILE,
  NR_MOUNT,
  NR_SOURCE,
} from '../../../src/mount-info/mount-ioctls.ts';
import { decodeMount, encodeMount, MOUNT_SIZE, type MountRecord } from '../../../src/mount-info/mount-record.ts';
import { decodeSource, encodeSource, SOURCE_SIZE, type SourceRecord } from '../../../src/mount-info/source-record.ts';
import { uuidText } from '../../../src/system/file-system-uuid.ts';

const u32 = fc.nat(2 ** 32 - 1);
const number = fc.maxSafeInteger().map(Math.abs);
/** Bytes of a path or name: all except NUL. */
const text = (minLength: number, maxLength: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength, maxLength, min: 1 });
/** Short ones, and the longest that fit. */
const path = fc.oneof(
  { weight: 12, arbitrary: text(1, 40) },
  { weight: 1, arbitrary: fc.constant(new Uint8Array(4095).fill(0x61)) },
);
const ascii = (maxLength: number): fc.Arbitrary<string> =>
  fc.string({ minLength: 1, maxLength, unit: 'grapheme-ascii' });
const imageId = fc.uint8Array({ minLength: 32, maxLength: 32 }).map(toHex);
const handle: fc.Arbitrary<FileHandle> = fc.record({
  type: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  bytes: fc.uint8Array({ minLength: 1, maxLength: 128 }),
});
const optional = <T>(some: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(some, { nil: undefined });

const mountRecord: fc.Arbitrary<MountRecord> = fc.record({
  pid: u32,
  sources: u32,
  imageId,
  mountpoint: path,
  options: path,
  release: ascii(31),
});

const sourceRecord: fc.Arbitrary<SourceRecord> = fc.record({
  kind: fc.constantFrom('image', 'repository'),
  index: u32,
  count: u32,
  given: path,
  path: optional(path),
  device: fc.record({ major: u32, minor: u32 }),
  ino: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fsType: ascii(31),
  fsUuid: optional(fc.uint8Array({ minLength: 16, maxLength: 16 }).map(uuidText)),
  mountId: u32,
  handle: optional(handle),
  parent: optional(fc.record({ handle, name: text(1, 255) })),
  id: ascii(79),
});

const object = fc.record({
  hash: fc.constantFrom(...HASH_ALGORITHMS),
  digest: fc.uint8Array({ minLength: 32, maxLength: 32 }),
});

const fileRecord: fc.Arbitrary<FileRecord> = fc.record({
  imageId,
  ino: number,
  generation: u32,
  size: number,
  path,
  content: optional(
    fc.record({
      object: optional(object),
      source: fc.integer({ min: -1, max: 1000 }),
      holders: fc.uniqueArray(fc.nat(63)).map((list) => list.sort((a, b) => a - b)),
      verified: fc.constantFrom('yes', 'reading', 'no', 'off'),
    }),
  ),
});

interface Struct<T> {
  readonly name: string;
  readonly size: number;
  readonly record: fc.Arbitrary<T>;
  readonly encode: (record: T) => Uint8Array;
  readonly decode: (bytes: Uint8Array) => T | undefined;
}

function describeStruct<T>({ name, size, record, encode, decode }: Struct<T>): void {
  describe(`struct ${name}`, () => {
    it('is decoded as it was encoded, also from the middle of a buffer and from a newer, larger one', () => {
      fc.assert(
        fc.property(record, fc.uint8Array({ maxLength: 64 }), (any, more) => {
          const bytes = encode(any);
          expect(bytes.length).toBe(size);
          expect(decode(bytes)).toEqual(any);
          const around = Buffer.concat([more, bytes, more]);
          expect(decode(around.subarray(more.length))).toEqual(any);
        }),
        { numRuns: 100 },
      );
    });

    it('is refused with too few bytes, or only zeros', () => {
      fc.assert(
        fc.property(record, fc.nat(size - 1), (any, length) => {
          expect(decode(encode(any).subarray(0, length))).toBeUndefined();
        }),
        { numRuns: 50 },
      );
      expect(decode(new Uint8Array(size))).toBeUndefined();
    });

    it('is decoded from any bytes without an error', () => {
      fc.assert(
        fc.property(
          fc.uint8Array({ maxLength: 700 }),
          fc.uint8Array({ minLength: 4, maxLength: 4 }),
          fc.boolean(),
          (pattern, start, isRepeated) => {
            const filled = Buffer.alloc(size, isRepeated && pattern.length > 0 ? pattern : 0);
            filled.set(pattern);
            decode(pattern);
            decode(filled);
            // the first two words are right, so that the others are read
            filled.writeUInt32LE(1, 0);
            filled.set(start, 4);
            decode(filled);
            filled.writeUInt32LE(1 + ((start[0] as number) % 2), 12);
            decode(filled);
          },
        ),
        { numRuns: 300 },
      );
      for (let length = 0; length <= 200; length++) decode(new Uint8Array(length).fill(0xff));
      expect(() => decode(new Uint8Array(size).fill(0xff))).not.toThrow();
    });
  });
}

describeStruct({
  name: 'cfs_mount',
  size: MOUNT_SIZE,
  record: mountRecord,
  encode: encodeMount,
  decode: decodeMount,
});
describeStruct({
  name: 'cfs_source',
  size: SOURCE_SIZE,
  record: sourceRecord,
  encode: encodeSource,
  decode: decodeSource,
});
describeStruct({ name: 'cfs_file', size: FILE_SIZE, record: fileRecord, encode: encodeFile, decode: decodeFile });

describe('fields that do not fit', () => {
  const long = new Uint8Array(4096).fill(0x61);

  it('are left empty, and the fields beside them are unchanged', () => {
    const source = fc.sample(sourceRecord, { numRuns: 1, seed: 1 })[0] as SourceRecord;
    const name = new Uint8Array(300).fill(0x62);
    const parent = { handle: { type: 1, bytes: new Uint8Array(128).fill(7) }, name };
    const bytes = encodeSource({ ...source, path: long, given: long, id: 'x'.repeat(80), parent });
    const empty = new Uint8Array();
    expect(decodeSource(bytes)).toEqual({
      ...source,
      path: empty,
      given: empty,
      id: '',
      parent: { ...parent, name: empty },
    });
    const file = fc.sample(fileRecord, { numRuns: 1, seed: 1 })[0] as FileRecord;
    expect(decodeFile(encodeFile({ ...file, path: long }))).toEqual({ ...file, path: empty });
    const mount = fc.sample(mountRecord, { numRuns: 1, seed: 1 })[0] as MountRecord;
    expect(decodeMount(encodeMount({ ...mount, options: long }))).toEqual({ ...mount, options: empty });
  });

  it('are left out, of the holders those above 63', () => {
    const content = { object: undefined, source: 70, holders: [0, 63, 64, 70], verified: 'no' } as const;
    const record = { imageId: '0'.repeat(64), ino: 1, generation: 0, size: 0, path: Buffer.from('/'), content };
    expect(decodeFile(encodeFile(record))?.content).toEqual({ ...content, holders: [0, 63] });
  });
});

describe('commandNumber()', () => {
  it('is that of the command, for any size that the caller knows', () => {
    const commands = [CFS_IOC_MOUNT, CFS_IOC_SOURCE, CFS_IOC_FILE] as const;
    expect(commands.map(commandNumber)).toEqual([NR_MOUNT, NR_SOURCE, NR_FILE]);
    for (const command of commands) {
      fc.assert(
        fc.property(fc.nat(MAX_IOCTL_SIZE), (size) => {
          const other = ((command & 0xc000ffff) | (size << 16)) >>> 0;
          expect(commandNumber(other)).toBe(commandNumber(command));
        }),
      );
    }
  });

  it('is -1 for commands of another type or direction', () => {
    // FIGETBSZ, FS_IOC_GETFLAGS, FS_IOC_GETFSUUID, BTRFS_IOC_FS_INFO
    for (const command of [2, 0x80086601, 0x80111500, 0x8400941f, CFS_IOC_MOUNT & 0x7fffffff, CFS_IOC_MOUNT ^ 0x100]) {
      expect(commandNumber(command >>> 0)).toBe(-1);
    }
  });
});

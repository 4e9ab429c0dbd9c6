/**
 * Handles that the mount never issued: random bytes, changed ones, those of other images. None may open another file.
 */
import { closeSync, fstatSync, openSync, readFileSync, statSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { concatBytes } from '../../src/base/bytes.ts';
import { errnoName, isErrno } from '../../src/base/errno.ts';
import {
  FILEID_INO64_GEN,
  FILEID_INO64_GEN_PARENT,
  FILEID_IS_CONNECTABLE,
  FILEID_IS_DIR,
  type FileHandle,
  formatHandle,
  fuseHandle,
  fuseIdentity,
} from '../../src/base/handle-format.ts';
import { AT_HANDLE_CONNECTABLE } from '../../src/system/file-handle.ts';
import { O_PATH } from '../../src/system/libc.ts';
import { Random } from '../support/random.ts';
import { generateTree } from '../support/tree-generator.ts';
import {
  closeAfterEach,
  entriesBelow,
  handleOf,
  handleOfFd,
  hasConnectableHandles,
  openHandle,
} from './handle-calls.ts';
import { expectEqual, type Mounted, useScratch } from './harness.ts';
import { dropCaches, isAlive } from './system.ts';

const scratch = useScratch();
closeAfterEach();

const source = scratch.at('tree');
const KINDS = hasConnectableHandles ? [0, AT_HANDLE_CONNECTABLE] : [0];
let image: string;
let mounted: Mounted;
let log: string;
/** Handles of every name of the mount, plain and connectable. */
let valid: FileHandle[];
/** The inodes that they name: "id generation". */
let known: Set<string>;

const nameOf = (handle: FileHandle): string => {
  const identity = fuseIdentity(handle);
  return identity === undefined ? formatHandle(handle) : `${identity.id} ${identity.generation}`;
};

beforeAll(async () => {
  generateTree(source, { seed: 6, oddities: true, deep: 5 });
  image = (await scratch.pack(source)).image;
  log = scratch.at('log');
  mounted = await scratch.mount(image, { args: ['--log', log] });
  const paths = ['', ...[...entriesBelow(mounted.path)].map(({ path }) => path)].map((path) =>
    Buffer.concat([Buffer.from(mounted.path), Buffer.from(path as string)]),
  );
  valid = paths.flatMap((path) => KINDS.map((flags) => handleOf(path, flags)));
  known = new Set(valid.map(nameOf));
});

/** The inode by the bytes that the kernel reads: whole words, the first three of which name the inode. */
const namedBy = ({ bytes }: FileHandle): string => nameOf({ type: FILEID_INO64_GEN, bytes: bytes.subarray(0, 12) });

let tried = 0;

/**
 * Opens any handle. It must be refused, or open exactly the inode that its first words name.
 * @returns the name of the error, or "opened"
 */
function attempt(handle: FileHandle, at = mounted.path): string {
  tried++;
  const fd = openHandle(at, handle, O_PATH);
  const text = formatHandle(handle);
  if (isErrno(fd)) {
    const name = errnoName(fd);
    if (!['ESTALE', 'EINVAL'].includes(name)) throw new Error(`${text}: ${name}`);
    return name;
  }
  const opened = handleOfFd(fd);
  const stat = fstatSync(fd);
  const wanted = namedBy(handle);
  if (nameOf(opened) !== wanted || wanted.split(' ')[0] !== String(stat.ino) || !known.has(wanted)) {
    throw new Error(`${text} opened ${formatHandle(opened)}, inode ${stat.ino}`);
  }
  return 'opened';
}

function outcomes(handles: Iterable<FileHandle>, at = mounted.path): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const handle of handles) {
    const outcome = attempt(handle, at);
    counts[outcome] = (counts[outcome] ?? 0) + 1;
  }
  return counts;
}

const bytesOf = (...words: readonly number[]): Uint8Array => {
  const bytes = Buffer.alloc(words.length * 4);
  words.forEach((word, i) => {
    bytes.writeUInt32LE(word >>> 0, i * 4);
  });
  return bytes;
};

describe('a handle', () => {
  test('of each name opens that inode', () => {
    expect(outcomes(valid)).toEqual({ opened: valid.length });
  });

  const flipped = ({ type, bytes }: FileHandle, bit: number): FileHandle => {
    const changed = Uint8Array.from(bytes);
    changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
    return { type, bytes: changed };
  };

  test('with one bit of id or generation changed is refused', () => {
    const some = new Random(1).shuffled(valid).slice(0, 40);
    const handles = some.flatMap((handle) => Array.from({ length: 96 }, (_, bit) => flipped(handle, bit)));
    expect(outcomes(handles)).toEqual({ ESTALE: handles.length });
  });

  const connectable = test.runIf(hasConnectableHandles);

  connectable('with one bit of the parent changed is refused, unless the kernel knows a name already', async () => {
    const name = 'odd/types/regular';
    const handle = handleOf(mounted.at(name), AT_HANDLE_CONNECTABLE);
    const handles = Array.from({ length: 96 }, (_, bit) => flipped(handle, 96 + bit));
    // an open file keeps its name in the kernel's cache, which other tests drop
    const fd = openSync(mounted.at(name), 'r');
    expect(outcomes(handles)).toEqual({ opened: 96 });
    closeSync(fd);
    const unseen = await scratch.mount(image);
    expect(outcomes(handles, unseen.path)).toEqual({ ESTALE: 96 });
  });

  test('of each type from 0 to 0x100: both types of FUSE open, with and without a parent after the inode', () => {
    const [file, parent] = [handleOf(mounted.at('odd/types/regular')), handleOf(mounted.at('odd/types'))];
    const types = Array.from({ length: 0x101 }, (_, type) => type);
    for (const bytes of [file.bytes, concatBytes(file.bytes, parent.bytes)]) {
      const opened = types.filter((type) => attempt({ type, bytes }) === 'opened');
      expect(opened).toEqual([FILEID_INO64_GEN, FILEID_INO64_GEN_PARENT]);
    }
  });

  connectable('with flags that no handle has is EINVAL', () => {
    const [{ bytes }] = valid as [FileHandle];
    const bits = Array.from({ length: 14 }, (_, i) => 1 << (i + 18));
    expect(outcomes(bits.map((bit) => ({ type: FILEID_INO64_GEN | bit, bytes })))).toEqual({ EINVAL: 14 });
  });

  connectable('with the flags of connectable ones opens what these allow only', () => {
    const flags = [FILEID_IS_CONNECTABLE, FILEID_IS_DIR, FILEID_IS_CONNECTABLE | FILEID_IS_DIR];
    for (const plain of valid.filter(({ type }) => type === FILEID_INO64_GEN)) {
      dropCaches();
      const isDirectory = fuseIdentity(plain)?.generation === 0;
      for (const flag of flags) {
        const outcome = attempt({ type: plain.type | flag, bytes: plain.bytes });
        // a directory can be connected to the root without more; a file needs the parent, or a known name
        if (isDirectory) expect(outcome).toBe('opened');
        else if ((flag & FILEID_IS_DIR) !== 0) expect(outcome).toBe('ESTALE');
      }
    }
  });

  test('of every length opens if it holds an identity, and is at most 128 bytes long', () => {
    for (const whole of [handleOf(mounted.at('odd/types/regular')), handleOf(mounted.at('odd'))]) {
      const lengths = Array.from({ length: 140 }, (_, length) => {
        const bytes = new Uint8Array(length);
        bytes.set(whole.bytes.subarray(0, length));
        return attempt({ type: whole.type, bytes });
      });
      // the kernel counts whole words, and ignores those after the third
      const expected = (length: number): string =>
        length === 0 || length > 128 ? 'EINVAL' : length < 12 ? 'ESTALE' : 'opened';
      expect(lengths).toEqual(lengths.map((_, length) => expected(length)));
    }
  });

  test('with another generation, for every inode', () => {
    const random = new Random(2);
    const handles = valid.flatMap((handle) => {
      const { id, generation } = fuseIdentity(handle) as { id: number; generation: number };
      return [generation + 1, generation ^ 0x8000_0000, 0, random.bits()]
        .map((other) => other >>> 0)
        .filter((other) => other !== generation)
        .map((other) => fuseHandle({ id, generation: other }));
    });
    expect(outcomes(handles)).toEqual({ ESTALE: handles.length });
  });

  test('with ids of no inode: 0, beyond 52 bits, next to existing ids', () => {
    const odd = [0, 0x8000_0000, 0xffff_ffff, 0x0010_0000, 0x0020_0000, 0x0100_0000];
    const handles = valid.flatMap(({ bytes }) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      const [high, low, generation] = [0, 4, 8].map((at) => view.getUint32(at, true)) as [number, number, number];
      return [
        ...odd.filter((bits) => bits !== 0).map((bits) => bytesOf(high ^ bits, low, generation)),
        bytesOf(0, 0, generation),
        bytesOf(high, low + 1, generation),
        bytesOf(high, low - 1, generation),
        bytesOf(low, high, generation),
      ];
    });
    const counts = outcomes(handles.map((bytes) => ({ type: FILEID_INO64_GEN, bytes })));
    // root's words are 0, 1, 0: no other handle may open it
    expect(counts).toEqual({ ESTALE: handles.length });
  });

  test('of random bytes, lengths and types is refused', () => {
    const random = new Random(3);
    const types = [0, 1, 0x81, 0x82, 0xff, 0xfe, 0x10082, 0x30081, 0x20081, 0x40081, -1];
    const handles = Array.from({ length: 8000 }, () => {
      const type = random.integer(0, 3) === 0 ? random.bits() | 0 : random.pick(types);
      return { type, bytes: random.bytes(random.pick([1, 4, 8, 11, 12, 13, 24, 25, 64, 128])) };
    });
    const { EINVAL = 0, ESTALE = 0, ...others } = outcomes(handles);
    expect(others).toEqual({});
    expect(EINVAL).toBeGreaterThan(1000);
    expect(ESTALE).toBeGreaterThan(1000);
  });

  test('of random pieces of valid handles is refused, or is the inode that it names', () => {
    const random = new Random(4);
    const words = valid.flatMap(({ bytes }) =>
      Array.from({ length: bytes.length / 4 }, (_, i) => bytes.subarray(i * 4, i * 4 + 4)),
    );
    const types = [FILEID_INO64_GEN, FILEID_INO64_GEN_PARENT, ...new Set(valid.map(({ type }) => type))];
    const handles = Array.from({ length: 8000 }, (_, i) => {
      if (i % 1000 === 0) dropCaches();
      const whole = random.pick(valid).bytes;
      const pieces = Array.from({ length: random.integer(1, 7) }, () => random.pick(words));
      const bytes = random.integer(0, 1) === 0 ? Buffer.concat(pieces) : Buffer.concat([whole, ...pieces]);
      return { type: random.pick(types), bytes };
    });
    const { EINVAL: _, ...others } = outcomes(handles);
    expect(Object.keys(others).sort()).toEqual(['ESTALE', 'opened']);
  });

  test('of another image opens only if that has the same file at the same path', async () => {
    const otherSource = scratch.at('other');
    generateTree(otherSource, { seed: 7, oddities: true, files: 300, directories: 20 });
    const other = await scratch.mount((await scratch.pack(otherSource)).image);
    const handles = [...entriesBelow(other.path)].map(({ path }) =>
      handleOf(Buffer.concat([Buffer.from(other.path), path])),
    );
    const shared = handles.filter((handle) => known.has(nameOf(handle)));
    expect(shared.length).toBeGreaterThan(50);
    expect(handles.length - shared.length).toBeGreaterThan(300);
    expect(outcomes(handles)).toEqual({ opened: shared.length, ESTALE: handles.length - shared.length });
  });
});

test('after all this the daemon serves the whole tree, and has logged nothing', async () => {
  expect(tried).toBeGreaterThan(25_000);
  expect(isAlive(mounted.pid)).toBe(true);
  await expectEqual(source, mounted.path);
  expect(statSync(log).size, readFileSync(log, 'utf8')).toBe(0);
});

/** Packs are built, planned and read: every object comes out as it was. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { toHex } from '../../../src/base/bytes.ts';
import { blake3 } from '../../../src/base/digest.ts';
import { LARGE, planFetch, REQUEST_BYTES, requestsOf } from '../../../src/remote/fetch-plan.ts';
import {
  decodeMap,
  encodeMap,
  FRAME_BYTES,
  framesOf,
  type ObjectMap,
  PACK_BYTES,
} from '../../../src/remote/map-format.ts';
import { decompressFrame } from '../../../src/system/zstd.ts';
import { OWN_PACKS, PackBuilder } from '../../../src/transfer/pack-builder.ts';
import { Random } from '../../support/random.ts';

const image = blake3(Buffer.from('image'));

async function build(contents: readonly Uint8Array[]) {
  const packs = new Map<string, Uint8Array>();
  const frameOf = new Uint32Array(contents.length);
  const offsetOf = new Uint32Array(contents.length);
  const builder = new PackBuilder(1, { frameOf, offsetOf }, async ({ digest, bytes }) => {
    packs.set(toHex(digest), Uint8Array.from(bytes));
  });
  for (const [row, content] of contents.entries()) {
    if (content.length < OWN_PACKS) await builder.add(row, content);
    else await builder.addLarge(row, piecesOf(content));
  }
  const hot = new Uint32Array(0);
  const made = { hash: 'blake3' as const, image, ...(await builder.end()), frameOf, offsetOf, hot };
  const sizes = Float64Array.from(contents, ({ length }) => length);
  // every check of the format
  const map = decodeMap(encodeMap(made), { hash: 'blake3', image, sizes });
  return { map, packs, sizes };
}

function* piecesOf(content: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < content.length; at += FRAME_BYTES) yield content.subarray(at, at + FRAME_BYTES);
}

/** The content of an object, from the bytes that requests got. */
function read(
  map: ObjectMap,
  row: number,
  size: number,
  bytesAt: (frame: number, at: number, length: number) => Uint8Array,
) {
  const { frames, frameOf, offsetOf } = map;
  const first = frameOf[row] as number;
  const parts: Uint8Array[] = [];
  for (let frame = first; frame < first + framesOf(size); frame++) {
    const [stored, raw] = [frames.stored[frame] as number, frames.raw[frame] as number];
    const bytes = bytesAt(frame, frames.offset[frame] as number, stored);
    const content = new Uint8Array(raw);
    if (stored === raw) content.set(bytes);
    else expect(decompressFrame(bytes, content)).toBe(raw);
    parts.push(content);
  }
  const offset = offsetOf[row] as number;
  return Buffer.concat(parts).subarray(offset, offset + size);
}

function check(
  contents: readonly Uint8Array[],
  { map, packs, sizes }: Awaited<ReturnType<typeof build>>,
  rows: readonly number[],
) {
  const packOf = (frame: number): Uint8Array => {
    const { digest } = map.packs[map.frames.pack[frame] as number] as ObjectMap['packs'][number];
    return packs.get(toHex(digest)) as Uint8Array;
  };
  const seen: number[] = [];
  for (const { kind, pack, from, length, rows: inTask } of planFetch(map, sizes, rows)) {
    expect(kind).not.toBe('alone');
    expect(length).toBeLessThanOrEqual(REQUEST_BYTES);
    for (const row of inTask) {
      seen.push(row);
      const size = sizes[row] as number;
      const requests = kind === 'part' ? [] : [...requestsOf(map, map.frameOf[row] as number, size)];
      const content = read(map, row, size, (frame, at, stored) => {
        const request = requests.find(({ first, last }) => first <= frame && frame <= last) ?? { from, length };
        if (kind === 'part') expect(map.frames.pack[frame]).toBe(pack);
        expect(at).toBeGreaterThanOrEqual(request.from);
        expect(at + stored).toBeLessThanOrEqual(request.from + request.length);
        return packOf(frame).subarray(at, at + stored);
      });
      expect(Buffer.compare(content, contents[row] as Uint8Array)).toBe(0);
    }
  }
  expect(seen.sort((a, b) => a - b)).toEqual([...rows]);
}

const SIZES = [1, 100, 5000, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 200_000, LARGE - 1, LARGE, 3_000_001];

test('objects of any sizes, all or some of them, come out as they were', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.constantFrom(...SIZES), fc.boolean(), fc.boolean()), { minLength: 1, maxLength: 12 }),
      fc.nat(),
      async (shapes, seed) => {
        const random = new Random(seed);
        const contents = shapes.map(([size, isRandom], i) =>
          isRandom ? random.bytes(size) : new Uint8Array(Buffer.alloc(size, `text ${i} `)),
        );
        const built = await build(contents);
        const wanted = shapes.flatMap(([, , isWanted], i) => (isWanted ? [i] : []));
        check(contents, built, [...contents.keys()]);
        check(contents, built, wanted);
      },
    ),
    { numRuns: 40 },
  );
});

test('the same objects give the same packs, and no pack is larger than the format permits', async () => {
  const random = new Random(3);
  const contents = Array.from({ length: 400 }, (_, i) => random.bytes(i === 200 ? 40_000_000 : 1000 * (i % 70) + 1));
  const [first, second] = [await build(contents), await build(contents)];
  expect([...first.packs.keys()]).toEqual([...second.packs.keys()]);
  for (const bytes of first.packs.values()) expect(bytes.length).toBeLessThanOrEqual(PACK_BYTES);
  check(contents, first, [...contents.keys()]);
  // the large one has packs of its own: three of 16 MiB; all others are in two of 8 MiB
  expect(first.packs.size).toBe(5);
});

test('a large object keeps its packs when objects before it change', async () => {
  const random = new Random(4);
  const large = random.bytes(5_000_000);
  const [before, after] = [await build([random.bytes(70), large]), await build([random.bytes(71), large])];
  const common = [...before.packs.keys()].filter((name) => after.packs.has(name));
  expect(common).toHaveLength(1);
});

test('without a map, each object is a file', () => {
  const plan = planFetch(undefined, Float64Array.of(5, 700, 30), [0, 2, 1]);
  expect(plan.map(({ kind, rows }) => [kind, ...rows])).toEqual([
    ['alone', 1],
    ['alone', 2],
    ['alone', 0],
  ]);
});

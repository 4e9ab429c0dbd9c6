import fc from 'fast-check';
import { expect, test } from 'vitest';
import { blake3 } from '../../../src/base/digest.ts';
import { CfsError } from '../../../src/base/error.ts';
import { ALONE, decodeMap, encodeMap, FRAME_BYTES, mapLimit, type ObjectMap } from '../../../src/remote/map-format.ts';

const image = blake3(Buffer.from('image'));
const hash = 'blake3';

/** Objects of 10 and 20 bytes in one frame, one of three frames, and one that is a file. */
const SIZES = Float64Array.of(10, 20, 2 * FRAME_BYTES + 5, 7);
const sample = (): ObjectMap => ({
  hash,
  image,
  packs: [
    { digest: blake3(Buffer.from('a')), size: 1000 },
    { digest: blake3(Buffer.from('b')), size: 200_000 },
  ],
  frames: {
    pack: Uint32Array.of(0, 1, 1, 1),
    offset: Uint32Array.of(100, 0, 65_536, 70_000),
    stored: Uint32Array.of(25, 65_536, 1000, 5),
    raw: Uint32Array.of(30, 65_536, 65_536, 5),
  },
  frameOf: Uint32Array.of(0, 0, 1, ALONE),
  offsetOf: Uint32Array.of(0, 10, 0, 0),
  hot: Uint32Array.of(2, 0),
});
const decode = (bytes: Uint8Array, sizes = SIZES): ObjectMap => decodeMap(bytes, { hash, image, sizes });

test('what is encoded is decoded', () => {
  const bytes = encodeMap(sample());
  expect(encodeMap(decode(bytes))).toEqual(bytes);
  expect(decode(bytes).frames).toEqual(sample().frames);
  expect(bytes.length).toBeLessThanOrEqual(mapLimit(SIZES));
});

test('an object of 300 MB has a map that is not too large', () => {
  const sizes = Float64Array.of(300_000_000);
  const count = Math.ceil(300_000_000 / FRAME_BYTES);
  const each = (value: (i: number) => number): Uint32Array => Uint32Array.from({ length: count }, (_, i) => value(i));
  const frames = {
    pack: each((i) => i >> 4),
    offset: each((i) => (i & 15) * 50_000),
    stored: each(() => 20_000),
    raw: each((i) => (i < count - 1 ? FRAME_BYTES : 300_000_000 - (count - 1) * FRAME_BYTES)),
  };
  const packs = Array.from({ length: Math.ceil(count / 16) }, () => ({ digest: image, size: 800_000 }));
  const one = { frameOf: Uint32Array.of(0), offsetOf: Uint32Array.of(0), hot: Uint32Array.of(0) };
  const bytes = encodeMap({ hash, image, packs, frames, ...one });
  expect(bytes.length).toBeLessThanOrEqual(mapLimit(sizes));
  expect(decode(bytes, sizes).frames).toEqual(frames);
});

const changed = (change: (map: ObjectMap) => Partial<ObjectMap>): Uint8Array => {
  const map = sample();
  return encodeMap({ ...map, ...change(map) });
};
const frames = (change: Partial<ObjectMap['frames']>) => (map: ObjectMap) => ({ frames: { ...map.frames, ...change } });

test.each<[string, Uint8Array, string]>([
  ['nothing', new Uint8Array(0), 'not one'],
  ['something else', Buffer.alloc(200, 'x'), 'not one'],
  ['another image', changed(() => ({ image: blake3(image) })), 'another image'],
  ['another hash', changed(() => ({ hash: 'fsverity-sha256' })), 'another hash'],
  ['fewer objects', changed(() => ({ frameOf: Uint32Array.of(0), offsetOf: Uint32Array.of(0) })), 'number of rows'],
  ['a frame behind its pack', changed(frames({ offset: Uint32Array.of(976, 0, 65_536, 70_000) })), 'not in its pack'],
  ['a frame of no pack', changed(frames({ pack: Uint32Array.of(2, 1, 1, 1) })), 'not in its pack'],
  ['a frame that grows', changed(frames({ stored: Uint32Array.of(31, 65_536, 1000, 5) })), 'larger than its content'],
  [
    'a pack of 1 GiB',
    changed(({ packs }) => ({ packs: [{ ...packs[0], size: 2 ** 30 } as never, packs[1] as never] })),
    'too large',
  ],
  ['an object of no frame', changed(() => ({ frameOf: Uint32Array.of(0, 4, 1, ALONE) })), 'not in its frames'],
  ['an object over the end', changed(() => ({ offsetOf: Uint32Array.of(0, 11, 0, 0) })), 'not in its frames'],
  ['a large object in the middle', changed(() => ({ offsetOf: Uint32Array.of(0, 10, 1, 0) })), 'not in its frames'],
  [
    'a large object with a short frame',
    changed(frames({ raw: Uint32Array.of(30, 65_536, 1000, 5) })),
    'not in its frames',
  ],
  ['a large object over the end', changed(() => ({ frameOf: Uint32Array.of(0, 0, 2, ALONE) })), 'not in its frames'],
  ['more hot objects than objects', changed(() => ({ hot: new Uint32Array(5) })), 'more hot objects'],
  ['a hot object that does not exist', changed(() => ({ hot: Uint32Array.of(4) })), 'no such object'],
])('%s is refused', (_what, bytes, reason) => {
  expect(() => decode(bytes)).toThrow(reason);
});

test('a map that is cut off or damaged is refused, whatever its checksum says', () => {
  const bytes = encodeMap(sample());
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.nat(255), fc.boolean(), (at, byte, isFixed) => {
      const body = Uint8Array.from(bytes.subarray(0, bytes.length - 32));
      if (at < body.length) body[at] = byte;
      const damaged = Buffer.concat([body, isFixed ? blake3(body) : bytes.subarray(-32)]);
      try {
        const map = decode(damaged);
        // what is accepted can be used without a look at any bound
        map.frameOf.forEach((frame, i) => {
          if (frame === ALONE) return;
          const last = frame + Math.ceil((SIZES[i] as number) / FRAME_BYTES) - 1;
          expect(last).toBeLessThan(map.frames.raw.length);
          expect(map.packs[map.frames.pack[last] as number]).toBeDefined();
        });
      } catch (error) {
        if (!(error instanceof CfsError)) throw error;
      }
      expect(() => decode(bytes.subarray(0, at))).toThrow(CfsError);
    }),
    { numRuns: 2000 },
  );
});

/** Some objects, and a server that has them. */
import { concatBytes, equalBytes, toHex } from '../../../src/base/bytes.ts';
import { blake3 } from '../../../src/base/digest.ts';
import type { LazyImage } from '../../../src/remote/lazy-objects.ts';
import { encodeMap, FRAME_BYTES } from '../../../src/remote/map-format.ts';
import type { ObjectTarget, PieceSink } from '../../../src/remote/object-fetch.ts';
import { mapName, objectFile, packName } from '../../../src/remote/tree-names.ts';
import { compressFrame } from '../../../src/system/zstd.ts';
import { OWN_PACKS, PackBuilder } from '../../../src/transfer/pack-builder.ts';
import type { HostileServer } from '../../support/hostile-server.ts';
import { Random } from '../../support/random.ts';

const random = new Random(7);
/** Three that share a frame, one of two frames, one with a pack of its own. */
export const CONTENTS: readonly Buffer[] = [100, 2000, 30_000, 100_000, 1_200_000].map((size) => random.bytes(size));
export const ID: string = toHex(blake3(Buffer.from('image')));
export const IMAGE: LazyImage = {
  id: ID,
  hash: 'blake3',
  digests: concatBytes(...CONTENTS.map((content) => blake3(content))),
  sizes: Float64Array.from(CONTENTS, ({ length }) => length),
};
/** The first row, and that of the largest. */
export const FIRST = 0;
export const LARGE = 4;
export const digestOf = (row: number): Uint8Array => blake3(CONTENTS[row] as Buffer);

/** Keeps what is stored by its digest; a wrong content would have another. */
export class Memory implements ObjectTarget {
  readonly stored = new Map<string, Buffer>();

  putBytes(content: Uint8Array): void {
    this.stored.set(toHex(blake3(content)), Buffer.from(content));
  }

  begin(): PieceSink {
    const pieces: Buffer[] = [];
    return {
      write: (bytes: Uint8Array) => void pieces.push(Buffer.from(bytes)),
      finish: (expected: Uint8Array) => {
        const content = Buffer.concat(pieces);
        if (!equalBytes(blake3(content), expected)) return false;
        this.putBytes(content);
        return true;
      },
      discard: () => undefined,
    };
  }

  has(row: number): boolean {
    return this.stored.get(toHex(digestOf(row)))?.equals(CONTENTS[row] as Buffer) === true;
  }
}

function* piecesOf(content: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < content.length; at += FRAME_BYTES) yield content.subarray(at, at + FRAME_BYTES);
}

/** Puts the objects into packs of a server. @param hot rows of the map that are hot */
export async function addPacks({ files }: HostileServer, hot: readonly number[] = []): Promise<void> {
  const frameOf = new Uint32Array(CONTENTS.length);
  const offsetOf = new Uint32Array(CONTENTS.length);
  const builder = new PackBuilder(1, { frameOf, offsetOf }, async ({ digest, bytes }) => {
    files.set(packName(digest), Buffer.from(bytes));
  });
  for (const [row, content] of CONTENTS.entries()) {
    if (content.length < OWN_PACKS) await builder.add(row, content);
    else await builder.addLarge(row, piecesOf(content));
  }
  const map = { hash: 'blake3' as const, ...(await builder.end()), frameOf, offsetOf, hot: Uint32Array.from(hot) };
  const bytes = encodeMap({ ...map, image: Buffer.from(ID, 'hex') });
  const out = Buffer.alloc(bytes.length + 1000);
  files.set(mapName(ID), out.subarray(0, compressFrame(bytes, out, 1)));
}

export const addFiles = ({ files }: HostileServer): void => {
  for (const content of CONTENTS) files.set(objectFile(blake3(content)), content);
};

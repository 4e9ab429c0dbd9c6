/** Packs of a remote repository that another image of it is in: their objects need not be sent again. */
import { eachAtOnce } from '../base/each-at-once.ts';
import { CfsError } from '../base/error.ts';
import { decodeImage } from '../image/image-file.ts';
import { objectHex, objectSizes } from '../manifest/lookup.ts';
import { type ManifestTables, u64 } from '../manifest/tables.ts';
import { storedMap } from '../remote/image-map.ts';
import { FRAME_BYTES, framesOf, mapLimit, type ObjectMap } from '../remote/map-format.ts';
import { IMAGE_LIMIT } from '../remote/remote-files.ts';
import { decodeRef, imageName, mapName, packName, REF_LIMIT, refName } from '../remote/tree-names.ts';
import type { LoadedImage } from './loaded-images.ts';
import type { PackBuilder } from './pack-builder.ts';
import type { PushTarget } from './push-target.ts';
import { storedImage } from './stored-image.ts';

/** An image whose objects are in packs of the target. */
export interface KnownPacks {
  readonly tables: ManifestTables;
  readonly map: ObjectMap;
  /** Numbers of packs in the map that are not there. */
  readonly gone: ReadonlySet<number>;
}

/** The images of these names, if they are there and usable: a push works without them. */
export async function knownPacks(
  target: PushTarget,
  hash: ManifestTables['header']['hash'],
  refs: readonly string[],
  signal: AbortSignal | undefined,
): Promise<KnownPacks[]> {
  const known = new Map<string, KnownPacks>();
  for (const ref of new Set(refs)) {
    const named = await target.get(refName(ref), REF_LIMIT, signal);
    const id = named === undefined ? undefined : usable(() => decodeRef(named).image);
    if (id === undefined || known.has(id)) continue;
    const image = await target.get(imageName(id), IMAGE_LIMIT, signal);
    const tables = image && usable(() => decodeImage(id, storedImage(id, image).parts));
    if (tables?.header.hash !== hash) continue;
    const map = await knownMap(target, { id, tables }, signal);
    if (map !== undefined) known.set(id, { tables, map, gone: await packsGone(target, map, signal) });
  }
  return [...known.values()];
}

/** Requests at the same time. */
const AT_ONCE = 8;

/** The numbers of the packs of a map that the target does not have. */
export async function packsGone(
  target: PushTarget,
  { packs }: Pick<ObjectMap, 'packs'>,
  signal: AbortSignal | undefined,
): Promise<ReadonlySet<number>> {
  const gone = new Set<number>();
  await eachAtOnce(packs, AT_ONCE, async ({ digest }, pack) => {
    if (!(await target.has(packName(digest), signal))) gone.add(pack);
  });
  return gone;
}

/** The map that the target has of an image, if it is usable. It is as new afterwards, for a prune that runs beside. */
export async function knownMap(
  target: PushTarget,
  { id, tables }: Pick<LoadedImage, 'id' | 'tables'>,
  signal: AbortSignal | undefined,
): Promise<ObjectMap | undefined> {
  const image = { hash: tables.header.hash, sizes: objectSizes(tables) };
  if (!(await target.has(mapName(id), signal))) return undefined;
  const stored = await target.get(mapName(id), mapLimit(image.sizes), signal);
  return stored && usable(() => storedMap(id, stored, image));
}

/** The result; undefined if something is malformed: damage there is no reason not to push. */
function usable<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof CfsError) return undefined;
    throw error;
  }
}

/** A pack is used again if so much of its content is needed. */
const WORTH = 0.5;

/** Takes objects from the packs of another image. @returns their number */
export function reusePacks(
  builder: PackBuilder,
  { tables: old, map, gone }: KnownPacks,
  tables: ManifestTables,
  { frameOf, offsetOf, isDone }: { frameOf: Uint32Array; offsetOf: Uint32Array; isDone: Uint8Array },
): number {
  const rowOf = new Map<string, number>();
  for (let i = 0; i < isDone.length; i++) if (isDone[i] === 0) rowOf.set(objectHex(tables, i), i);
  const { frames, packs } = map;
  const all = new Float64Array(packs.length);
  const needed = new Float64Array(packs.length);
  frames.raw.forEach((raw, frame) => {
    all[frames.pack[frame] as number] = (all[frames.pack[frame] as number] as number) + raw;
  });
  const found: { readonly row: number; readonly before: number; readonly count: number }[] = [];
  map.frameOf.forEach((frame, before) => {
    const row = rowOf.get(objectHex(old, before));
    if (row === undefined || frame >= frames.raw.length) return;
    const size = u64(old.objects.size, before);
    const count = framesOf(size);
    found.push({ row, before, count });
    for (let i = 0; i < count; i++) {
      const pack = frames.pack[frame + i] as number;
      needed[pack] = (needed[pack] as number) + Math.min(size, FRAME_BYTES);
    }
  });
  const packNumber = new Map<number, number>();
  const isWorth = (pack: number): boolean =>
    !gone.has(pack) && (needed[pack] as number) >= WORTH * (all[pack] as number);
  const numberOf = (pack: number): number => {
    const { digest, size } = packs[pack] as ObjectMap['packs'][number];
    const number = packNumber.get(pack) ?? builder.addPack(digest, size);
    packNumber.set(pack, number);
    return number;
  };
  // the first frame of each run that was taken over
  const runs = new Map<string, number>();
  let count = 0;
  for (const { row, before, count: length } of found) {
    const first = map.frameOf[before] as number;
    const run = Array.from({ length }, (_, i) => first + i);
    if (!run.every((frame) => isWorth(frames.pack[frame] as number))) continue;
    const key = `${first} ${length}`;
    let at = runs.get(key);
    for (const frame of at === undefined ? run : []) {
      const number = builder.addFrame(
        numberOf(frames.pack[frame] as number),
        frames.offset[frame] as number,
        frames.stored[frame] as number,
        frames.raw[frame] as number,
      );
      at ??= number;
    }
    runs.set(key, at as number);
    frameOf[row] = at as number;
    offsetOf[row] = map.offsetOf[before] as number;
    isDone[row] = 1;
    count++;
  }
  return count;
}

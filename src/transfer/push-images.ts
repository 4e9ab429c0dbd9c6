/**
 * Writes an image and its objects to a remote repository: packs, then the map, the image, and its name. What is there
 * is not sent again, so a push that was stopped continues.
 */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fromHex, toHex } from '../base/bytes.ts';
import { isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { objectDigest, objectOf, objectSizes, walkTree } from '../manifest/lookup.ts';
import { objectsOfPaths } from '../manifest/profile.ts';
import { type ManifestTables, objectCount } from '../manifest/tables.ts';
import { readUpTo } from '../objects/read-content.ts';
import { checkShape, verifyObject } from '../objects/verify.ts';
import { ALONE, encodeMap, FRAME_BYTES, type ObjectMap } from '../remote/map-format.ts';
import { hashOfMeta, META_LIMIT } from '../remote/remote-files.ts';
import { encodeRef, imageName, META_NAME, mapName, packName, refName } from '../remote/tree-names.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import { metaText } from '../store/open-repository.ts';
import { closeFd } from '../system/descriptors.ts';
import { errnoText } from '../system/libc.ts';
import { compressFrame } from '../system/zstd.ts';
import { type KnownPacks, knownMap, knownPacks, packsGone, reusePacks } from './known-packs.ts';
import type { LoadedImage } from './loaded-images.ts';
import { OWN_PACKS, PackBuilder, type PackTables } from './pack-builder.ts';
import type { PushTarget } from './push-target.ts';
import { Uploads } from './uploads.ts';

export interface PushOptions {
  /** The name that the image gets. */
  readonly ref: string;
  /** Names of other images there, whose packs are used again. */
  readonly bases: readonly string[];
  /**
   * Paths of files that programs open first, in this order: their objects are hot. Undefined: those of a map that is
   * there, if it can stay; else none.
   */
  readonly profile?: readonly Uint8Array[] | undefined;
  /** Of zstd, 1 to 19. */
  readonly level: number;
  /** Files that are written at the same time. */
  readonly uploads: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: PushProgress) => void) | undefined;
}

export interface PushProgress {
  /** Objects and bytes of them that are in packs now. */
  readonly objects: number;
  readonly bytes: number;
}

export interface Pushed {
  readonly id: string;
  /** Objects of the image, and those of them that packs had that were there. */
  readonly objects: number;
  readonly reused: number;
  /** Objects that the map lists as hot. */
  readonly hot: number;
  /** Files that were written, and their bytes; and packs that were there already. */
  readonly files: number;
  readonly bytes: number;
  readonly existingPacks: number;
}

/**
 * Pushes an image. Every object is verified before it is sent.
 * @throws CfsError: `store` if an object is missing or damaged, or the target cannot be written; the reason of the
 *   signal
 */
export async function pushImage(
  repository: LocalRepository,
  image: LoadedImage,
  target: PushTarget,
  options: PushOptions,
): Promise<Pushed> {
  const { signal } = options;
  const uploads = new Uploads(target, options.uploads, signal);
  try {
    await checkTarget(target, image, uploads, signal);
    const objects = objectCount(image.tables);
    const wanted = options.profile && objectsOfPaths(image.tables, options.profile);
    let reused = objects;
    const own = await ownPacks(target, image, signal);
    let hot: ArrayLike<number> = own?.map.hot ?? [];
    // A map stays as it is, but for other hot objects: readers may have it in memory, or in a cache. The packs that it
    // leads to stay there for them.
    if (own === undefined || !isComplete(own) || (wanted !== undefined && !isSame(hot, wanted))) {
      hot = wanted ?? hot;
      const others = await knownPacks(target, image.tables.header.hash, [options.ref, ...options.bases], signal);
      const known = own === undefined ? others : [own, ...others];
      const packed = await pack(repository, image, known, hot, uploads, options);
      reused = packed.reused;
      // what a name leads to is complete before the name is there
      await uploads.done();
      // packs that were there may have been deleted since
      const [gone] = await packsGone(target, packed.map, signal);
      if (gone !== undefined) {
        const name = packName((packed.map.packs[gone] as ObjectMap['packs'][number]).digest);
        throw new CfsError('store', `Cannot push to ${target.text}: ${name} was deleted in the meantime`, {
          hint: 'The next run sends it.',
        });
      }
      await uploads.write(mapName(image.id), compressed(encodeMap(packed.map)));
    }
    await uploads.write(imageName(image.id), compressed(readImageFile(image)));
    await uploads.write(refName(options.ref), encodeRef({ image: image.id }));
    return { id: image.id, objects, reused, hot: hot.length, ...uploads.statistics };
  } finally {
    await uploads.end();
  }
}

/** The map that the target has of the image. */
async function ownPacks(
  target: PushTarget,
  image: LoadedImage,
  signal: AbortSignal | undefined,
): Promise<KnownPacks | undefined> {
  const map = await knownMap(target, image, signal);
  return map && { tables: image.tables, map, gone: await packsGone(target, map, signal) };
}

const isComplete = ({ map, gone }: KnownPacks): boolean => gone.size === 0 && !map.frameOf.includes(ALONE);

const isSame = (some: ArrayLike<number>, others: readonly number[]): boolean =>
  some.length === others.length && others.every((row, i) => some[i] === row);

const OUT_LEVEL = 9;

function compressed(bytes: Uint8Array): Uint8Array {
  // an incompressible content grows by less than this
  const out = new Uint8Array(bytes.length + (bytes.length >>> 7) + 1024);
  return out.subarray(0, compressFrame(bytes, out, OUT_LEVEL));
}

function readImageFile({ path }: LoadedImage): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new CfsError('image', `Cannot read image ${path}: ${reasonOf(error)}`, { cause: error });
  }
}

/** Makes the repository, if there is none; else checks that it names objects as the image does. */
export async function checkTarget(
  target: PushTarget,
  { path, tables }: Pick<LoadedImage, 'path' | 'tables'>,
  uploads: Uploads,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { hash } = tables.header;
  const meta = await target.get(META_NAME, META_LIMIT, signal);
  if (meta === undefined) return await uploads.write(META_NAME, metaText({ hash, uuid: randomUUID() }));
  const there = hashOfMeta(meta);
  if (there === hash) return;
  const reason = there === undefined ? 'its meta.json is not one of cfs' : `it names objects by ${there}`;
  throw new CfsError('store', `Cannot write image ${path} to ${target.text}: ${reason}; the image, by ${hash}`);
}

/** The objects of an image by the path of their first file. */
function inPathOrder(tables: ManifestTables): number[] {
  const rows: number[] = [];
  const seen = new Uint8Array(objectCount(tables));
  walkTree(tables, ({ row, first }) => {
    const object = first ? objectOf(tables, row) : -1;
    if (object < 0 || seen[object] !== 0) return;
    seen[object] = 1;
    rows.push(object);
  });
  return rows;
}

async function pack(
  repository: LocalRepository,
  { id, tables }: LoadedImage,
  known: readonly KnownPacks[],
  hot: ArrayLike<number>,
  uploads: Uploads,
  { level, signal, onProgress }: PushOptions,
): Promise<{ readonly map: ObjectMap; readonly reused: number }> {
  const sizes = objectSizes(tables);
  const frameOf = new Uint32Array(sizes.length);
  const offsetOf = new Uint32Array(sizes.length);
  const builder = new PackBuilder(level, { frameOf, offsetOf }, async ({ digest, bytes }) => {
    await uploads.begin(packName(digest), bytes);
  });
  const isDone = new Uint8Array(sizes.length);
  let reused = 0;
  // they get packs of their own, but for large ones, which have them anyway
  const together = Array.from(hot).filter((row) => (sizes[row] as number) < OWN_PACKS);
  for (const row of together) isDone[row] = 1;
  for (const base of known) reused += reusePacks(builder, base, tables, { frameOf, offsetOf, isDone });
  for (const row of together) isDone[row] = 0;
  let objects = reused;
  let bytes = 0;
  for (let i = 0; i < sizes.length; i++) if (isDone[i] !== 0) bytes += sizes[i] as number;
  const buffer = new Uint8Array(OWN_PACKS);
  const add = async (row: number): Promise<void> => {
    if (isDone[row] !== 0) return;
    signal?.throwIfAborted();
    const size = sizes[row] as number;
    await withObject(repository, objectDigest(tables, row), size, async (fd, fail) => {
      const read = (at: number, length: number): Uint8Array => {
        if (readUpTo(fd, buffer, length, at) !== length) throw fail('it became shorter while it was read');
        return buffer.subarray(0, length);
      };
      if (size < OWN_PACKS) await builder.add(row, read(0, size));
      else await builder.addLarge(row, piecesOf(size, read));
    });
    isDone[row] = 1;
    objects++;
    bytes += size;
    onProgress?.({ objects, bytes });
  };
  for (const row of Array.from(hot)) await add(row);
  await builder.endPack();
  for (const row of inPathOrder(tables)) await add(row);
  const packed: PackTables = await builder.end();
  const map = {
    hash: tables.header.hash,
    image: fromHex(id),
    ...packed,
    frameOf,
    offsetOf,
    hot: Uint32Array.from(hot),
  };
  return { map, reused };
}

function* piecesOf(size: number, read: (at: number, length: number) => Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < size; at += FRAME_BYTES) yield read(at, Math.min(FRAME_BYTES, size - at));
}

async function withObject(
  repository: LocalRepository,
  digest: Uint8Array,
  size: number,
  work: (fd: number, fail: (reason: string) => CfsError) => Promise<void>,
): Promise<void> {
  const fail = (reason: string): CfsError =>
    new CfsError('store', `Cannot push object ${toHex(digest)} of repository ${repository.path}: ${reason}`);
  const fd = repository.open(digest);
  if (isErrno(fd)) throw fail(errnoText(fd));
  try {
    const problem = checkShape(fd, size) ?? verifyObject(fd, repository.hash, digest, size);
    if (problem !== undefined) throw fail(problem);
    await work(fd, fail);
  } finally {
    closeFd(fd);
  }
}

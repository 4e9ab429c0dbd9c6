/**
 * An image with objects in two repositories: a near one on the disk, and a far one in a mount of its own. The daemon of
 * that mount can be stopped or killed, and its objects can be damaged.
 */
import { readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Mounted, Scratch } from './harness.ts';
import { HERE, succeed } from './run.ts';

export const FAR_FILES = 12;
export const contentOf = (name: string): string => `the content of ${name} `.repeat(500);
export const farFile = (i: number): string => `far-${i}`;

export interface NearAndFar {
  readonly image: string;
  /** The far store as a directory, and as an image. */
  readonly far: string;
  readonly farImage: string;
  /** The store with the objects of `farImage`. */
  readonly below: string;
}

/**
 * Packs files `far-0` to `far-11`, with objects in the far store only, and `near`, with its object in the scratch's
 * store.
 */
export async function packNearAndFar(scratch: Scratch): Promise<NearAndFar> {
  const source = scratch.directory('source');
  for (let i = 0; i < FAR_FILES; i++) writeFileSync(join(source, farFile(i)), contentOf(farFile(i)));
  const far = scratch.at('far');
  await scratch.pack(source, { store: far });
  writeFileSync(join(source, 'near'), contentOf('near'));
  const { image } = await scratch.pack(source);
  // so that a mount also has a lease in the far store, which can only be read then
  await succeed(HERE.tool('cfs-repo', ['register', far, image]));
  const below = scratch.at('store of the far store');
  const farImage = (await scratch.pack(far, { store: below })).image;
  for (const path of filesBelow(join(far, 'objects'))) rmSync(join(scratch.store, 'objects', path));
  return { image, far, farImage, below };
}

const filesBelow = (directory: string): string[] =>
  readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((path) =>
    statSync(join(directory, path)).isFile(),
  );

/** Mounts the far store. Its server is not restarted: a dead one stays dead. */
export const mountFar = (scratch: Scratch, { farImage, below }: NearAndFar, at?: string): Promise<Mounted> =>
  scratch.mount(farImage, { repos: [below], words: ['restart=off'], ...(at === undefined ? {} : { at }) });

/** What the experiment `remote` serves of a tree: a repository as it is, the same pushed in packs, and archives. */
import { copyFileSync, mkdirSync, readdirSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Bench, Tree } from './contract.ts';
import { run, toolCommand } from './process.ts';

/** The directories of the web server, and the name of the image in the second one. */
export const PLAIN = 'plain';
export const PACKS = 'packs';
export const REF = 'tree';

export interface RemoteInputs {
  /** A directory for more. */
  readonly directory: string;
  readonly store: string;
  readonly image: string;
  readonly id: string;
  /** Objects of the image. */
  readonly objects: number;
  /** The root of the web server. */
  readonly www: string;
  /** Packs, among which each large object has its own, and objects that lie in no pack. */
  readonly packs: number;
}

/** Packs the tree, and pushes the image to the directory of the web server. */
export async function makeInputs(tree: Tree, bench: Bench): Promise<RemoteInputs> {
  bench.progress(`packing and pushing the ${tree.name} tree`);
  const directory = join(tree.work, 'remote');
  const [store, image, www] = [join(directory, 'store'), join(directory, 'tree.cfs'), join(directory, 'www')];
  mkdirSync(www, { recursive: true });
  await run(toolCommand('cfs-mkimage', '--no-fsync', '--quiet', '--store', store, tree.path, image), bench.signal);
  const pushed = join(www, PACKS);
  await run(toolCommand('cfs-repo', 'push', '--no-fsync', '--quiet', '--ref', REF, store, image, pushed), bench.signal);
  // a repository that a web server shows is a remote one if the image is there, too
  symlinkSync(store, join(www, PLAIN));
  mkdirSync(join(store, 'images'), { recursive: true });
  const [file = ''] = readdirSync(join(pushed, 'images'));
  copyFileSync(join(pushed, 'images', file), join(store, 'images', file));
  return {
    ...{ directory, store, image, www, id: file.split('.', 1)[0] as string },
    objects: filesBelow(join(store, 'objects')).length,
    packs: filesBelow(join(pushed, 'packs')).length + filesBelow(join(pushed, 'objects')).length,
  };
}

/** Everything in the tree as a tar archive. @returns its path */
export function archiveOf(tree: Tree, { directory }: RemoteInputs, bench: Bench): Promise<string> {
  return bench.once(`remote archive ${tree.name}`, async () => {
    bench.progress(`archiving the ${tree.name} tree`);
    const file = join(directory, 'tree.tar');
    await run(['tar', '-cf', file, '-C', tree.path, '.'], bench.signal);
    return file;
  });
}

/** Relative paths of the files in a directory and those below; none if it does not exist. */
export function filesBelow(directory: string): string[] {
  if (statSync(directory, { throwIfNoEntry: false }) === undefined) return [];
  return readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

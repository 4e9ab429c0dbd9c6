/** Images to and from remote repositories: parts of api/transfer.ts. */
import { availableParallelism } from 'node:os';
import { basename } from 'node:path';
import { CfsError } from '../base/error.ts';
import { objectSizes } from '../manifest/lookup.ts';
import { isRefName, isRemote, parseRemoteAddress, REF_RULE } from '../remote/remote-url.ts';
import { readTrustedKeys } from '../sign/key-file.ts';
import { openOrInitRepository } from '../store/open-repository.ts';
import { loadImages } from '../transfer/loaded-images.ts';
import { readProfile } from '../transfer/read-profile.ts';
import { abortable, ageGiven, localOf, pathGiven, repositoryPath } from './arguments.ts';
import { httpOf, isUrl, type NetworkOptions, within } from './network.ts';
import type { Repository, WorkOptions } from './repository.ts';

/**
 * What is done so far, of a push or a pull.
 * @example
 * import { pullImage, type TransferProgress } from '@cfs-images/cfs/transfer';
 *
 * const onProgress = ({ bytes, allBytes }: TransferProgress): void => console.log(bytes, allBytes);
 * await pullImage('/srv/pulled', 'https://example.org/images#rootfs', { image: '/srv/pulled.cfs', onProgress });
 */
export interface TransferProgress {
  /** Objects that were packed, or that are in the repository now, and their bytes, not compressed. */
  readonly objects: number;
  readonly bytes: number;
  /** Bytes of all objects: of the images that are pushed, or of those that the repository does not have. */
  readonly allBytes: number;
}

/**
 * Options of pushing images.
 * @example
 * import { type PushOptions, pushImages } from '@cfs-images/cfs/transfer';
 *
 * const options: PushOptions = { names: ['debian/stable'], level: 9 };
 * await pushImages('/srv/store', ['/srv/rootfs.cfs'], '/srv/www', options);
 */
export interface PushOptions extends NetworkOptions {
  /**
   * The names that the images get there, one for each: words of letters, digits and `._+-`, with slashes in between;
   * default: those of their files, without `.cfs`.
   */
  readonly names?: readonly string[];
  /** Names of other images there, whose packs are used again. Those of the same names always are. */
  readonly bases?: readonly string[];
  /**
   * A file with paths of files in the images, as `cfs-mount -o record=FILE` writes it: mounts fetch their contents
   * first, and at once.
   */
  readonly profile?: string;
  /** Of the compression, 1 to 19; default: 3. */
  readonly level?: number;
  /** Of a directory: wait until all is on the disk; default: true. */
  readonly durable?: boolean;
  /** Stops the work, which then rejects with a CfsError (interrupted). What was sent stays. */
  readonly signal?: AbortSignal;
  /** Called for each object that is packed. */
  readonly onProgress?: (done: TransferProgress) => void;
}

/**
 * The result of pushing images.
 * @example
 * import { type PushResult, pushImages } from '@cfs-images/cfs/transfer';
 *
 * const { files, bytes }: PushResult = await pushImages('/srv/store', ['/srv/rootfs.cfs'], '/srv/www');
 * console.log(files, bytes);
 */
export interface PushResult {
  readonly images: readonly {
    readonly id: string;
    /** The path of its file, and its name there. */
    readonly path: string;
    readonly name: string;
  }[];
  /** Objects of the images, and those of them that packs had that were there. */
  readonly objects: number;
  readonly reused: number;
  /** Files that were sent, and their bytes. */
  readonly files: number;
  readonly bytes: number;
}

const LEVEL = 3;
const MOST_LEVEL = 19;

/**
 * Writes images and their objects to a remote repository, one image after the other. Files that are there are not sent
 * again, and nothing is deleted there. If it is stopped or killed, the next run continues.
 * @param repository has all objects
 * @param images their files
 * @param target a URL whose server takes PUT, or a directory that a web server shows; both are created if missing
 * @throws CfsError: `usage` without images, for a wrong name or profile, `image`; `store` if an object is missing or
 *   damaged, or the target cannot be written; `interrupted`
 * @example
 * import { pushImages } from '@cfs-images/cfs/transfer';
 *
 * const { images } = await pushImages('/srv/store', ['/srv/rootfs.cfs'], '/srv/www');
 * for (const { name, id } of images) console.log(name, id);
 */
export function pushImages(
  repository: string | Repository,
  images: readonly string[],
  target: string,
  options: PushOptions = {},
): Promise<PushResult> {
  const { signal, onProgress, durable = true, insecure = false } = options;
  return abortable(signal, async () => {
    if (images.length === 0) throw new CfsError('usage', 'Cannot push images: none is given');
    const names = namesOf(images, options.names);
    const bases = (options.bases ?? []).map(nameGiven);
    const level = within('level', options.level ?? LEVEL, MOST_LEVEL);
    const http = httpOf(options);
    const profile = options.profile === undefined ? undefined : readProfile(pathGiven('profile', options.profile));
    const local = localOf(repository);
    const loaded = loadImages(
      images.map((image) => pathGiven('image', image)),
      local,
    );
    const { openTarget } = await import('../transfer/push-target.ts');
    const { pushImage } = await import('../transfer/push-images.ts');
    const place = openTarget(pathGiven('target', target), { ...http, insecure, durable });
    const bytesOf = loaded.map(({ tables }) => objectSizes(tables).reduce((sum, size) => sum + size, 0));
    const allBytes = bytesOf.reduce((sum, bytes) => sum + bytes, 0);
    const before = { objects: 0, bytes: 0 };
    const result = { objects: 0, reused: 0, files: 0, bytes: 0 };
    try {
      for (const [i, image] of loaded.entries()) {
        const pushed = await pushImage(local, image, place, {
          ref: names[i] as string,
          // the images of this run share their packs, too
          bases: [...bases, ...names.slice(0, i)],
          level,
          profile,
          uploads: http.connections,
          signal,
          onProgress: ({ objects, bytes }) =>
            onProgress?.({ objects: before.objects + objects, bytes: before.bytes + bytes, allBytes }),
        });
        before.objects += pushed.objects;
        before.bytes += bytesOf[i] as number;
        result.objects += pushed.objects;
        result.reused += pushed.reused;
        result.files += pushed.files;
        result.bytes += pushed.bytes;
      }
    } finally {
      await place.close();
    }
    return { images: loaded.map(({ id, path }, i) => ({ id, path, name: names[i] as string })), ...result };
  });
}

/** @throws CfsError (usage) */
function namesOf(images: readonly string[], names: readonly string[] | undefined): readonly string[] {
  const all = names ?? images.map((image) => basename(image).replace(/\.cfs$/, ''));
  if (all.length === images.length && new Set(all).size === all.length) return all.map(nameGiven);
  throw new CfsError('usage', `Cannot push ${images.length} images as ${all.join(', ')}: give each a name of its own`);
}

function nameGiven(name: string): string {
  if (isRefName(name)) return name;
  throw new CfsError('usage', `${JSON.stringify(name)} is not a name of an image: it consists of ${REF_RULE}`);
}

/**
 * Options of pulling an image.
 * @example
 * import { type PullOptions, pullImage } from '@cfs-images/cfs/transfer';
 *
 * const options: PullOptions = { image: '/srv/pulled.cfs', threads: 2, durable: false };
 * await pullImage('/srv/pulled', 'https://example.org/images#rootfs', options);
 */
export interface PullOptions extends WorkOptions, NetworkOptions {
  /** Where the file of the image is written; one that is there is replaced. */
  readonly image: string;
  /** Files of public keys in PEM: refuse an image that is signed by none of them, before its objects are fetched. */
  readonly keys?: readonly string[];
  /** The number of threads that fetch and verify; default: one per processor, at most 8. */
  readonly threads?: number;
  /** Wait until all is on the disk; default: true. */
  readonly durable?: boolean;
  /** Called ten times a second while objects are fetched. */
  readonly onProgress?: (done: TransferProgress) => void;
}

/**
 * The result of pulling an image.
 * @example
 * import { type PullResult, pullImage } from '@cfs-images/cfs/transfer';
 *
 * const options = { image: '/srv/pulled.cfs' };
 * const { id }: PullResult = await pullImage('/srv/pulled', 'https://example.org/images#rootfs', options);
 * console.log(id);
 */
export interface PullResult {
  readonly id: string;
  /** Objects that were fetched, and their bytes. */
  readonly objects: number;
  readonly bytes: number;
  /** Objects that the repository had. */
  readonly existing: number;
  /**
   * Objects that no server gives in good condition: their digests, and why. If there are any, the image is neither
   * registered nor written.
   */
  readonly failures: readonly { readonly object: string; readonly problem: string }[];
}

/**
 * Fetches an image and those of its objects that a repository does not have, verified, and registers the image there.
 * The repository is created if it is missing. If it is stopped or killed, the next run continues.
 * @param repository where to
 * @param address `https://HOST/PATH#NAME` or `…@ID`; several mirrors with `|` between them
 * @throws CfsError: `usage`; `image` if there is no such image, or no key has signed it; `store`; `system` if the image
 *   cannot be written; `interrupted`. Objects that cannot be fetched are in the result
 * @example
 * import { pullImage } from '@cfs-images/cfs/transfer';
 *
 * const address = 'https://example.org/images#rootfs';
 * const { failures } = await pullImage('/srv/pulled', address, { image: '/srv/pulled.cfs' });
 * console.log(failures.length);
 */
export function pullImage(repository: string | Repository, address: string, options: PullOptions): Promise<PullResult> {
  const { signal, onWait, onProgress, durable = true, insecure = false } = options;
  const { threads = Math.min(availableParallelism(), 8) } = options;
  return abortable(signal, async () => {
    const path = pathGiven('image', options.image);
    const directory = repositoryPath(repository);
    if (!isRemote(address))
      throw new CfsError('usage', `${address} is not a URL; give one like https://HOST/PATH#NAME`);
    const parsed = parseRemoteAddress(address, insecure);
    const http = httpOf(options);
    const keys = options.keys === undefined ? undefined : readTrustedKeys(options.keys);
    const { RemoteRepository } = await import('../transfer/remote-repository.ts');
    const { pullImage: pull } = await import('../transfer/pull-image.ts');
    const remote = await RemoteRepository.open(parsed, http, signal);
    try {
      const id = await remote.imageId(parsed.ref, signal);
      const image = await remote.image(id, keys, signal);
      let allBytes = 0;
      const pulled = await pull(remote, image, openOrInitRepository(directory, remote.hash), path, {
        ...http,
        threads,
        durable,
        signal,
        onWait,
        onPlan: ({ bytes }) => {
          allBytes = bytes;
        },
        onProgress: (done) => onProgress?.({ ...done, allBytes }),
      });
      const { copied: objects, copiedBytes: bytes, existing, failures } = pulled;
      return { id, objects, bytes, existing, failures };
    } finally {
      await remote.close();
    }
  });
}

/**
 * Options of pruning.
 * @example
 * import { type PruneOptions, pruneDirectory, pushImages } from '@cfs-images/cfs/transfer';
 *
 * await pushImages('/srv/store', ['/srv/rootfs.cfs'], '/srv/www');
 * const options: PruneOptions = { minAgeMs: 7 * 86_400_000, onFreed: (name) => console.log(name) };
 * await pruneDirectory('/srv/www', options);
 */
export interface PruneOptions {
  /** Keep files that were written within this time, in milliseconds; default: a day. A push must be quicker. */
  readonly minAgeMs?: number;
  /** Delete nothing; default: false. */
  readonly dryRun?: boolean;
  /** Stops the work, which then rejects with a CfsError (interrupted). */
  readonly signal?: AbortSignal;
  /** Called for each file that is deleted, or would be, with its name in the directory. */
  readonly onFreed?: (name: string, bytes: number) => void;
}

/**
 * The result of pruning.
 * @example
 * import { type PruneResult, pruneDirectory, pushImages } from '@cfs-images/cfs/transfer';
 *
 * await pushImages('/srv/store', ['/srv/rootfs.cfs'], '/srv/www');
 * const { kept, freed }: PruneResult = await pruneDirectory('/srv/www', { dryRun: true });
 * console.log(kept.files, freed.bytes);
 */
export interface PruneResult {
  /** Names of images, and the number of images that they lead to. */
  readonly names: number;
  readonly images: number;
  readonly kept: { readonly files: number; readonly bytes: number };
  /** Files among these that are kept only because of their age. */
  readonly young: { readonly files: number; readonly bytes: number };
  readonly freed: { readonly files: number; readonly bytes: number };
}

const DAY_MS = 86_400_000;

/**
 * Deletes from a directory that images were pushed to the files that no name there leads to. To give up an image,
 * delete `refs/NAME` first.
 * @param directory the target of pushes
 * @throws CfsError: `store` if a name, an image or a map is damaged, or there is no name: nothing is deleted then;
 *   `usage`, `interrupted`
 * @example
 * import { pruneDirectory, pushImages } from '@cfs-images/cfs/transfer';
 *
 * await pushImages('/srv/store', ['/srv/rootfs.cfs'], '/srv/www');
 * const { freed } = await pruneDirectory('/srv/www');
 * console.log(`freed ${freed.bytes} bytes`);
 */
export function pruneDirectory(directory: string, options: PruneOptions = {}): Promise<PruneResult> {
  const { minAgeMs = DAY_MS, dryRun = false, signal, onFreed } = options;
  return abortable(signal, async () => {
    if (isUrl(directory)) {
      throw new CfsError('usage', `Cannot prune ${directory}: a web server does not list its files`);
    }
    const path = pathGiven('directory', directory);
    const { pruneTree } = await import('../transfer/prune.ts');
    const { names, images, kept, young, freed } = await pruneTree(path, {
      minAgeMs: ageGiven(minAgeMs),
      dryRun,
      signal,
      onFreed,
    });
    return { names, images, kept, young, freed };
  });
}

/**
 * An image of a million files: the time of mounting it, and the memory of its daemon. The image is built from numbers;
 * no file of it exists, so only its metadata can be read.
 */
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ContentDigest, digestContent } from '../src/base/digest.ts';
import { S_IFDIR, S_IFREG } from '../src/base/stat-bits.ts';
import { type InodeMetadata, ManifestBuilder } from '../src/manifest/builder.ts';
import { encodeManifest } from '../src/manifest/encode.ts';
import { cfsUnavailable, mountImage, unmountImage } from './cfs-daemon.ts';
import type { Bench, Experiment, Outcome, Result } from './contract.ts';
import { run, toolCommand } from './process.ts';
import { usageOf } from './processes.ts';
import { median } from './statistics.ts';

/** The limit for the daemon of any image, in bytes: node itself, its threads and the program. */
const DAEMON_ALLOWANCE = 60_000_000;
/**
 * Longer than the daemon's own wait before it frees the memory for reading the image (250 ms in src/mount/prepare.ts).
 */
const SETTLE_MS = 1_000;
const FILES_PER_DIRECTORY = 1_000;
/** Contents that the files share. */
const OBJECTS = 4_000;
const OBJECT_SIZE = 2_000;
const HASH = 'blake3';

export const SCALE: Experiment = {
  name: 'scale',
  title: 'mounting a large image',
  systems: ['cfs'],
  trees: [],
  available: cfsUnavailable,
  run: (bench) => measureScale(bench.scaleFiles, bench),
};

async function measureScale(files: number, bench: Bench): Promise<Outcome> {
  const store = bench.scratch.file('scale-store');
  const small = bench.scratch.file('scale-empty.cfs');
  const large = bench.scratch.file('scale.cfs');
  bench.progress(`building an image of ${files} files`);
  const empty = bench.scratch.directory('scale-empty');
  await run(toolCommand('cfs-mkimage', '--no-fsync', '--quiet', '--store', store, empty, small), bench.signal);
  const bytes = buildImage(files);
  writeFileSync(large, bytes);
  const emptyMounts: Mounted[] = [];
  const largeMounts: Mounted[] = [];
  for (let round = 0; round <= bench.rounds; round++) {
    bench.progress(`mounting ${files} files, ${round === 0 ? 'warm-up' : `round ${round} of ${bench.rounds}`}`);
    const one = await mountOnce(store, small, false, bench);
    const other = await mountOnce(store, large, round === bench.rounds, bench);
    if (round > 0) {
      emptyMounts.push(one);
      largeMounts.push(other);
    }
  }
  return outcome(files, bytes.length, emptyMounts, largeMounts);
}

/** Resident bytes of a daemon. */
interface Memory {
  /** Right after cfs-mount returned. */
  readonly atReturn: number;
  /** SETTLE_MS later: the memory for reading the image has been freed. */
  readonly settled: number;
}

interface Mounted {
  /** From the start of cfs-mount until it returned. */
  readonly ns: number;
  /** Undefined if the daemon's pid is not known. */
  readonly memory: Memory | undefined;
  /** Resident bytes after everything in the mount was looked at once. */
  readonly walked: number | undefined;
}

const rssOf = (pid: number | undefined): number | undefined => usageOf(pid)?.rssBytes;

async function mountOnce(store: string, image: string, walk: boolean, bench: Bench): Promise<Mounted> {
  const mountpoint = bench.scratch.directory('mnt-scale');
  let pid: number | undefined;
  try {
    const mounted = await mountImage(store, image, mountpoint, [], bench.signal);
    pid = mounted.pid;
    const atReturn = rssOf(pid);
    await sleep(SETTLE_MS);
    const settled = rssOf(pid);
    if (walk) {
      bench.progress('looking at every file of the large image');
      await run(['find', mountpoint, '-size', '+1000000c'], bench.signal);
    }
    const memory = atReturn === undefined || settled === undefined ? undefined : { atReturn, settled };
    return { ns: mounted.ns, memory, walked: walk ? rssOf(pid) : undefined };
  } finally {
    await unmountImage(mountpoint, pid);
  }
}

function outcome(files: number, imageBytes: number, empty: readonly Mounted[], large: readonly Mounted[]): Outcome {
  const memory = figuresOf(files, empty, large);
  return {
    results: [mountResult(files, large), mountResult(0, empty)],
    figures: { scale_files: files, scale_image_bytes: imageBytes, ...memory?.figures },
    notes: [
      `The image of ${files.toLocaleString('en')} files has ${megabytes(imageBytes)}.`,
      ...(memory?.notes ?? ['The memory of its daemon is not known: cfs-mount --json reported no pid.']),
    ],
  };
}

function figuresOf(
  files: number,
  empty: readonly Mounted[],
  large: readonly Mounted[],
): Required<Pick<Outcome, 'figures' | 'notes'>> | undefined {
  const settled = medianOf(large.map(({ memory }) => memory?.settled));
  const atReturn = medianOf(large.map(({ memory }) => memory?.atReturn));
  const base = medianOf(empty.map(({ memory }) => memory?.settled));
  const walked = medianOf(large.map((mounted) => mounted.walked));
  if (settled === undefined || atReturn === undefined || base === undefined || walked === undefined) return undefined;
  const perFile = (settled - DAEMON_ALLOWANCE) / files;
  return {
    figures: {
      scale_rss_bytes: settled,
      scale_rss_at_return_bytes: atReturn,
      scale_rss_after_walk_bytes: walked,
      scale_empty_rss_bytes: base,
      scale_bytes_per_file: perFile,
    },
    notes: [
      `Its daemon has ${megabytes(atReturn)} resident as cfs-mount returns, ${megabytes(settled)} a second later,`,
      `${megabytes(walked)} after a find over all of it; a daemon of an empty image has ${megabytes(base)}.`,
      `(RSS a second later − 60 MB) / files = ${Math.round(perFile)} bytes; above the empty image: ${Math.round((settled - base) / files)} bytes.`,
    ],
  };
}

const mountResult = (files: number, mounted: readonly Mounted[]): Result => ({
  workload: 'scale',
  title: 'mounting',
  tree: files === 0 ? 'no files' : `${files.toLocaleString('en')} files`,
  state: 'warm',
  system: 'cfs',
  work: { count: files, unit: 'files', bytes: 0 },
  samples: mounted.map(({ ns }) => ns),
});

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

function medianOf(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 ? undefined : median(known);
}

/** `files` files in directories of 1000: nine in ten share 4000 objects, the rest are empty. */
function buildImage(files: number): Uint8Array {
  const builder = new ManifestBuilder(HASH, metadataOf(S_IFDIR | 0o755));
  const contents = Array.from({ length: Math.min(OBJECTS, files) }, (_, i) => contentOf(i));
  const file = metadataOf(S_IFREG | 0o644);
  let directory = 0;
  for (let i = 0; i < files; i++) {
    if (i % FILES_PER_DIRECTORY === 0) {
      directory = builder.addInode(metadataOf(S_IFDIR | 0o755));
      builder.link(0, Buffer.from(`directory-${i / FILES_PER_DIRECTORY}`), directory);
    }
    const inode = builder.addInode(file);
    builder.link(directory, Buffer.from(`file-${i}.dat`), inode);
    if (i % 10 !== 0) builder.setObject(inode, contents[i % contents.length] as ContentDigest);
  }
  return encodeManifest(builder.finish());
}

const metadataOf = (mode: number): InodeMetadata => ({
  mode,
  uid: 0,
  gid: 0,
  mtime: 1_700_000_000,
  mtimeNsec: 0,
  rdev: 0,
  xattrs: [],
});

function contentOf(number: number): ContentDigest {
  const bytes = new Uint8Array(OBJECT_SIZE);
  new DataView(bytes.buffer).setUint32(0, number, true);
  return digestContent(HASH, bytes);
}

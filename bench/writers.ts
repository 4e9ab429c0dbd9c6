/** The systems that take changes. The directories for changes are `upper` and `work` of a place. */
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { cfsUnavailable, type MountedImage, mountImage, unmountImage } from './cfs-daemon.ts';
import type { Bench } from './contract.ts';
import { fuseUnavailable, unmountDaemon } from './fuse-daemon.ts';
import { fileSystemUnavailable, mountWritable, unmount } from './mounts.ts';
import { directoryIn } from './places.ts';
import { findProgram, missingProgram, run } from './process.ts';
import { processWith } from './processes.ts';
import { lowerDirectory, lowerImage } from './write-inputs.ts';
import type { Place, Writer, WriterRow } from './writing.ts';

/** Empty directories for changes. */
function changesIn(place: Place): { readonly upper: string; readonly work: string } {
  for (const name of ['upper', 'work']) rmSync(join(place.path, name), { recursive: true, force: true });
  return { upper: directoryIn(place, 'upper'), work: directoryIn(place, 'work') };
}

/** No layers: the file system of the place itself, with a copy of the lower directory if it is needed. */
class Plain implements Writer {
  readonly #bench: Bench;

  constructor(bench: Bench) {
    this.#bench = bench;
  }

  available(): undefined {
    return undefined;
  }

  prepare(): Promise<void> {
    return Promise.resolve();
  }

  async start(place: Place, lower: boolean): Promise<string> {
    const { upper } = changesIn(place);
    if (lower) cpSync(await lowerDirectory(this.#bench), upper, { recursive: true });
    return upper;
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }

  daemon(): undefined {
    return undefined;
  }
}

/** What the kernel does by default depends on its configuration; this is what cfs does by default, too. */
const OVERLAYFS_OPTIONS = 'metacopy=on,redirect_dir=on';

class Overlay implements Writer {
  readonly #bench: Bench;
  readonly #mountpoint: string;

  constructor(bench: Bench) {
    this.#bench = bench;
    this.#mountpoint = bench.scratch.directory('mnt-write-overlayfs');
  }

  available(): string | undefined {
    return fileSystemUnavailable('overlay');
  }

  async prepare(): Promise<void> {
    await lowerDirectory(this.#bench);
  }

  async start(place: Place): Promise<string> {
    const { upper, work } = changesIn(place);
    const layers = `lowerdir=${await lowerDirectory(this.#bench)},upperdir=${upper},workdir=${work}`;
    mountWritable('overlay', 'overlay', this.#mountpoint, `${layers},${OVERLAYFS_OPTIONS}`);
    return this.#mountpoint;
  }

  stop(): Promise<void> {
    return unmount(this.#mountpoint);
  }

  daemon(): undefined {
    return undefined;
  }
}

class FuseOverlay implements Writer {
  readonly #bench: Bench;
  readonly #mountpoint: string;
  #pid: number | undefined;

  constructor(bench: Bench) {
    this.#bench = bench;
    this.#mountpoint = bench.scratch.directory('mnt-write-fuse-overlayfs');
  }

  available(): string | undefined {
    return missingProgram('fuse-overlayfs', 'Debian: fuse-overlayfs') ?? fuseUnavailable();
  }

  async prepare(): Promise<void> {
    await lowerDirectory(this.#bench);
  }

  async start(place: Place): Promise<string> {
    const { upper, work } = changesIn(place);
    const layers = `lowerdir=${await lowerDirectory(this.#bench)},upperdir=${upper},workdir=${work}`;
    const program = findProgram('fuse-overlayfs') ?? 'fuse-overlayfs';
    await run([program, '-o', layers, this.#mountpoint], this.#bench.signal);
    this.#pid = processWith('fuse-overlayfs', this.#mountpoint);
    return this.#mountpoint;
  }

  async stop(): Promise<void> {
    const pid = this.#pid;
    this.#pid = undefined;
    await unmountDaemon(this.#mountpoint, pid, this.#mountpoint);
  }

  daemon(): number | undefined {
    return this.#pid;
  }
}

/** A mount of the image of the lower directory, with directories for changes or without. */
class Cfs implements Writer {
  readonly #bench: Bench;
  readonly #mountpoint: string;
  readonly #changes: boolean;
  #mounted: MountedImage | undefined;

  constructor(bench: Bench, name: string, changes: boolean) {
    this.#bench = bench;
    this.#mountpoint = bench.scratch.directory(`mnt-write-${name}`);
    this.#changes = changes;
  }

  available(): string | undefined {
    return cfsUnavailable();
  }

  async prepare(): Promise<void> {
    await lowerImage(this.#bench);
  }

  async start(place: Place): Promise<string> {
    const { upper, work } = changesIn(place);
    const options = this.#changes ? [`upperdir=${upper}`, `workdir=${work}`] : ['verify=read'];
    const { image, store } = await lowerImage(this.#bench);
    this.#mounted = await mountImage(store, image, this.#mountpoint, options, this.#bench.signal);
    return this.#mountpoint;
  }

  async stop(): Promise<void> {
    const pid = this.#mounted?.pid;
    this.#mounted = undefined;
    await unmountImage(this.#mountpoint, pid);
  }

  daemon(): number | undefined {
    return this.#mounted?.pid;
  }
}

/** Every system that is measured by the group `write`, in the order of its tables. */
export const WRITERS: readonly WriterRow[] = [
  { name: 'source', create: (bench) => new Plain(bench) },
  { name: 'overlayfs', create: (bench) => new Overlay(bench) },
  { name: 'fuse-overlayfs', create: (bench) => new FuseOverlay(bench) },
  { name: 'cfs', create: (bench) => new Cfs(bench, 'cfs', true) },
  { name: 'cfs-read', readOnly: true, create: (bench) => new Cfs(bench, 'cfs-read', false) },
];

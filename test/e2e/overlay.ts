/** overlayfs over mounts of images, for tests of their use together, and of the format of its layers. */
import { mkdirSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'vitest';
import { mountLoop, mountTmpfs, succeed } from './cli.ts';
import { closeHandles } from './handle-calls.ts';
import type { Scratch } from './harness.ts';
import { mountedAt } from './system.ts';

/** File systems for upper directories. */
export const UPPERS = {
  ext4: (path: string): Promise<string> => mountLoop(path, 'ext4', 64),
  tmpfs: (path: string): Promise<string> => mountTmpfs(path),
};

/** Whether the kernel of this machine is older: the abilities of overlayfs depend on it. */
export function kernelBefore(major: number, minor: number): boolean {
  const [first = 0, second = 0] = release().split('.').map(Number);
  return first < major || (first === major && second < minor);
}

/** An overlay and its layers. */
export class Overlay {
  readonly at: string;
  readonly lowers: readonly string[];
  readonly upper: string;
  readonly work: string;
  #options: readonly string[];

  /** @param layers the directory with `upper` and `work`, which are created if they are missing */
  constructor(at: string, lowers: readonly string[], layers: string, options: readonly string[]) {
    this.at = at;
    this.lowers = lowers;
    this.upper = join(layers, 'upper');
    this.work = join(layers, 'work');
    this.#options = options;
    for (const path of [this.upper, this.work]) mkdirSync(path, { recursive: true });
  }

  /** @param options for this and later mounts; the previous options by default */
  async mount(options = this.#options): Promise<void> {
    this.#options = options;
    const layers = { lowerdir: this.lowers.join(':'), upperdir: this.upper, workdir: this.work };
    const words = [...Object.entries(layers).map(([key, value]) => `${key}=${value}`), ...options];
    await succeed(['mount', '-t', 'overlay', 'overlay', '-o', words.join(','), this.at]);
  }

  async unmount(): Promise<void> {
    closeHandles();
    if (mountedAt(this.at) !== undefined) await succeed(['umount', this.at]);
  }

  /** The options in effect: the kernel turns off features that are impossible, and mounts all the same. */
  get options(): string[] {
    const table = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
    const line = table.find((line) => line.includes(` ${this.at} `));
    return (line?.split(' ').at(-1) ?? '').split(',');
  }

  path(...names: readonly string[]): string {
    return join(this.at, ...names);
  }
}

/**
 * Returns a function that mounts an overlay until the end of the test. To be called at the top level of a test file,
 * after `useScratch`: the overlay must be unmounted before the mounts below it.
 */
export function useOverlays(
  scratch: Scratch,
): (lowers: readonly string[], layers: string, options: readonly string[]) => Promise<Overlay> {
  const overlays: Overlay[] = [];
  afterEach(async () => {
    for (const overlay of overlays.splice(0)) await overlay.unmount();
  });
  return async (lowers, layers, options) => {
    const overlay = new Overlay(scratch.directory('overlay'), lowers, layers, options);
    overlays.push(overlay);
    await overlay.mount();
    return overlay;
  };
}

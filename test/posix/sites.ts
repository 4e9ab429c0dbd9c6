/**
 * The file systems that the tests compare: a plain directory, overlayfs of the kernel, and a writable mount of cfs.
 * Each begins with the same tree.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Mounted, Scratch } from '../e2e/harness.ts';
import { Overlay } from '../e2e/overlay.ts';
import { succeed } from '../e2e/run.ts';
import { isSupervisor, sessionMembers, until } from '../e2e/system.ts';

export type SiteName = 'plain' | 'overlayfs' | 'cfs';

/** One of them. */
export interface Site {
  readonly name: SiteName;
  /** The directory that shows the tree. */
  readonly root: string;
  /** Unmounts and mounts again, if there is a mount. Nothing may be open. */
  remount(): Promise<void>;
  /** Unmounts. */
  end(): Promise<void>;
  /** The process that serves a mount of cfs. */
  server?(): number;
}

/** Makes a site that shows the tree `lower`, which must not change any more. */
export type MakeSite = (scratch: Scratch, lower: string) => Promise<Site>;

/** Options for an overlay that behaves like a directory: renamed directories, and hard links that stay together. */
export const OVERLAY_OPTIONS: readonly string[] = ['redirect_dir=on', 'metacopy=on', 'index=on', 'xino=auto'];

async function plain(scratch: Scratch, lower: string): Promise<Site> {
  const root = join(scratch.directory('plain'), 'tree');
  await succeed(['cp', '-a', '--sparse=always', lower, root]);
  return { name: 'plain', root, remount: async () => {}, end: async () => {} };
}

/** An overlay with other options. */
export const overlayWith =
  (options: readonly string[]): MakeSite =>
  async (scratch, lower) => {
    const overlay = new Overlay(scratch.directory('overlay'), [lower], scratch.directory('layers'), options);
    await overlay.mount();
    const remount = async (): Promise<void> => {
      await overlay.unmount();
      await until(`${overlay.at} is mounted again`, async () => {
        try {
          await overlay.mount();
          return true;
        } catch (error) {
          // a mount namespace of another test, made a moment ago, has a copy of the mount: its directories are in use
          if (!/busy|already mounted/.test(String(error))) throw error;
          return false;
        }
      });
    };
    return { name: 'overlayfs', root: overlay.at, remount, end: () => overlay.unmount() };
  };

/** The process that serves a mount; not its supervisor. */
export const serverOf = ({ pid }: Mounted): number => sessionMembers(pid).find((one) => !isSupervisor(one)) as number;

const images = new Map<string, string>();

/** A mount of cfs of an image of `lower`, in which set-id bits and devices work. */
async function cfs(scratch: Scratch, lower: string): Promise<Site> {
  let image = images.get(lower);
  if (image === undefined) {
    ({ image } = await scratch.pack(lower));
    images.set(lower, image);
  }
  const [layers, at] = [scratch.directory('layers'), scratch.directory('cfs')];
  for (const name of ['upper', 'work']) mkdirSync(join(layers, name));
  const words = [`upperdir=${layers}/upper`, `workdir=${layers}/work`, 'suid', 'dev'];
  const mount = () => scratch.mount(image, { words, at });
  let mounted = await mount();
  const remount = async (): Promise<void> => {
    await mounted.unmount();
    mounted = await mount();
  };
  const end = async (): Promise<void> => {
    if (mounted.isMounted) await mounted.unmount();
  };
  return { name: 'cfs', root: at, remount, end, server: () => serverOf(mounted) };
}

export const MAKE_SITE: Readonly<Record<SiteName, MakeSite>> = {
  plain,
  overlayfs: overlayWith(OVERLAY_OPTIONS),
  cfs,
};

/** The sites of the tests; the others are compared with the first. */
export const TESTED: readonly SiteName[] = ['plain', 'overlayfs', 'cfs'];

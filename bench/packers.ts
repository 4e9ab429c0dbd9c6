/** The programs that make an image of a tree. Another one is another row. */
import type { Tree } from './contract.ts';
import { missingProgram, missingTools, toolCommand } from './process.ts';
import { composefsUnavailable } from './system-composefs.ts';

export interface Packer {
  readonly name: string;
  /** The reason why it cannot be run on this machine; undefined if it can. */
  unavailable(): string | undefined;
  /** The command that packs `tree` into `directory`, with any content in it. */
  command(tree: Tree, directory: string): [string, ...string[]];
}

const mkimage = (name: string, ...options: readonly string[]): Packer => ({
  name,
  unavailable: () => missingTools('cfs-mkimage'),
  command: (tree, directory) =>
    toolCommand('cfs-mkimage', '--quiet', ...options, '--store', `${directory}/store`, tree.path, `${directory}/image`),
});

export const PACKERS: readonly Packer[] = [
  mkimage('cfs-mkimage'),
  mkimage('cfs-mkimage --no-fsync', '--no-fsync'),
  {
    name: 'mkcomposefs',
    unavailable: composefsUnavailable,
    command: (tree, directory) => ['mkcomposefs', `--digest-store=${directory}/store`, tree.path, `${directory}/image`],
  },
  {
    name: 'mkfs.erofs',
    unavailable: () => missingProgram('mkfs.erofs', 'Debian: erofs-utils'),
    command: (tree, directory) => ['mkfs.erofs', '--quiet', `${directory}/image.erofs`, tree.path],
  },
  {
    name: 'mksquashfs',
    unavailable: () => missingProgram('mksquashfs', 'Debian: squashfs-tools'),
    command: (tree, directory) => [
      'mksquashfs',
      tree.path,
      `${directory}/image.squashfs`,
      '-no-progress',
      '-quiet',
      '-noappend',
    ],
  },
  {
    name: 'tar',
    unavailable: () => missingProgram('tar', 'Debian: tar'),
    command: (tree, directory) => [
      'tar',
      '--create',
      '--numeric-owner',
      `--file=${directory}/image.tar`,
      `--directory=${tree.path}`,
      '.',
    ],
  },
];

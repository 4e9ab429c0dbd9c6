/** The image that is mounted on a directory. */
import { realpathSync } from 'node:fs';
import { exactUtf8, printable } from '../../src/base/bytes.ts';
import { isErrno } from '../../src/base/errno.ts';
import { CfsError } from '../../src/base/error.ts';
import { askFile } from '../../src/mount-info/ask-mount.ts';
import { askMountAt } from '../../src/mount-info/ask-mount-at.ts';

/** An image file, and the id that it must have, if known. */
export interface NamedImage {
  readonly path: string;
  /** 64 hexadecimal digits. */
  readonly id: string | undefined;
}

/**
 * The image whose tree is visible at the directory `path`, at its current path: it may have been moved since it was
 * mounted.
 * @throws CfsError: as `askMountAt`; `usage` if only a part of the tree is visible; `image` if the file is gone
 */
export function imageOfMount(path: string): NamedImage {
  const { mount, sources } = askMountAt(path);
  const directory = askFile(realpathSync(path, { encoding: 'buffer' }));
  // a directory without a path is not the root, whose path is visible to all
  const place = isErrno(directory) ? '/' : printable(directory.path);
  const [shown, again] = place === '' ? ['a directory', 'its path'] : [place, place];
  if (place !== '/') {
    throw new CfsError(
      'usage',
      `${path} is ${shown} of an image, not all of it: name the image or its mount point, and ${again} after the two`,
    );
  }
  const cannot = (reason: string): CfsError =>
    new CfsError('image', `Cannot read the image that is mounted on ${path}: ${reason}`);
  const image = sources[0]?.path;
  if (image === undefined) throw cannot('it was deleted or replaced, or its file system was unmounted');
  const text = exactUtf8(image);
  if (text === undefined) throw cannot(`its path is not UTF-8: ${printable(image)}`);
  return { path: text, id: mount.imageId };
}

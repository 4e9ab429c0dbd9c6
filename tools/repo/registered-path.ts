/** Paths of registered images, for people. */
import { printable } from '../../src/base/bytes.ts';
import { pathBytes } from '../../src/base/path-text.ts';
import type { FoundPath, ImageFinder } from '../../src/image/registered-image.ts';
import type { RegisteredPath } from '../../src/store/gc/registered-paths.ts';
import { shortId } from '../image-id.ts';

/** A path, and its state if it is not the image. */
export function registeredPathText({ path, state, now, other, reason }: FoundPath): string {
  if (path === '') return '(wherever it is)';
  const name = shown(path);
  switch (state) {
    case 'there':
      return name;
    case 'moved':
      return `${name} (moved to ${shown(now ?? '')})`;
    case 'replaced':
      return `${name} (replaced by image ${shortId(other ?? '')})`;
    case 'gone':
    case 'damaged':
      return `${name} (${state})`;
    default:
      return `${name} (${state}: ${shown(reason ?? '')})`;
  }
}

/** The paths of an image, and their states; those that have the image come first. */
export function foundPaths(finder: ImageFinder, image: string, paths: readonly RegisteredPath[]): FoundPath[] {
  const found = finder.look(paths, image);
  return [...found.filter(({ state }) => state === 'there'), ...found.filter(({ state }) => state !== 'there')];
}

export const shown = (path: string): string => printable(pathBytes(path));

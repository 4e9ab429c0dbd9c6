/** Paths of registered images, for people. */
import { printable } from '../../src/base/bytes.ts';
import { pathBytes } from '../../src/base/path-text.ts';
import type { FoundPath } from '../../src/image/registered-image.ts';

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
      return `${name} (replaced by image ${other?.slice(0, SHORT)})`;
    case 'gone':
    case 'damaged':
      return `${name} (${state})`;
    default:
      return `${name} (${state}: ${shown(reason ?? '')})`;
  }
}

/** Digits of an id that are sufficient for people. */
const SHORT = 12;

export const shown = (path: string): string => printable(pathBytes(path));

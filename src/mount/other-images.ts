/**
 * Checks whether a repository has registered another image at the path of the mounted one: the file was overwritten
 * without packing or registering, by mistake or by another user, and nothing keeps the objects of the new image.
 */
import { realpathSync } from 'node:fs';
import { errnoOf } from '../base/errno.ts';
import { CfsError, callText } from '../base/error.ts';
import { othersAtPath } from '../store/gc/registered-paths.ts';
import type { LocalRepository } from '../store/local-repository.ts';

export interface OtherImage {
  /** The repository's path. */
  readonly repository: string;
  /** The id of the image that is registered there; the first one if there are several. */
  readonly id: string;
}

/** Nothing if the repository cannot be read: a mount does not need this. */
export function otherImages(image: string, id: string, repositories: readonly LocalRepository[]): OtherImage[] {
  try {
    const path = realpathSync(image);
    return repositories.flatMap((repository) => {
      const [other] = orNothing(() => othersAtPath(repository, id, path));
      return other === undefined ? [] : [{ repository: repository.path, id: other }];
    });
  } catch {
    return []; // it was deleted in the meantime: the mounted image is open
  }
}

function orNothing(look: () => string[]): string[] {
  try {
    return look();
  } catch (error) {
    if (error instanceof CfsError || errnoOf(error) !== undefined) return [];
    throw error;
  }
}

/** The message for people. */
export const messageOfOther = ({ repository, id }: OtherImage, image: string, own: string): string =>
  `${image} is image ${own}, and repository ${repository} has image ${id} registered at this path`;

/** For a log. */
export const warningOfOther = (other: OtherImage, image: string, own: string): string =>
  `${messageOfOther(other, image, own)}. If the new one is right, register it there: that keeps its objects.`;

/** The remedy for people; words in backquotes as in a CfsError. */
export const hintOfOther = ({ repository }: OtherImage, image: string): string =>
  `If the new one is right, ${callText('registerImage', repository, image)} keeps its objects; ` +
  '`digest` refuses an image with another id.';

/** The mounts that use a cache, and their limits. */
import { statSync } from 'node:fs';
import { CfsError } from '../../src/base/error.ts';
import { pathText } from '../../src/base/path-text.ts';
import { parseMountWords } from '../../src/mount/option-words.ts';
import type { RemoteOptions } from '../../src/mount/options.ts';
import type { SavedSourcesJson } from '../../src/mount-info/saved-sources.ts';
import { askMounts } from '../info/mounts.ts';

export interface CachingMount {
  readonly mountpoint: string;
  readonly options: RemoteOptions;
}

/** Of the mounts that this user may ask. @param cache a directory */
export async function mountsWithCache(cache: string): Promise<readonly CachingMount[]> {
  const { entries, answers } = await askMounts();
  return entries.flatMap(({ mountpointBytes }, i) => {
    const answer = answers[i];
    const options = answer?.state === 'mounted' ? remoteOptions(answer.sources) : undefined;
    if (options === undefined || !isSame(options.cache, cache)) return [];
    return [{ mountpoint: pathText(mountpointBytes), options }];
  });
}

function remoteOptions({ options, optionsBase64 }: SavedSourcesJson): RemoteOptions | undefined {
  try {
    const words = optionsBase64 === undefined ? options : pathText(Buffer.from(optionsBase64, 'base64'));
    return parseMountWords([words]).remote;
  } catch (error) {
    if (error instanceof CfsError) return undefined; // options of a later version
    throw error;
  }
}

function isSame(a: string, b: string): boolean {
  if (a === b) return true;
  try {
    const [one, other] = [statSync(a), statSync(b)];
    return one.dev === other.dev && one.ino === other.ino;
  } catch {
    return false; // it has been deleted
  }
}

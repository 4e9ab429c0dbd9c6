/** Reads a profile, for a push. */
import { readFileSync, statSync } from 'node:fs';
import { CfsError, reasonOf } from '../base/error.ts';
import { PROFILE_LIMIT, parseProfile } from '../manifest/profile.ts';

/** The paths of a profile. @throws CfsError (usage) */
export function readProfile(path: string): Uint8Array[] {
  let bytes: Uint8Array;
  try {
    const stat = statSync(path);
    // of a huge file, nothing is read; of a pipe, the size is unknown
    bytes = stat.size > PROFILE_LIMIT ? new Uint8Array(PROFILE_LIMIT + 1) : readFileSync(path);
  } catch (error) {
    throw new CfsError('usage', `Cannot read the profile ${path}: ${reasonOf(error)}`, { cause: error });
  }
  return parseProfile(bytes, path);
}

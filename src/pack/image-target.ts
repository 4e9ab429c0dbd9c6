/** Checks the two paths of packing before it begins. */
import { accessSync, constants, lstatSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { ELOOP, ENAMETOOLONG, ENOTDIR, type Errno, errnoOf } from '../base/errno.ts';
import { CfsError, type ErrorKind, reasonOf } from '../base/error.ts';

/**
 * The path that the image is written to. If `image` is a symbolic link, this is the path behind it, whether or not it
 * exists, and the link stays. A wrong path is found before an hour of packing, not after.
 * @throws CfsError: `usage` for a path to which no image can be written, `system` if it is not permitted
 */
export function imageTarget(image: string): string {
  const fail = (reason: string, kind: ErrorKind = 'usage'): never => {
    throw new CfsError(kind, `Cannot write image ${image}: ${reason}`);
  };
  try {
    // the kernel follows the link first, and refuses those of others in /tmp (fs.protected_symlinks)
    const stat = statSync(image, { throwIfNoEntry: false });
    if (stat !== undefined && !stat.isFile()) fail('it exists and is not a regular file');
    const target = behindLinks(image);
    const behind = statSync(target, { throwIfNoEntry: false });
    if (stat !== undefined && (behind?.ino !== stat.ino || behind.dev !== stat.dev)) {
      fail('it is a deleted file without a path');
    }
    const parent = resolve(target, '..');
    if (!statSync(parent, { throwIfNoEntry: false })?.isDirectory()) fail(`there is no directory ${parent}`);
    accessSync(parent, constants.W_OK | constants.X_OK);
    return target;
  } catch (error) {
    if (error instanceof CfsError) throw error;
    return fail(reasonOf(error), WRONG_PATH.has(errnoOf(error)) ? 'usage' : 'system');
  }
}

/** The path that `image` leads to, which need not exist. Links that lead in a circle were found before. */
function behindLinks(image: string): string {
  let path = resolve(image);
  while (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true) {
    path = resolve(realpathSync(dirname(path)), readlinkSync(path));
  }
  return path;
}

/** Paths that no image can be written to, by any user. */
const WRONG_PATH: ReadonlySet<Errno | undefined> = new Set([ENOTDIR, ENAMETOOLONG, ELOOP]);

/** The source is checked first: a mistyped SOURCE must not leave a new store behind. @throws CfsError (source) */
export function checkSource(source: string): void {
  let reason: string | undefined;
  try {
    if (!statSync(source).isDirectory()) reason = 'it is not a directory';
  } catch (error) {
    reason = reasonOf(error);
  }
  if (reason !== undefined) throw new CfsError('source', `Cannot pack ${source}: ${reason}`);
}

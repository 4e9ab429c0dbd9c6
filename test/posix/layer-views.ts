/** For tests that look at one upper layer through cfs and through overlayfs. */
import { openSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { O_NOFOLLOW, O_PATH } from './calls.ts';
import { look, type View } from './look.ts';

/**
 * Keeps the dentries of all files in a mount that is the lower layer of an overlayfs. Linux 6.16 and later take a
 * dentry of FUSE that comes from a handle as outdated (docs/handles.md), and overlayfs then answers ESTALE for files
 * that were copied up. A handle leads to a dentry that came from a path if there is one.
 * @returns descriptors to close
 */
export function pinAll(root: string): number[] {
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' });
  return names.map((name) => openSync(join(root, name), O_PATH | O_NOFOLLOW));
}

/** As `look`, without the ids of new files, which only a mount of cfs hides. */
export function lookWithoutIds(root: string): Map<string, View> {
  const withoutIds = (view: View): View => ({
    ...view,
    xattrs: String(view['xattrs'])
      .split(' ')
      .filter((xattr) => !/^(?:trusted|user)\.cfs\.id=/.test(xattr))
      .join(' '),
  });
  return new Map([...look(root)].map(([name, view]) => [name, withoutIds(view)]));
}

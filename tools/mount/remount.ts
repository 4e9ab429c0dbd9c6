/** `mount -o remount,…`: the attributes of an existing mount that can be changed. */
import { resolve } from 'node:path';
import { ENOSYS, EPERM, isErrno } from '../../src/base/errno.ts';
import { CfsError } from '../../src/base/error.ts';
import { pathText } from '../../src/base/path-text.ts';
import { escapedValue, splitList } from '../../src/mount/option-list.ts';
import { parseMountWords } from '../../src/mount/option-words.ts';
import type { RemoteOptions } from '../../src/mount/options.ts';
import { askMountAt, type MountAnswer } from '../../src/mount-info/ask-mount-at.ts';
import { isRemote, parseRemoteAddress } from '../../src/remote/remote-url.ts';
import { errnoText } from '../../src/system/libc.ts';
import {
  MOUNT_ATTR_ATIME,
  MOUNT_ATTR_NOATIME,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  MOUNT_ATTR_RELATIME,
  MOUNT_ATTR_STRICTATIME,
  setMountAttributes,
} from '../../src/system/mount-attributes.ts';

/** The flags that an option sets and clears. */
const FLAGS: Readonly<Record<string, readonly [set: number, clear: number]>> = {
  nosuid: [MOUNT_ATTR_NOSUID, 0],
  suid: [0, MOUNT_ATTR_NOSUID],
  nodev: [MOUNT_ATTR_NODEV, 0],
  dev: [0, MOUNT_ATTR_NODEV],
  noexec: [MOUNT_ATTR_NOEXEC, 0],
  exec: [0, MOUNT_ATTR_NOEXEC],
  noatime: [MOUNT_ATTR_NOATIME, MOUNT_ATTR_ATIME],
  relatime: [MOUNT_ATTR_RELATIME, MOUNT_ATTR_ATIME],
  atime: [MOUNT_ATTR_RELATIME, MOUNT_ATTR_ATIME],
  strictatime: [MOUNT_ATTR_STRICTATIME, MOUNT_ATTR_ATIME],
};

/** Those of a mount that can be written, besides. */
const WRITABLE_FLAGS: typeof FLAGS = { ro: [MOUNT_ATTR_RDONLY, 0], rw: [0, MOUNT_ATTR_RDONLY] };

/** Options that the kernel shows for a FUSE mount, and mount(8) repeats. */
const SHOWN =
  /^(?:remount|bind|allow_other|default_permissions|(?:fd|rootmode|user_id|group_id|max_read|blksize|subtype|fsname|source)=.*)$/;

/**
 * Changes flags of the mount at `mountpoint`.
 * @param lists of options, from mount(8): the changes, among the options that the mount or fstab has
 * @throws CfsError: `usage` for an option that cannot be changed, `mount` if the kernel refuses
 */
export function remount(mountpoint: string, lists: readonly string[]): void {
  const words = lists.flatMap(splitList);
  const answer = askMountAt(mountpoint);
  const isLayered = answer.sources.some(({ kind }) => kind === 'upperdir');
  // with `ro` the file system itself is read-only, and its server too
  const isWritable = isLayered && !splitList(pathText(answer.mount.options)).includes('ro');
  const flags = isWritable ? { ...FLAGS, ...WRITABLE_FLAGS } : FLAGS;
  const others = words.filter((word) => flags[word] === undefined && !SHOWN.test(word));
  // refuses unknown words
  parseMountWords([...remoteWords(answer), ...others].map(escapedValue));
  const changed = others.filter((word) => isCfsWord(word) && !isSame(word, answer));
  if (changed.length > 0) {
    throw new CfsError(
      'usage',
      `Cannot change ${changed.join(', ')} of the mount at ${mountpoint}: unmount it, and mount it again. A remount changes exec, suid, dev, atime and their opposites${isWritable ? ', ro and rw' : ''}.`,
    );
  }
  let [set, clear] = [0, 0];
  for (const word of words) {
    const [sets, clears] = flags[word] ?? [0, 0];
    // the last one of a kind counts
    set = (set & ~clears) | sets;
    clear = (clear & ~sets) | clears;
  }
  // mount(8) passes it unless "ro" is given: it is significant only alone
  if (!isWritable && words.includes('rw') && set === 0 && clear === 0) {
    const reason = isLayered ? 'it was mounted with ro' : 'an image is read-only';
    throw new CfsError('usage', `Cannot make the mount at ${mountpoint} writable: ${reason}`);
  }
  const result = setMountAttributes(resolve(mountpoint), set, clear);
  if (!isErrno(result)) return;
  const reason =
    result === ENOSYS
      ? 'it takes mount_setattr(2) of Linux 5.12. Unmount it, and mount it again'
      : result === EPERM
        ? 'operation not permitted: that needs CAP_SYS_ADMIN'
        : errnoText(result);
  throw new CfsError('mount', `Cannot remount ${mountpoint}: ${reason}`);
}

/** An option that only cfs knows: others are not related to an existing mount. */
const isCfsWord = (word: string): boolean => /=/.test(word) && !/^(?:x-|X-|comment=)/.test(word);

const REMOTE_WORD = /^(?:repo=|cache=|cache-size=|cache-min-free=|cacert=|prefetch=|insecure$)/;

/** The options of remote repositories with which the mount was made. */
const remoteWords = ({ mount }: MountAnswer): string[] =>
  splitList(pathText(mount.options)).filter((word) => REMOTE_WORD.test(word));

/** Whether `word` changes nothing: `20G` and the bytes that were recorded are the same. */
function isSameRemote(word: string, answer: MountAnswer): boolean {
  const parsed = (...more: readonly string[]): string => {
    const { remote } = parseMountWords([...remoteWords(answer), ...more].map(escapedValue));
    return JSON.stringify(remote === undefined ? {} : normalized(remote));
  };
  return parsed(word) === parsed();
}

/** Servers may be written with a slash at the end, or without. */
function normalized({ addresses, ...options }: RemoteOptions): object {
  const urls = addresses.map((word) =>
    parseRemoteAddress(word, true)
      .mirrors.map(({ href }) => href)
      .join('|'),
  );
  return { ...options, urls: [...new Set(urls)] };
}

/** Whether the mount was made with this option: fstab repeats all of them. */
function isSame(word: string, answer: MountAnswer): boolean {
  const { mount, sources } = answer;
  const name = word.slice(0, word.indexOf('='));
  const value = word.slice(name.length + 1);
  if (REMOTE_WORD.test(word) && (name !== 'repo' || isRemote(value))) return isSameRemote(word, answer);
  if (name === 'repo' || name === 'basedir') {
    // an image whose contents are all inline is mounted without the given repositories
    const repositories = sources.filter(({ kind }) => kind === 'repository');
    if (repositories.length === 0) return true;
    const known = repositories.flatMap(({ path, given }) => [...(path === undefined ? [] : [path]), given]);
    const paths = known.map((path) => resolve(pathText(path)));
    return (name === 'repo' ? [value] : value.split(':')).every((dir) => dir === '' || paths.includes(resolve(dir)));
  }
  if (name === 'digest') return value.replace(/^fsverity-sha256:.*/, mount.imageId) === mount.imageId;
  return name === 'uuid' || splitList(pathText(mount.options)).includes(word);
}

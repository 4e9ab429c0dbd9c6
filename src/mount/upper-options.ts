/**
 * The words of `-o` for an upper layer, with the names and conflicts that overlayfs has (fs/overlayfs/params.c). Values
 * only: src/upper/prepare-upper.ts looks at the directories.
 */
import { resolve } from 'node:path';
import { CfsError } from '../base/error.ts';
import { escapedValue } from './option-list.ts';

/** `on`: renames of directories of the image are recorded. `follow`: only read. `nofollow`: neither. */
export type RedirectMode = 'on' | 'follow' | 'nofollow';

/** `on`, `off` or `auto` as overlayfs has it. */
export type XinoMode = 'on' | 'off' | 'auto';

/** `auto` if it is not given. */
export type UuidOfLayer = 'on' | 'off' | 'auto';

/** The settings of an upper layer; plain data. */
export interface UpperOptions {
  /** Absolute paths. */
  readonly upperdir: string;
  readonly workdir: string;
  /** xattrs of the layer begin with `user.overlay.`, not `trusted.overlay.`. */
  readonly userxattr: boolean;
  /** Nothing is written to the disk before it is convenient. */
  readonly volatile: boolean;
  readonly redirectDir: RedirectMode;
  /** A change of owner, mode or times copies no content. */
  readonly metacopy: boolean;
  /** Hard links stay links when they are copied up. Otherwise each name becomes a file of its own, as in overlayfs. */
  readonly index: boolean;
  /** Without effect: inode numbers of all files are of one kind, as overlayfs with xino=on has them. */
  readonly xino: XinoMode;
  /**
   * `on`: the upper directory gets the xattr `uuid` if it has none. `off`, `auto`: nothing is read or written. FUSE
   * cannot show it: it is for mounts of Linux.
   */
  readonly uuid: UuidOfLayer;
  readonly readOnly: boolean;
}

type Value = string | true;
/** The last value of each option. */
type Given = ReadonlyMap<string, Value>;

const ON_OFF = ['on', 'off'];

/** The values that an option takes; 'path': any but none; 'none': it takes none. */
type Allowed = readonly string[] | 'path' | 'none';

/** Options of an upper layer. */
const OPTIONS: ReadonlyMap<string, Allowed> = new Map<string, Allowed>([
  ['upperdir', 'path'],
  ['workdir', 'path'],
  ['userxattr', 'none'],
  ['volatile', 'none'],
  ['redirect_dir', ['on', 'follow', 'nofollow', 'off']],
  ['metacopy', ON_OFF],
  ['index', ON_OFF],
  ['xino', ['on', 'off', 'auto']],
]);

/** Options that mounts without an upper layer have, too. */
const SHARED: ReadonlyMap<string, Allowed> = new Map<string, Allowed>([
  ['uuid', ON_OFF],
  ['ro', 'none'],
  ['rw', 'none'],
]);

/** Names of the options that only an upper layer has. */
export const UPPER_OPTION_NAMES: readonly string[] = [...OPTIONS.keys()];

const usage = (message: string, hint?: string): CfsError => new CfsError('usage', message, { hint });

const nameOf = (word: string): string => /^[^=]*/.exec(word)?.[0] ?? word;

/** Whether this word of `-o` is for `parseUpperOptions` only. */
export const isUpperWord = (word: string): boolean => OPTIONS.has(nameOf(word));

/**
 * The settings of the upper layer in a list of options; undefined if the list has no upperdir.
 * @param words as `splitList` returns them; words of other options are passed over
 * @throws CfsError (usage) that names the words
 */
export function parseUpperOptions(words: readonly string[]): UpperOptions | undefined {
  const given = lastValues(words);
  const upperdir = given.get('upperdir') as string | undefined;
  const workdir = given.get('workdir') as string | undefined;
  if (upperdir === undefined) {
    const without = UPPER_OPTION_NAMES.find((name) => given.has(name));
    if (without === undefined) return undefined;
    throw usage(`mount option ${without} needs upperdir=, the directory for changes`);
  }
  if (workdir === undefined) {
    throw usage(
      'mount option upperdir= needs workdir=, an empty directory on the same file system',
      'It is for files that are not complete yet, and must not be inside of upperdir.',
    );
  }
  const readOnly = given.get('ro') === true;
  if (given.has('volatile') && readOnly) throw conflict('volatile', 'ro');
  const userxattr = given.has('userxattr');
  return {
    upperdir: resolve(upperdir),
    workdir: resolve(workdir),
    userxattr,
    volatile: given.has('volatile'),
    ...(userxattr ? withoutRedirects(given) : withRedirects(given)),
    index: given.get('index') !== 'off',
    xino: (given.get('xino') as XinoMode | undefined) ?? 'auto',
    uuid: (given.get('uuid') as UuidOfLayer | undefined) ?? 'auto',
    readOnly,
  };
}

const conflict = (one: string, other: string): CfsError =>
  usage(`mount options ${one} and ${other} exclude each other`, 'Leave one of them out.');

/** Of equal options, and of `ro` and `rw`, the last one counts. */
function lastValues(words: readonly string[]): Given {
  const given = new Map<string, Value>();
  for (const word of words) {
    const name = nameOf(word);
    const allowed = OPTIONS.get(name) ?? SHARED.get(name);
    if (allowed === undefined) continue;
    const value = valueIn(word, name, allowed);
    if (name === 'ro' || name === 'rw') given.delete(name === 'ro' ? 'rw' : 'ro');
    given.set(name, value);
  }
  return given;
}

function valueIn(word: string, name: string, allowed: Allowed): Value {
  const hasValue = word.length > name.length;
  if (allowed === 'none') {
    if (hasValue) throw usage(`mount option ${name} takes no value`);
    return true;
  }
  if (!hasValue) throw usage(`mount option ${name} needs a value: ${name}=…`);
  const value = word.slice(name.length + 1);
  if (allowed === 'path' ? value !== '' : allowed.includes(value)) return value;
  throw usage(
    allowed === 'path'
      ? `mount option ${name}= needs a directory`
      : `mount option ${name}= takes ${allowed.join(', ')}; not "${value}"`,
  );
}

type Redirects = Pick<UpperOptions, 'redirectDir' | 'metacopy'>;

/** Any user can write `user.` xattrs, and would choose with them which file of the image is shown. */
function withoutRedirects(given: Given): Redirects {
  const redirect = given.get('redirect_dir');
  if (redirect === 'on' || redirect === 'follow') throw conflict('userxattr', `redirect_dir=${redirect}`);
  if (given.get('metacopy') === 'on') throw conflict('userxattr', 'metacopy=on');
  return { redirectDir: 'nofollow', metacopy: false };
}

/** A renamed file without content needs a redirect to its content, so metacopy=on is refused without redirects. */
function withRedirects(given: Given): Redirects {
  const redirect = given.get('redirect_dir');
  const metacopy = given.get('metacopy');
  if (redirect === undefined || redirect === 'on') return { redirectDir: 'on', metacopy: metacopy !== 'off' };
  if (metacopy === 'on') throw conflict('metacopy=on', `redirect_dir=${redirect}`);
  // overlayfs's own default of "off" (CONFIG_OVERLAY_FS_REDIRECT_ALWAYS_FOLLOW)
  return { redirectDir: redirect === 'nofollow' ? 'nofollow' : 'follow', metacopy: false };
}

/** The options that yield these settings again, except `uuid`, which is for one mount. */
export function formatUpperOptions(options: UpperOptions): string {
  const onOff = (value: boolean): string => (value ? 'on' : 'off');
  const list = [
    options.readOnly ? 'ro' : 'rw',
    `upperdir=${escapedValue(options.upperdir)}`,
    `workdir=${escapedValue(options.workdir)}`,
    `redirect_dir=${options.redirectDir}`,
    `metacopy=${onOff(options.metacopy)}`,
    `index=${onOff(options.index)}`,
    `xino=${options.xino}`,
  ];
  if (options.userxattr) list.push('userxattr');
  if (options.volatile) list.push('volatile');
  return list.join(',');
}

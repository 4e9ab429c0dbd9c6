/** The words of `-o`: those of cfs, of mount(8), and of mount.composefs. */

import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { CfsError } from '../base/error.ts';
import { formatImageDigest, parseImageDigest } from '../base/image-digest.ts';
import { suggestion } from '../base/suggest.ts';
import type { VerifyMode } from '../objects/repository.ts';
import { isRemote } from '../remote/remote-url.ts';
import { choice, escapedValue, splitList } from './option-list.ts';
import type { Driver, MountOptions } from './options.ts';
import {
  checkWithRemote,
  formatRemoteOptions,
  type NetworkWords,
  REMOTE_VALUED,
  remoteOptions,
} from './remote-options.ts';
import { MOST_THREADS } from './threads/most-threads.ts';
import { formatUpperOptions, isUpperWord, parseUpperOptions, UPPER_OPTION_NAMES } from './upper-options.ts';

/** `off`: repositories of a saved list are accepted although their uuid, or that of their file system, differs. */
export type UuidMode = 'on' | 'off';

/** All settings of `-o`. */
export interface MountWords
  extends Omit<MountOptions, 'image' | 'mountpoint' | 'given' | 'words' | 'log' | 'trustedKeys'> {
  readonly uuid: UuidMode;
  /** Absolute paths of public keys: the image must be signed by one of them. Empty: it need not be signed. */
  readonly keys: readonly string[];
}

type Mutable = { -readonly [K in keyof MountWords]: MountWords[K] } & {
  repositories: string[];
  keys: string[];
  /** RemoteOptions, which need an address. */
  network: NetworkWords;
  /** Set by `require-signature`. */
  isSignatureRequired: boolean;
};

/** All travel to the server, and with a mount to the next one. */
const MAX_KEYS = 32;

const usage = (message: string, hint?: string): CfsError => new CfsError('usage', message, { hint });

/** Options with a value. */
const VALUED: ReadonlyMap<string, (words: Mutable, value: string) => void> = new Map(
  Object.entries({
    digest: (words, value) => {
      const digest = parseImageDigest(value);
      if (digest === undefined) {
        throw usage(
          `mount option digest= takes an image id, 64 hexadecimal digits, or fsverity-sha256: and as many; not "${value}"`,
        );
      }
      words.digest = formatImageDigest(digest);
    },
    verify: (words, value) => {
      words.verify = choice<VerifyMode>('verify', ['auto', 'open', 'read', 'fsverity', 'off'])(value);
    },
    driver: (words, value) => {
      words.driver = choice<Driver>('driver', ['kernel', 'fuse-native'])(value);
    },
    threads: (words, value) => {
      const n = Number(value);
      if (!/^\d+$/.test(value) || n < 1 || n > MOST_THREADS)
        throw usage(`mount option threads= takes 1 to ${MOST_THREADS}; not "${value}"`);
      words.threads = n;
    },
    restart: (words, value) => {
      words.restart = choice('restart', ['on', 'off'])(value) === 'on';
    },
    uuid: (words, value) => {
      words.uuid = choice<UuidMode>('uuid', ['on', 'off'])(value);
    },
    // composefs: directories separated by colons, searched in order
    basedir: (words, value) => {
      const directories = value.split(':').filter((dir) => dir !== '');
      if (directories.length === 0) throw usage('mount option basedir= needs a directory');
      words.repositories.push(...directories);
    },
    repo: (words, value) => {
      if (value === '') throw usage('mount option repo= needs a directory');
      if (isRemote(value)) words.network.addresses.push(value);
      else words.repositories.push(value);
    },
    ...REMOTE_VALUED,
    record: (words, value) => {
      if (value === '') throw usage('mount option record= needs a file');
      words.record = resolve(value);
    },
    key: (words, value) => {
      if (value === '') throw usage('mount option key= needs the file of a public key');
      words.keys.push(resolve(value));
    },
    fsname: (words, value) => {
      if (value === '') throw usage('mount option fsname= needs a name');
      words.source = value;
    },
  }),
);

/** Options without a value. */
const PLAIN: ReadonlyMap<string, (words: Mutable) => void> = new Map(
  Object.entries({
    allow_other: (words) => {
      words.allowOther = true;
    },
    noallow_other: (words) => {
      words.allowOther = false;
    },
    suid: (words) => {
      words.suid = true;
    },
    nosuid: (words) => {
      words.suid = false;
    },
    dev: (words) => {
      words.dev = true;
    },
    nodev: (words) => {
      words.dev = false;
    },
    exec: (words) => {
      words.exec = true;
    },
    noexec: (words) => {
      words.exec = false;
    },
    noatime: (words) => {
      words.noatime = true;
    },
    inode32: (words) => {
      words.inode32 = true;
    },
    inode64: (words) => {
      words.inode32 = false;
    },
    overlayxattr: (words) => {
      words.hideOverlayXattrs = false;
    },
    nooverlayxattr: (words) => {
      words.hideOverlayXattrs = true;
    },
    debug: (words) => {
      words.debug = true;
    },
    nonempty: (words) => {
      words.nonempty = true;
    },
    insecure: (words) => {
      words.network.insecure = true;
    },
    'require-complete': (words) => {
      words.requireComplete = true;
    },
    'require-signature': (words) => {
      words.isSignatureRequired = true;
    },
  }),
);

/**
 * Options that fstab, mount(8) and systemd add, and those that always apply: an image is read-only, and the kernel
 * always checks permissions. mount(8) passes `rw` to every helper unless `ro` is given. With an upper layer,
 * upper-options.ts obeys both.
 */
const IGNORED: ReadonlySet<string> = new Set(
  (
    'ro rw defaults auto noauto user nouser users owner group nofail _netdev async sync dirsync atime relatime ' +
    'norelatime strictatime nostrictatime diratime nodiratime lazytime nolazytime iversion noiversion mand nomand ' +
    'silent loud default_permissions'
  ).split(' '),
);
const IGNORED_PREFIX = /^(?:x-|X-|comment=)/;

/**
 * The defaults. Root's mounts are accessible to all users, like those of any file system; others need
 * `user_allow_other` in /etc/fuse.conf for that.
 */
function defaults(): Mutable {
  return {
    repositories: [],
    verify: 'auto',
    driver: 'kernel',
    threads: Math.min(availableParallelism(), 2),
    allowOther: process.geteuid?.() === 0,
    suid: false,
    dev: false,
    exec: true,
    noatime: false,
    inode32: false,
    hideOverlayXattrs: false,
    debug: process.env['CFS_DEBUG'] === 'requests',
    nonempty: false,
    requireComplete: false,
    restart: true,
    uuid: 'on',
    keys: [],
    network: { addresses: [], insecure: false },
    isSignatureRequired: false,
  };
}

/**
 * @param lists the arguments of each `-o`: options separated by commas; `\,` is a comma in a value
 * @param saved a list of `formatMountWords`, over which these take precedence: a key replaces its keys
 * @throws CfsError (usage) that names the word
 */
export function parseMountWords(lists: readonly string[], saved = ''): MountWords {
  const words = defaults();
  const [before, given] = [splitList(saved), lists.flatMap(splitList)];
  addWords(words, before);
  const savedKeys = words.keys.splice(0);
  addWords(words, given);
  if (words.keys.length === 0) words.keys.push(...savedKeys);
  const { isSignatureRequired, network, ...local } = words;
  const remote = remoteOptions(network);
  const rest: MountWords = remote === undefined ? local : { ...local, remote };
  if (isSignatureRequired && rest.keys.length === 0) {
    throw usage('mount option require-signature needs a key: key=PUB.pem, the public key of the signer');
  }
  if (rest.keys.length > MAX_KEYS)
    throw usage(`mount option key= can be given ${MAX_KEYS} times; not ${rest.keys.length}`);
  const upper = parseUpperOptions([...before, ...given]);
  if (remote !== undefined) checkWithRemote(rest, upper !== undefined);
  if (rest.record !== undefined) checkWithRecord(rest, upper !== undefined);
  if (upper === undefined) return rest;
  checkWithUpper(rest);
  // the pages of a file must outlast its first change, when the content is copied to the upper layer
  return { ...rest, upper, verify: 'read' };
}

/** @throws CfsError (usage) for options that a mount whose profile is written cannot have */
function checkWithRecord({ driver }: MountWords, isWritable: boolean): void {
  if (isWritable) throw usage('mount options record= and upperdir= exclude each other: record a read-only mount');
  if (driver !== 'kernel') throw usage(`mount options record= and driver=${driver} exclude each other`);
}

/** @throws CfsError (usage) for options that a mount with an upper layer cannot have */
function checkWithUpper({ driver, verify, inode32 }: MountWords): void {
  if (driver !== 'kernel') {
    throw usage(
      `mount options driver=${driver} and upperdir= exclude each other: the portable driver is read-only`,
      'Leave one of them out.',
    );
  }
  if (verify !== 'auto' && verify !== 'read') {
    throw usage(
      `mount options verify=${verify} and upperdir= exclude each other`,
      'A mount with an upper layer verifies each block of the image when it is read, as with verify=read.',
    );
  }
  if (inode32 === true) {
    throw usage(
      'mount options inode32 and upperdir= exclude each other: new files have inode numbers of 52 bits',
      'Leave one of them out.',
    );
  }
}

function addWords(words: Mutable, list: readonly string[]): void {
  for (const word of list) {
    if (IGNORED.has(word) || IGNORED_PREFIX.test(word) || isUpperWord(word)) continue;
    const equals = word.indexOf('=');
    const name = equals < 0 ? word : word.slice(0, equals);
    const valued = VALUED.get(name);
    const plain = PLAIN.get(name);
    if (valued !== undefined && equals >= 0) valued(words, word.slice(equals + 1));
    else if (valued !== undefined) throw usage(`mount option ${name} needs a value: ${name}=…`);
    else if (plain !== undefined && equals < 0) plain(words);
    else if (plain !== undefined) throw usage(`mount option ${name} takes no value`);
    else {
      const near = suggestion(name, [...VALUED.keys(), ...PLAIN.keys(), ...UPPER_OPTION_NAMES, ...IGNORED]);
      throw usage(`unknown mount option "${word}"${near}`, '`MountOptions` lists them.');
    }
  }
}

/** The options that yield these settings again, except those of local sources: repositories, digest, uuid. */
export function formatMountWords(words: MountWords): string {
  const list = [
    `verify=${words.verify}`,
    `driver=${words.driver}`,
    `threads=${words.threads}`,
    words.allowOther ? 'allow_other' : 'noallow_other',
    words.suid ? 'suid' : 'nosuid',
    words.dev ? 'dev' : 'nodev',
    words.exec ? 'exec' : 'noexec',
    `restart=${words.restart ? 'on' : 'off'}`,
  ];
  if (words.noatime) list.push('noatime');
  if (words.inode32) list.push('inode32');
  if (words.hideOverlayXattrs) list.push('nooverlayxattr');
  if (words.nonempty) list.push('nonempty');
  if (words.requireComplete) list.push('require-complete');
  if (words.record !== undefined) list.push(`record=${escapedValue(words.record)}`);
  if (words.keys.length > 0) list.push('require-signature');
  for (const key of words.keys) list.push(`key=${escapedValue(key)}`);
  if (words.source !== undefined) list.push(`fsname=${escapedValue(words.source)}`);
  if (words.upper !== undefined) list.push(formatUpperOptions(words.upper));
  if (words.remote !== undefined) list.push(...formatRemoteOptions(words.remote));
  return list.join(',');
}

/** Whether mount(8) requests changes of an existing mount. */
export const isRemount = (lists: readonly string[]): boolean => lists.flatMap(splitList).includes('remount');

/**
 * The command-line equivalents of the functions and options that the hints of errors name (`CfsError.hint`).
 * `test/unit/tools/hint-words.test.ts` compares this list with the hints in src/.
 */
import { type CfsError, withHint } from '../src/base/error.ts';

type Words = string | ((...given: readonly unknown[]) => string);

/** By the name of a function or option of the library. */
export const HINT_WORDS: Readonly<Record<string, Words>> = {
  MountOptions: "'cfs-mount --help'",
  digest: '-o digest=',
  extractImage: "'cfs-info extract'",
  fetchImage: "'cfs-repo pull'",
  from: '--from',
  hash: '--hash',
  image: 'IMAGE',
  'image.id': "'cfs-info id'",
  'image.verityDigest': "'cfs-info id --fsverity'",
  initRepository: (dir, options) => {
    const hash = (options as { hash?: unknown } | undefined)?.hash;
    return `'cfs-repo init ${hash === undefined ? '' : `--hash ${hash} `}${dir}'`;
  },
  insecure: '--insecure, or -o insecure of cfs-mount',
  jobs: '--jobs',
  keepNone: '--keep-none',
  listMounts: "'cfs-info mounts'",
  missing: "'cfs-info missing'",
  mount: 'cfs-mount',
  mountpoint: 'MOUNTPOINT',
  nonempty: '-o nonempty',
  oneFileSystem: '--one-file-system',
  pack: 'cfs-mkimage',
  passphrase: '--passphrase-file FILE, or the passphrase in CFS_PASSPHRASE',
  registerImage: (...given) => `'${['cfs-repo register', ...given].join(' ')}'`,
  repositories: '--repo',
  repository: '--repo DIR, or CFS_STORE',
  seal: '--seal',
  skipXattrs: '--skip-xattrs',
  saveSources: "'cfs-info sources --json MOUNT'",
  tarImage: "'cfs-info tar'",
  threads: '--threads',
  unregisterImage: "'cfs-repo unregister'",
  userxattr: '-o userxattr',
  'uuid=off': '-o uuid=off',
};

/** A name in backquotes, or a call with its arguments as JSON. */
const CODE = /`([\w.=]+)(?:\((.*?)\))?`/g;

/** A hint with the words of the command lines. */
export function inToolWords(hint: string): string {
  return hint.replace(CODE, (code, name: string, given: string | undefined) => {
    const words = Object.hasOwn(HINT_WORDS, name) ? HINT_WORDS[name] : undefined;
    if (words === undefined) return code;
    return typeof words === 'string' ? words : words(...argumentsOf(given));
  });
}

function argumentsOf(given: string | undefined): readonly unknown[] {
  try {
    return JSON.parse(`[${given ?? ''}]`) as unknown[];
  } catch {
    return []; // a path with the end of a call in it
  }
}

/** The hint of an error for people at a command line. */
export const hintOf = ({ hint }: Pick<CfsError, 'hint'>): string | undefined =>
  hint === undefined ? undefined : inToolWords(hint);

/** The full text of an error for a person at a command line. */
export const textOf = (error: Pick<CfsError, 'message' | 'hint'>): string => withHint(error.message, hintOf(error));

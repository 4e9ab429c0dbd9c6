/** What a mount is made with. */
import type { Log } from '../base/log.ts';
import type { VerifyMode } from '../objects/repository.ts';
import type { TrustedKey } from '../sign/keys.ts';

export type Driver = 'kernel' | 'fuse-native';

/** What a process does that serves one mount and nothing else. */
export interface OwnProcess {
  /** Called where a thread failed, before the mount is taken away: another process may go on serving it. */
  failed(): void;
}

export interface MountOptions {
  readonly image: string;
  readonly mountpoint: string;
  /** Directories of repositories, in search order. */
  readonly repositories: readonly string[];
  /** Image and repositories as given on the command line, in the same order; default: their paths. */
  readonly given?: { readonly image: string; readonly repositories: readonly string[] };
  /** These options in the syntax of -o, which the mount reports so that it can be repeated. */
  readonly words?: string;
  /** The image id or fs-verity digest that the file must have, as image-digest.ts reads it. */
  readonly digest?: string;
  /** The image must be signed by one of these; if the list is empty, no signature is accepted. */
  readonly trustedKeys?: readonly TrustedKey[];
  readonly verify: VerifyMode;
  readonly driver: Driver;
  readonly threads: number;
  readonly allowOther: boolean;
  readonly suid: boolean;
  readonly dev: boolean;
  readonly exec: boolean;
  readonly noatime: boolean;
  /**
   * Show inode numbers of 32 bits in place of stable ids; settings of an earlier version have none of this, nor of the
   * next.
   */
  readonly inode32?: boolean;
  /** Log one line for each request (kernel driver). */
  readonly debug?: boolean;
  /** No `trusted.overlay.*` and `user.overlay.*`. */
  readonly hideOverlayXattrs?: boolean;
  /** Accept a mount point that is not empty, or already has something mounted on it. */
  readonly nonempty: boolean;
  /** Refuse an image of which an object is in no repository. */
  readonly requireComplete?: boolean;
  /** Keep all that another process needs to go on serving where this one dies (kernel driver). */
  readonly restart: boolean;
  /**
   * Set by a process that serves this mount and does nothing else. At the mount's end it lets go of all files and
   * directories that it has open, so that their file systems can be unmounted at once.
   */
  readonly ownProcess?: OwnProcess;
  /** What mountinfo shows as source; default: the image's path. */
  readonly source?: string;
  /** Receives lines about objects that could not be served, and the like. */
  readonly log: Log;
}

/** What a mount is made with, and made again with; plain data. All paths are absolute. */
export type MountSettings = Omit<MountOptions, 'log' | 'ownProcess'>;

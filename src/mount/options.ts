/** Options of a mount. */
import type { DiskPart } from '../base/byte-size.ts';
import type { Log } from '../base/log.ts';
import type { VerifyMode } from '../objects/repository.ts';
import type { PrefetchMode } from '../remote/prefetch.ts';
import type { TrustedKey } from '../sign/keys.ts';
import type { UpperOptions } from './upper-options.ts';

export type Driver = 'kernel' | 'fuse-native';

/** The part of a process that serves one mount and does nothing else. */
export interface OwnProcess {
  /** Called if a thread failed, before the mount is taken away: another process may continue to serve it. */
  failed(): void;
}

/** Repositories on the network, whose objects are fetched when they are opened first. */
export interface RemoteOptions {
  /** `https://a/x`, or `https://a/x|https://b/x` for mirrors; asked in this order. At least one. */
  readonly addresses: readonly string[];
  /** The directory of the cache, absolute; it has a repository for each hash algorithm. */
  readonly cache: string;
  /** Bytes of the cache, at most; undefined: no limit. */
  readonly cacheSize?: number;
  /** What is to be free on the disk of the cache; undefined: nothing is deleted for that. */
  readonly cacheMinFree?: DiskPart;
  /** What is fetched before someone opens it; default: `hot`. */
  readonly prefetch?: PrefetchMode | 'off';
  /** Permits `http://` to other machines. */
  readonly insecure: boolean;
  /** A file of certificates that are trusted beside those of node. */
  readonly cacert?: string;
}

export const prefetchOf = ({ prefetch = 'hot' }: Pick<RemoteOptions, 'prefetch'>): PrefetchMode | 'off' => prefetch;

export interface MountOptions {
  readonly image: string;
  readonly mountpoint: string;
  /** Directories of repositories, in search order. */
  readonly repositories: readonly string[];
  /** Where objects come from that no repository has; undefined also in settings of an earlier version. */
  readonly remote?: RemoteOptions;
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
   * Show inode numbers of 32 bits in place of stable ids. Settings of an earlier version lack this key and the next
   * two.
   */
  readonly inode32?: boolean;
  /** Log one line for each request (kernel driver). */
  readonly debug?: boolean;
  /** No `trusted.overlay.*` and `user.overlay.*`. */
  readonly hideOverlayXattrs?: boolean;
  /** The directories for changes; undefined if the mount is read-only, and in settings of an earlier version. */
  readonly upper?: UpperOptions;
  /** Accept a mount point that is not empty, or already has something mounted on it. */
  readonly nonempty: boolean;
  /** An absolute path: the profile of the mount is written there. Not with an upper layer; kernel driver. */
  readonly record?: string;
  /** Refuse an image if one of its objects is in no repository. */
  readonly requireComplete?: boolean;
  /** Keep all that another process needs to continue serving if this one dies (kernel driver). */
  readonly restart: boolean;
  /**
   * Set by a process that serves this mount and does nothing else. At the mount's end it closes all its files and
   * directories, so that their file systems can be unmounted at once.
   */
  readonly ownProcess?: OwnProcess;
  /** The source that mountinfo shows; default: the image's path. */
  readonly source?: string;
  /** Receives lines about objects that could not be served, and similar events. */
  readonly log: Log;
}

/** The settings of a mount, with which another server makes it again; plain data. All paths are absolute. */
export type MountSettings = Omit<MountOptions, 'log' | 'ownProcess'>;

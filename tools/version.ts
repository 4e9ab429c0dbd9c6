/** `--version`, and `cfs-info version`: the program, and what this machine can do with it. */
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { machine, release } from 'node:os';
import { join } from 'node:path';
import { loadNativeBlake3 } from '../src/base/digest.ts';
import { version } from '../src/base/installation.ts';

/** For reports of bugs, too: it has no name of the machine or of a user. */
export interface VersionReport {
  readonly version: string;
  readonly node: string;
  readonly nodePath: string;
  /** Release of the kernel, such as "6.12.1". */
  readonly kernel: string;
  readonly machine: string;
  /** The drivers of mounts that can be loaded here; the first one is the default. */
  readonly drivers: readonly string[];
  /** The package that hashes. */
  readonly blake3: string;
  /** What calls flock(2): "fs-ext", or "koffi" if fs-ext is not compiled for this node. */
  readonly flock: string;
  /** Whether this user may open /dev/fuse. */
  readonly devFuse: boolean;
  /** The path of fusermount3; null if there is none. Other users than root need it outside of a user namespace. */
  readonly fusermount3: string | null;
  /** Whether the kernel can read file contents itself, for mounts that root makes. */
  readonly passthrough: boolean;
  /** Whether the kernel sends requests again to a server that takes over. */
  readonly resend: boolean;
  /** The types of file systems with fs-verity that the kernel has now. */
  readonly fsverity: readonly string[];
  /** Whether users may make user namespaces, in which they mount. */
  readonly userNamespaces: boolean;
}

/** What holds now; a module of the kernel that is loaded later may change it. */
export function versionReport(): VersionReport {
  return {
    version: version(),
    node: process.versions.node,
    nodePath: process.execPath,
    kernel: release(),
    machine: machine(),
    drivers: ['kernel', ...(canResolve('fuse-native/package.json') ? ['fuse-native'] : [])],
    blake3: process.env['CFS_BLAKE3'] !== 'portable' && works(loadNativeBlake3) ? '@napi-rs/blake-hash' : 'blake3',
    flock: works(() => require('fs-ext')) ? 'fs-ext' : 'koffi',
    devFuse: works(() => accessSync('/dev/fuse', constants.R_OK | constants.W_OK)),
    fusermount3: findProgram('fusermount3'),
    passthrough: isSince(6, 9) && kernelSetting('CONFIG_FUSE_PASSTHROUGH') !== false,
    resend: isSince(6, 9),
    fsverity: ['btrfs', 'ext4', 'f2fs'].filter((type) => existsSync(`/sys/fs/${type}/features/verity`)),
    userNamespaces: allowsUserNamespaces(),
  };
}

/** The report in four lines. */
export function versionText(tool: string): string {
  const report = versionReport();
  const { passthrough, resend, fsverity, userNamespaces, devFuse, fusermount3 } = report;
  const list = (words: Readonly<Record<string, boolean>>): string =>
    Object.entries(words)
      .map(([word, has]) => (has ? word : `no ${word}`))
      .join(', ');
  return [
    `${tool} ${report.version}`,
    `node ${report.node}, Linux ${report.kernel} ${report.machine}, ${report.blake3}, flock by ${report.flock}`,
    `drivers: ${report.drivers.join(', ')}; ${list({ '/dev/fuse': devFuse, fusermount3: fusermount3 !== null })}`,
    `kernel: ${list({
      passthrough,
      resend,
      [fsverity.length > 0 ? `fs-verity (${fsverity.join(', ')})` : 'fs-verity']: fsverity.length > 0,
      'user namespaces': userNamespaces,
    })}`,
    '',
  ].join('\n');
}

const require = createRequire(import.meta.url);

/** Loaded when it is needed: all tools load this module. */
const zlib = (): typeof import('node:zlib') => require('node:zlib');

function works(call: () => unknown): boolean {
  try {
    call();
    return true;
  } catch {
    return false;
  }
}

const canResolve = (name: string): boolean => works(() => require.resolve(name));

function findProgram(name: string): string | null {
  const paths = (process.env['PATH'] ?? '').split(':').map((directory) => join(directory, name));
  return paths.find((path) => works(() => accessSync(path, constants.X_OK))) ?? null;
}

function isSince(major: number, minor: number): boolean {
  const [have = 0, haveMinor = 0] = release()
    .split('.', 2)
    .map((word) => Number.parseInt(word, 10));
  return have > major || (have === major && haveMinor >= minor);
}

/** Whether the kernel was built with it; undefined if its configuration is not readable here. */
function kernelSetting(name: string): boolean | undefined {
  for (const path of ['/proc/config.gz', `/boot/config-${release()}`]) {
    try {
      const bytes = readFileSync(path);
      const text = (path.endsWith('.gz') ? zlib().gunzipSync(bytes) : bytes).toString();
      return new RegExp(`^${name}=[ym]$`, 'm').test(text);
    } catch {
      // it is not there
    }
  }
  return undefined;
}

/** user_namespaces(7), and the switches of Debian and of AppArmor. */
function allowsUserNamespaces(): boolean {
  const setting = (path: string): string | undefined => {
    try {
      return readFileSync(`/proc/sys/${path}`, 'utf8').trim();
    } catch {
      return undefined;
    }
  };
  return (
    Number(setting('user/max_user_namespaces') ?? 0) > 0 &&
    setting('kernel/unprivileged_userns_clone') !== '0' &&
    setting('kernel/apparmor_restrict_unprivileged_userns') !== '1'
  );
}

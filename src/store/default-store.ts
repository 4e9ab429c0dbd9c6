/** The default repository, those that are searched by default, and the default cache. */
import { statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { pathText } from '../base/path-text.ts';
import { configured, configuredList } from '../system/config-files.ts';
import { exactVariable } from '../system/exact-words.ts';
import { mapsEverybody } from '../system/user-namespace.ts';

const STATE = '/var/lib';

/**
 * $CFS_STORE, else `store` of the configuration, else /var/lib/cfs for root, else $XDG_DATA_HOME/cfs
 * (~/.local/share/cfs). A user that is root only in its own user namespace (unshare --map-root-user) has the same
 * default as outside of it.
 * @throws CfsError (usage) if a configuration file is wrong
 */
export function defaultStore(): string {
  const named = exactVariable('CFS_STORE');
  if (named !== undefined && named !== '') return named;
  const store = configured('store');
  if (store !== undefined) return store.value;
  if (process.geteuid?.() === 0 && ownsState()) return join(STATE, 'cfs');
  const data = exactVariable('XDG_DATA_HOME');
  // the XDG base directory specification: relative values are invalid and ignored
  return join(data?.startsWith('/') ? data : join(homeDirectory(), '.local/share'), 'cfs');
}

/**
 * The repositories in which objects are looked for if none is named: $CFS_STORE, else those of `repo` of the
 * configuration, else the default one. Those of the configuration may be URLs.
 * @throws CfsError (usage) if a configuration file is wrong
 */
export function defaultRepositories(): readonly string[] {
  if ((exactVariable('CFS_STORE') ?? '') !== '') return [defaultStore()];
  const repos = configuredList('repo');
  return repos.length > 0 ? repos.map(({ value }) => value) : [defaultStore()];
}

/** The default cache of remote repositories: /var/cache/cfs for root, else $XDG_CACHE_HOME/cfs (~/.cache/cfs). */
export function defaultCache(): string {
  if (process.geteuid?.() === 0 && ownsState()) return '/var/cache/cfs';
  const cache = exactVariable('XDG_CACHE_HOME');
  return join(cache?.startsWith('/') ? cache : join(homeDirectory(), '.cache'), 'cfs');
}

/** Like os.homedir(): the home directory of the user's entry if $HOME is not set. */
function homeDirectory(): string {
  return exactVariable('HOME') || pathText(userInfo({ encoding: 'buffer' }).homedir);
}

/** Whether user 0 here is root of the machine, or of a container with a /var/lib of its own. */
const ownsState = (): boolean => mapsEverybody() || ownerOf(STATE) === 0;

/** In a namespace, 65534 if the owner is not mapped there. */
function ownerOf(path: string): number | undefined {
  try {
    return statSync(path).uid;
  } catch {
    return undefined;
  }
}

/** Keys of the configuration for mounts. */

import type { ConfigKey } from '../../src/base/config-text.ts';
import { escapedValue, splitList } from '../../src/mount/option-list.ts';
import { isRemote } from '../../src/remote/remote-url.ts';
import { configured, configuredList } from '../../src/system/config-files.ts';

/**
 * The lists of `-o`, with the keys of the configuration if they require a signature and name no key. They never
 * replace keys, and never decide whether a signature is required.
 * @param saved the words of the mount that is repeated
 * @throws CfsError (usage) if a configuration file is wrong
 */
export function withDefaultKeys(lists: readonly string[], saved = ''): readonly string[] {
  const words = [saved, ...lists].flatMap(splitList);
  if (!words.includes('require-signature') || words.some((word) => word.startsWith('key='))) return lists;
  return [...lists, ...configuredList('key').map(({ value }) => `key=${escapedValue(value)}`)];
}

/** Options of mounts that take no remote repositories (`checkWithRemote`). */
const LOCAL_ONLY = /^(?:upperdir=.*|verify=fsverity|driver=fuse-native)$/;

/**
 * The lists of `-o`, with those default repositories that are URLs. A mount that cannot have them does without: its
 * user has not asked for them.
 */
export function withDefaultUrls(lists: readonly string[], repositories: readonly string[]): readonly string[] {
  if (lists.flatMap(splitList).some((word) => LOCAL_ONLY.test(word))) return lists;
  return [...lists, ...repositories.filter(isRemote).map((url) => `repo=${escapedValue(url)}`)];
}

const CACHE: readonly ConfigKey[] = ['cache', 'cache-size', 'cache-min-free'];

/**
 * The lists of `-o`, with the cache of the configuration and its limits, if there are remote repositories and the lists
 * have no words of the same name. A mount records them, so they are not for one that is repeated.
 * @throws CfsError (usage) if a configuration file is wrong
 */
export function withDefaultCache(lists: readonly string[]): readonly string[] {
  const words = lists.flatMap(splitList);
  if (!words.some((word) => word.startsWith('repo=') && isRemote(word.slice('repo='.length)))) return lists;
  const missing = CACHE.filter((key) => !words.some((word) => word.startsWith(`${key}=`)));
  return [...lists, ...missing.flatMap((key) => wordOf(key) ?? [])];
}

function wordOf(key: ConfigKey): string | undefined {
  const found = configured(key);
  return found && `${key}=${escapedValue(found.value)}`;
}

/** Keys of the configuration for mounts. */
import { escapedValue, splitList } from '../../src/mount/option-list.ts';
import { configuredList } from '../../src/system/config-files.ts';

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

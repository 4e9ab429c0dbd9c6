/** The text of a configuration file: lines of `key = value`, and comments that begin with `#`. Pure. */
import { parseByteSize, parseDiskPart } from './byte-size.ts';
import { CfsError } from './error.ts';
import { suggestion } from './suggest.ts';

export const CONFIG_KEYS = ['store', 'repo', 'key', 'hash', 'color', 'cache', 'cache-size', 'cache-min-free'] as const;

export type ConfigKey = (typeof CONFIG_KEYS)[number];

/** Keys that may be in several lines of a file: each is one value more. */
const LISTS: ReadonlySet<ConfigKey> = new Set(['repo', 'key']);
/** Keys whose values are absolute paths. */
const PATHS: ReadonlySet<ConfigKey> = new Set(['store', 'repo', 'key', 'cache']);
const URL = /^https?:\/\//i;

export interface ConfigValue {
  readonly value: string;
  readonly line: number;
}

/** What values may be; absent if anything may. */
export const CONFIG_WORDS: Readonly<Partial<Record<ConfigKey, readonly string[]>>> = {
  hash: ['blake3', 'fsverity-sha256'],
  color: ['auto', 'always', 'never'],
};

/**
 * The values of each key, in the order of their lines; at least one.
 * @param file its path, for messages
 * @throws CfsError (usage) with file and line
 */
export function parseConfig(text: string, file: string): ReadonlyMap<ConfigKey, readonly ConfigValue[]> {
  const values = new Map<ConfigKey, ConfigValue[]>();
  for (const [i, whole] of text.split('\n').entries()) {
    const line = i + 1;
    const fail = (problem: string): CfsError => new CfsError('usage', `${file}:${line}: ${problem}`);
    const words = whole.trim();
    if (words === '' || words.startsWith('#')) continue;
    if (words.includes('\0')) throw fail('there is a NUL');
    const at = words.indexOf('=');
    if (at < 0) throw fail(`a line is "key = value", not "${words.slice(0, 80)}"`);
    const name = words.slice(0, at).trim();
    const value = words.slice(at + 1).trim();
    const key = CONFIG_KEYS.find((known) => known === name);
    if (key === undefined) {
      const near = suggestion(name.slice(0, 80), CONFIG_KEYS);
      throw fail(
        `there is no key "${name.slice(0, 80)}"${near === '' ? `; the keys are ${CONFIG_KEYS.join(', ')}` : near}`,
      );
    }
    const before = values.get(key) ?? [];
    if (before[0] !== undefined && !LISTS.has(key)) throw fail(`${key} is also in line ${before[0].line}`);
    const known = CONFIG_WORDS[key];
    if (value === '') throw fail(`${key} has no value`);
    if (known !== undefined && !known.includes(value)) {
      throw fail(`${key} is ${known.join(' or ')}, not "${value.slice(0, 80)}"`);
    }
    const what = whyWrong(key, value);
    if (what !== undefined) throw fail(`${key} is ${what}, not "${value.slice(0, 80)}"`);
    values.set(key, [...before, { value, line }]);
  }
  return values;
}

/** What the value of a key must be, if it is something else. */
function whyWrong(key: ConfigKey, value: string): string | undefined {
  if (key === 'cache-size') return parseByteSize(value) === undefined ? SIZE : undefined;
  if (key === 'cache-min-free') return parseDiskPart(value) === undefined ? `${SIZE}, or 1% to 99%` : undefined;
  if (!PATHS.has(key) || value.startsWith('/') || (key === 'repo' && URL.test(value))) return undefined;
  return key === 'repo' ? 'an absolute path or a URL' : 'an absolute path';
}

const SIZE = 'a number of bytes, with K, M, G or T for powers of 1024';

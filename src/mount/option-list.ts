/** Lists of options, as `-o` has them: separated by commas; a backslash makes a comma or backslash part of a value. */
import { CfsError } from '../base/error.ts';

/** The options of a list; `\,` is a comma in a value. */
export function splitList(list: string): string[] {
  return (list.match(/(?:\\.|[^,\\])+/g) ?? []).map((word) => word.replace(/\\(.)/g, '$1'));
}

/** A value as it is written in such a list. */
export const escapedValue = (value: string): string => value.replace(/[\\,]/g, '\\$&');

/** A value that is one of a few. @throws CfsError (usage) */
export function choice<T extends string>(word: string, allowed: readonly T[]): (value: string) => T {
  return (value) => {
    if (allowed.includes(value as T)) return value as T;
    throw new CfsError('usage', `mount option ${word}= takes ${allowed.join(', ')}; not "${value}"`);
  };
}

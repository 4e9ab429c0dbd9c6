/** Lists of options, as `-o` has them: separated by commas; a backslash makes a comma or backslash part of a value. */

/** The options of a list; `\,` is a comma in a value. */
export function splitList(list: string): string[] {
  return (list.match(/(?:\\.|[^,\\])+/g) ?? []).map((word) => word.replace(/\\(.)/g, '$1'));
}

/** A value as it is written in such a list. */
export const escapedValue = (value: string): string => value.replace(/[\\,]/g, '\\$&');

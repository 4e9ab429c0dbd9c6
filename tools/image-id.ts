/** Ids of images for people. */
import { Option } from 'commander';

/** Digits that are sufficient for people, whose terminals have 80 columns. */
const SHORT = 12;

/** The beginning of an id, for text. */
export const shortId = (id: string): string => id.slice(0, SHORT);

/** The option of commands with tables of ids; commander calls it `trunc`. */
export const noTruncOption = (): Option =>
  new Option('--no-trunc', `show all digits of ids on a terminal, instead of ${SHORT}`);

/** The id for standard output: its beginning on a terminal, unless `trunc` is false; all of it in a pipe. */
export const idForTable = (id: string, trunc = true): string => (trunc && process.stdout.isTTY ? shortId(id) : id);

/** Ids of images for people. */

/** Digits that are sufficient for people, whose terminals have 80 columns. */
const SHORT = 12;

/** The beginning of an id, for text. */
export const shortId = (id: string): string => id.slice(0, SHORT);

/** The id for a table on standard output: its beginning on a terminal, all of it in a pipe. */
export const idForTable = (id: string): string => (process.stdout.isTTY ? shortId(id) : id);

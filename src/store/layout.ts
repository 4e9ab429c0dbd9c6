/** Names and modes in the `objects` directory of a repository; docs/repository.md specifies the layout. */

/** The possible mode bits of an object: no user may write to it. */
export const OBJECT_MODE = 0o444;
/** The name of an object in its directory. */
export const OBJECT_NAME: RegExp = /^[0-9a-f]{62}$/;

/** The number of directories of objects. */
export const PREFIXES = 256;

/** "0a" for 10: the name of a directory of objects. */
export const prefixName = (prefix: number): string => prefix.toString(16).padStart(2, '0');

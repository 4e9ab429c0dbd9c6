/**
 * A position in a directory tree of any depth. A path longer than PATH_MAX (4096 bytes) cannot be named,
 * so each directory is opened relative to the one above it, through /proc/self/fd/N/name.
 */
import { closeSync, constants, fstatSync, openSync, readdirSync } from 'node:fs';

const OPEN_DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** Directories kept open on the way down; those further up are opened again through `..` on the way back. */
const MAX_OPEN = 32;

interface Level {
  /** -1 if the directory was closed to keep the number of descriptors bounded. */
  fd: number;
  readonly dev: bigint;
  readonly ino: bigint;
}

export class TreeCursor {
  readonly #levels: Level[] = [];

  /** Opens the root of the tree; throws errors of open(2). */
  constructor(root: string) {
    this.#push(openSync(root, constants.O_RDONLY | constants.O_DIRECTORY));
  }

  /** A path to `name` in the current directory, for any call that takes one. Valid until the cursor moves. */
  pathOf(name: Uint8Array): Buffer {
    return Buffer.concat([Buffer.from(`/proc/self/fd/${this.#top().fd}/`), name]);
  }

  /** A path to the current directory itself, that calls which follow no symbolic link can take too. */
  self(): Buffer {
    return this.pathOf(Buffer.from('.'));
  }

  /** The names in the current directory as bytes, sorted bytewise. */
  names(): Buffer[] {
    return readdirSync(this.self(), { encoding: 'buffer' }).sort(Buffer.compare);
  }

  /** Enters the directory `name`; throws errors of open(2), and then stays where it was. */
  enter(name: Uint8Array): void {
    this.#push(openSync(this.pathOf(name), OPEN_DIRECTORY));
    const above = this.#levels.at(-1 - MAX_OPEN);
    if (above !== undefined && above.fd >= 0) {
      closeSync(above.fd);
      above.fd = -1;
    }
  }

  /** Goes up to the directory above. Throws if `..` is no longer the directory that it came from. */
  leave(): void {
    const below = this.#top();
    const above = this.#levels.at(-2);
    if (above === undefined) throw new Error('the root of a tree has nothing above it');
    if (above.fd < 0) {
      const fd = openSync(`/proc/self/fd/${below.fd}/..`, OPEN_DIRECTORY);
      const { dev, ino } = fstatSync(fd, { bigint: true });
      if (dev !== above.dev || ino !== above.ino) {
        closeSync(fd);
        throw new Error('".." leads to another directory than the one that it was entered from');
      }
      above.fd = fd;
    }
    this.#levels.pop();
    closeSync(below.fd);
  }

  /** Closes everything; the cursor cannot be used afterwards. */
  close(): void {
    for (const { fd } of this.#levels.splice(0)) if (fd >= 0) closeSync(fd);
  }

  #top(): Level {
    return this.#levels.at(-1) as Level;
  }

  #push(fd: number): void {
    const { dev, ino } = fstatSync(fd, { bigint: true });
    this.#levels.push({ fd, dev, ino });
  }
}

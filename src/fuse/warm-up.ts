/**
 * Makes V8 compile the code for the first requests before they arrive. A thread begins with code that was never run:
 * the first listing of a thousand names takes five times as long as the second, and a user that has just mounted lists
 * or looks up next.
 */
import { type Attributes, emptyAttributes, type Filesystem, ROOT_INO } from '../fs/filesystem.ts';
import type { ReplyBuffer } from './reply.ts';

/** More makes nothing faster. */
const ENTRIES = 1_500;
/** Entries of one directory, before the next check for a request. */
const AT_ONCE = 64;
const LIMIT = 1 << 16;

/**
 * Lists and looks up the entries of the root, repeatedly, into `reply`, of which nothing is sent.
 * @param fs of this thread, without counters
 * @param isAsked whether a request waits: it is answered first, and compiles the code that it needs
 * @param limitMs for a slow machine
 */
export function warmUp(
  fs: Pick<Filesystem, 'readdir' | 'lookup' | 'getattr'>,
  reply: ReplyBuffer,
  isAsked: () => boolean,
  limitMs = 25,
): void {
  const attributes: Attributes = emptyAttributes();
  const end = performance.now() + limitMs;
  for (let entries = 0, next = 0; entries < ENTRIES && !isAsked() && performance.now() < end; ) {
    const from = next;
    let length = 0;
    let count = 0;
    fs.readdir(ROOT_INO, from, attributes, (name, cookie) => {
      const at = reply.dirent(length, LIMIT, name, cookie, attributes, true);
      if (at < 0 || count === AT_ONCE) return false;
      fs.lookup(ROOT_INO, name, attributes);
      reply.entry(attributes);
      fs.getattr(ROOT_INO, attributes);
      reply.attr(attributes);
      length = at;
      next = cookie;
      count++;
      return true;
    });
    entries += Math.max(count, 1);
    // at the end: from the beginning
    if (next === from) next = 0;
  }
}

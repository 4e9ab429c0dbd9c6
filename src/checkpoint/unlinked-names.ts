/** The names that `prepare --relink` gives to unlinked files. Pure. */
import { CfsError } from '../base/error.ts';

export const DEFAULT_TEMPLATE = 'lost+found/checkpoint/unlink-at-restart-%016x-%u';

/** A name in a directory of the mount. */
export interface NameTemplate {
  /** From the mount's root, without a slash at either end; empty for the root. */
  readonly directory: string;
  /** The name of file number `count` of the checkpoint with this id. */
  name(id: bigint, count: number): string;
}

const CONVERSION = /%(?:(0?)(\d{0,3})([xu])|%)/g;
const NAME_MAX = 255;

/**
 * @param text a path in the mount, in whose last component `%x` is the id of the checkpoint, `%u` the number of the
 *   file, and `%%` a percent sign; a width as in `%016x`
 * @throws CfsError (usage)
 */
export function parseTemplate(text: string): NameTemplate {
  const refuse = (reason: string): never => {
    throw new CfsError('usage', `Cannot use the template "${text}": ${reason}`);
  };
  const parts = text.replace(/^\/+/, '').split('/');
  const pattern = parts.pop() ?? '';
  if (pattern === '') return refuse('it has no name');
  if (text.includes('\0')) return refuse('it has a NUL');
  if (parts.some((part) => ['', '.', '..'].includes(part) || part.includes('%'))) {
    return refuse('its directory is not a plain path');
  }
  if (pattern.replace(CONVERSION, '').includes('%')) return refuse('it has a conversion other than %x, %u and %%');
  const kinds = [...pattern.matchAll(CONVERSION)].map(([, , , kind]) => kind);
  if (!kinds.includes('x') || !kinds.includes('u')) return refuse('names need %x and %u, for two checkpoints');
  const name = (id: bigint, count: number): string =>
    pattern.replace(CONVERSION, (_, zero: string, width: string, kind: string | undefined) => {
      if (kind === undefined) return '%';
      return (kind === 'x' ? id.toString(16) : String(count)).padStart(Number(width || 0), zero === '0' ? '0' : ' ');
    });
  const longest = Buffer.byteLength(name(2n ** 64n - 1n, Number.MAX_SAFE_INTEGER));
  if (longest > NAME_MAX) return refuse(`its names would have up to ${longest} bytes, more than ${NAME_MAX}`);
  return { directory: parts.join('/'), name };
}

const DEFAULT_NAME = /^unlink-at-restart-([0-9a-f]{16})-\d+$/;

/** The id in a name that the default template made; undefined for any other. */
export function idInDefaultName(name: string): bigint | undefined {
  const id = DEFAULT_NAME.exec(name)?.[1];
  return id === undefined ? undefined : BigInt(`0x${id}`);
}

/** Which files of a source are left out, by patterns and by CACHEDIR.TAG. */
import { closeSync, constants, readSync } from 'node:fs';
import { isErrno } from '../../base/errno.ts';
import { CfsError } from '../../base/error.ts';
import { pathText } from '../../base/path-text.ts';
import { openAt } from '../../system/descriptors.ts';

/** A pattern, compiled. */
interface Pattern {
  readonly matches: RegExp;
  readonly directoriesOnly: boolean;
}

/** What to leave out. */
export interface Exclusions {
  /** Patterns as in rsync(1), without "!" and "+". */
  readonly patterns?: readonly string[];
  /** Leave out the contents of directories with a CACHEDIR.TAG, but that file. */
  readonly caches?: boolean;
}

/** https://bford.info/cachedir/ */
const TAG_NAME = 'CACHEDIR.TAG';
const TAG: Uint8Array = Buffer.from('Signature: 8a477f597d28d172789f06886806bc55');
const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** Compiled patterns. */
export class Excluder {
  readonly #patterns: readonly Pattern[];
  readonly #caches: boolean;
  /** Bytes of the path of the source, with a slash: what is before the matched part of each path. */
  readonly #above: number;

  /**
   * @param above the number of bytes of each path before the source's own names
   * @throws CfsError (usage) for an empty pattern
   */
  constructor({ patterns = [], caches = false }: Exclusions, above: number) {
    this.#patterns = patterns.map(compile);
    this.#caches = caches;
    this.#above = above;
  }

  /** @param path as the source's entries have it */
  excludes(path: Uint8Array, isDirectory: boolean): boolean {
    if (this.#patterns.length === 0) return false;
    const text = pathText(path.subarray(this.#above));
    return this.#patterns.some(
      ({ matches, directoriesOnly }) => (isDirectory || !directoriesOnly) && matches.test(text),
    );
  }

  /** The names in an open directory that are packed. */
  namesOf(directory: number, names: Uint8Array[]): Uint8Array[] {
    if (!this.#caches) return names;
    const tag = names.find((name) => Buffer.from(name).toString('latin1') === TAG_NAME);
    return tag !== undefined && isTag(directory, tag) ? [tag] : names;
  }
}

/** Whether the file begins with the signature. One that cannot be read does not. */
function isTag(directory: number, name: Uint8Array): boolean {
  const fd = openAt(directory, name, READ);
  if (isErrno(fd)) return false;
  try {
    const bytes = Buffer.alloc(TAG.length);
    return readSync(fd, bytes, 0, bytes.length, 0) === bytes.length && bytes.equals(TAG);
  } catch {
    return false;
  } finally {
    closeSync(fd);
  }
}

/**
 * A pattern without a slash at its beginning matches at any depth: it is compared with the end of the path, whole names
 * only. "*" is any number of bytes without a slash, "**" with slashes, "?" one character, "[…]" one of a set; "\" makes
 * the next character an ordinary one. A slash at the end means directories.
 */
function compile(pattern: string): Pattern {
  const directoriesOnly = /[^/]\/+$/.test(pattern);
  const isAnchored = /^(?:\.?\/)/.test(pattern);
  const names = pattern.replace(/^\.\/+|^\/+/, '').replace(/\/+$/, '');
  if (names === '') throw new CfsError('usage', `Cannot exclude "${pattern}": the pattern has no name`);
  // the path begins without a slash; unanchored patterns begin at any name
  return { matches: new RegExp(`^${isAnchored ? '' : '(?:.*/)?'}${regExpOf(names)}$`, 'su'), directoriesOnly };
}

const SPECIAL = /[\\^$.*+?()[\]{}|/-]/;
const literal = (character: string): string => (SPECIAL.test(character) ? `\\${character}` : character);

function regExpOf(pattern: string): string {
  let out = '';
  const characters = [...pattern];
  for (let i = 0; i < characters.length; i++) {
    const character = characters[i] as string;
    if (character === '*') {
      const isDouble = characters[i + 1] === '*';
      while (characters[i + 1] === '*') i++;
      // "a/**/b" also matches "a/b"
      if (isDouble && characters[i + 1] === '/' && (i === 1 || characters[i - 2] === '/')) {
        out += '(?:.*/)?';
        i++;
      } else out += isDouble ? '.*' : '[^/]*';
    } else if (character === '?') out += '[^/]';
    else if (character === '\\' && i + 1 < characters.length) out += literal(characters[++i] as string);
    else if (character === '[') {
      const end = setEnd(characters, i);
      if (end < 0) out += '\\[';
      else {
        out += setOf(characters.slice(i + 1, end));
        i = end;
      }
    } else out += literal(character);
  }
  return out;
}

/** The index of the bracket that ends a set; -1 if there is none. "]" at the beginning is a member. */
function setEnd(characters: readonly string[], start: number): number {
  const first = characters[start + 1] === '!' || characters[start + 1] === '^' ? start + 2 : start + 1;
  return characters.indexOf(']', first + 1);
}

function setOf(members: readonly string[]): string {
  const isNegated = members[0] === '!' || members[0] === '^';
  const own = isNegated ? members.slice(1) : members;
  const text = own.map((member, i) => (member === '-' && i > 0 && i < own.length - 1 ? '-' : literal(member))).join('');
  // never a slash
  return `(?!/)[${isNegated ? '^' : ''}${text}]`;
}

/** The patterns in a file: one a line; empty lines, and lines that begin with "#" or ";", are left out. */
export const patternsIn = (text: string): string[] =>
  text.split(/\r?\n/).filter((line) => line !== '' && !/^[#;]/.test(line));

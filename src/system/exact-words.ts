/**
 * Arguments and environment variables as the kernel has them, as text of base/path-text.ts: node replaces each byte
 * that is not UTF-8 by U+FFFD. Other programs are started with such arguments here, too.
 */
import { readFileSync } from 'node:fs';
import { CfsError, reasonOf } from '../base/error.ts';
import { hasEscapes, pathBytes, pathText } from '../base/path-text.ts';

const REPLACED = '\ufffd';
let areExact = false;

/**
 * Puts the exact arguments into process.argv. Call it before they are used.
 * @throws CfsError (usage) if one is not UTF-8, or contains U+FFFD, and /proc cannot be read to tell which
 */
export function makeArgumentsExact(): void {
  if (areExact) return;
  areExact = true;
  const { argv } = process;
  const at = argv.findIndex((word, i) => i >= 2 && word.includes(REPLACED));
  if (at < 0) return;
  const words = wordsOf('/proc/self/cmdline', `argument ${at - 1} is not UTF-8, or has U+FFFD in it`);
  // node's own options are between the program and its script
  argv.splice(2, argv.length - 2, ...words.slice(words.length - (argv.length - 2)));
}

/**
 * An environment variable.
 * @throws CfsError (usage) if it is not UTF-8, or contains U+FFFD, and /proc cannot be read to tell which
 */
export function exactVariable(name: string): string | undefined {
  const value = process.env[name];
  if (value === undefined || !value.includes(REPLACED)) return value;
  const words = wordsOf('/proc/self/environ', `$${name} is not UTF-8, or has U+FFFD in it`);
  return words.findLast((word) => word.startsWith(`${name}=`))?.slice(name.length + 1) ?? value;
}

function wordsOf(path: string, problem: string): string[] {
  try {
    // each ends with NUL
    const bytes = readFileSync(path);
    const words: string[] = [];
    for (let at = 0; at < bytes.length; ) {
      const end = bytes.indexOf(0, at);
      words.push(pathText(bytes.subarray(at, end < 0 ? bytes.length : end)));
      at = end < 0 ? bytes.length : end + 1;
    }
    return words;
  } catch (error) {
    throw new CfsError(
      'usage',
      `${problem}, and its bytes cannot be read from ${path} (${reasonOf(error)}): mount /proc, or use names that are UTF-8`,
      { cause: error },
    );
  }
}

/** Decodes each argument with printf(1) and executes the program. A letter at the end protects trailing line feeds. */
const DECODE =
  // biome-ignore lint/suspicious/noTemplateCurlyInString: of the shell
  'n=$#; while [ $n -gt 0 ]; do a=$(printf "%bx" "$1"); shift; set -- "$@" "${a%x}"; n=$((n - 1)); done; exec "$@"';

/**
 * Program and arguments for node:child_process, which accepts text only: through /bin/sh if an argument is not UTF-8.
 */
export function exactCommand(program: string, args: readonly string[]): [program: string, args: readonly string[]] {
  const words = [program, ...args];
  if (!words.some(hasEscapes)) return [program, args];
  return ['/bin/sh', ['-c', DECODE, 'sh', ...words.map(octal)]];
}

/** For `%b` of printf(1). */
const octal = (word: string): string =>
  pathBytes(word).reduce((text, byte) => `${text}\\0${byte.toString(8).padStart(3, '0')}`, '');

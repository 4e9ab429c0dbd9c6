/** `-v`: reports each step, with its data, as lines on stderr. */
import { type Command, Option } from 'commander';
import { oneLine } from '../src/base/bytes.ts';

const FLAGS = '-v, --verbose';

/** The name of the tool that reports its steps; undefined without -v. */
let tool: string | undefined;

/**
 * Looks for the option among the arguments, so that it holds from the beginning: by itself, or with others that
 * take no value, as in -nv.
 * @param words those of the command line
 */
export function beVerbose(name: string, words: readonly string[]): void {
  const end = words.indexOf('--');
  const options = end < 0 ? words : words.slice(0, end);
  tool = options.some((word) => /^(?:--verbose|-[fnq]*v[fnq]*)$/.test(word)) ? name : undefined;
}

/** Adds the option, unless the command has it with a meaning of its own. */
export function takeVerbose(command: Command): Command {
  if (command.options.some(({ long }) => long === '--verbose')) return command;
  return command.addOption(new Option(FLAGS, 'show each step on standard error').default(false));
}

/** Writes a line; `line` is called only if the line is wanted. */
export function say(line: () => string): void {
  if (tool !== undefined) process.stderr.write(`${tool}: ${oneLine(line())}\n`);
}

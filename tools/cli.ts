/** Code that all command-line tools share: options, exit statuses, errors for people and for programs. */
import '../src/base/no-debugger.ts';
import '../src/system/exact-paths.ts';
import { availableParallelism, constants } from 'node:os';
import { Command, CommanderError, Help, Option } from 'commander';
import { oneLine } from '../src/base/bytes.ts';
import { errnoOf } from '../src/base/errno.ts';
import { CfsError, type ErrorKind, reasonOf, withHint } from '../src/base/error.ts';
import { version } from '../src/base/installation.ts';
import { jsonOf } from '../src/base/json-text.ts';
import { limitReason } from '../src/base/limits.ts';
import { shownText } from '../src/base/path-text.ts';
import { suggestion } from '../src/base/suggest.ts';
import { makeArgumentsExact } from '../src/system/exact-words.ts';
import { takeDefinition } from './definition.ts';
import { hintOf } from './hint-words.ts';
import { beVerbose, say, takeVerbose } from './verbose.ts';
import { versionText } from './version.ts';

/**
 * Exit statuses, the table of docs/exit-status.md. 1, 2, 4 and 32 are those of mount(8).
 */
export const EXIT = {
  ok: 0,
  usage: 1,
  system: 2,
  image: 3,
  bug: 4,
  store: 5,
  source: 6,
  found: 10,
  repaired: 11,
  mount: 32,
} as const;

export type ExitStatus = number;

const statusOf: Readonly<Record<Exclude<ErrorKind, 'interrupted'>, ExitStatus>> = {
  usage: EXIT.usage,
  system: EXIT.system,
  image: EXIT.image,
  store: EXIT.store,
  source: EXIT.source,
  mount: EXIT.mount,
};

/** The exit status of a tool for an error of this kind. */
export const statusOfKind = (kind: ErrorKind): ExitStatus => (kind === 'interrupted' ? EXIT.system : statusOf[kind]);

/** 128 + the signal's number, as in shells: 130 for SIGINT, 143 for SIGTERM. */
export const signalStatus = (signal: NodeJS.Signals): ExitStatus => 128 + constants.signals[signal];

/** A CfsError of kind `interrupted` carries the signal, for the exit status. */
export class InterruptedError extends CfsError {
  readonly signal: NodeJS.Signals;

  constructor(signal: NodeJS.Signals, message: string) {
    super('interrupted', message);
    this.signal = signal;
  }
}

const helper = new Help();

const MOST_BY_DEFAULT = 8;

/** The examples of a command `name`, from those of its tool, with a heading. */
function examplesOf(name: string, examples: string): string {
  const own = examples.split('\n').filter((line) => new RegExp(`^ .*\\b${name}(?= |$)`).test(line));
  return own.length === 0 ? '' : `\nExamples:\n${own.join('\n')}`;
}

/** A command with the options that every tool has. --help shows `examples`; that of a command shows its own. */
export function makeCommand(name: string, description: string, examples: string): Command {
  const command = takeDefinition(new Command(name), (text) => void process.stdout.write(text));
  return (
    command
      .description(description)
      .addOption(new Option('-V, --version', 'show the version and what this machine can do, and exit'))
      .on('option:version', () => {
        process.stdout.write(versionText(name));
        throw new CommanderError(0, 'commander.version', '');
      })
      .helpOption('-h, --help', 'show this help and exit')
      .addHelpText('after', `\nExamples:\n${examples}`)
      .addHelpText('afterAll', ({ command }) =>
        command.parent === null ? '' : examplesOf(`${name} ${command.name()}`, examples),
      )
      .showHelpAfterError(`Try '${name} --help'.`)
      // the default is not shown if it is false or empty
      .configureHelp({
        optionDescription: (option) =>
          Help.prototype.optionDescription.call(helper, option).replace(/ ?\(default: (?:false|\[\])\)/, ''),
      })
      .configureOutput({
        writeOut: (text) => void process.stdout.write(lines(text)),
        outputError: (text, write) => write(lines(text.replace(/^error: /, `${name}: `))),
      })
      .exitOverride()
  );
}

/**
 * For tools with commands, before they parse their arguments: errors name the help of the command, and asking for help
 * on an unknown command is an error.
 * @throws CfsError (usage)
 */
export function prepareCommands(program: Command, argv: readonly string[]): void {
  for (const command of program.commands) {
    takeVerbose(command);
    command.showHelpAfterError(`Try '${program.name()} ${command.name()} --help'.`);
  }
  const [word, of] = argv.slice(2);
  const names = program.commands.map((command) => command.name());
  if (word !== 'help' || of === undefined || of.startsWith('-') || of === 'help' || names.includes(of)) return;
  throw new CfsError('usage', noSuchCommand(program.name(), of, names));
}

/** For tools with commands: the error if none is given, or an unknown one, or an unknown option in its place. */
export function takeOtherCommands(program: Command): Command {
  return program
    .usage(program.usage())
    .argument('[command]')
    .argument('[arguments...]')
    .allowUnknownOption()
    .action((word: string | undefined) => {
      const tool = program.name();
      const names = program.commands.map((known) => known.name());
      if (word === undefined) {
        const list = names.join(', ');
        throw new CfsError('usage', `no command given; the commands are ${list}. '${tool} --help' shows more.`);
      }
      if (!word.startsWith('-')) throw new CfsError('usage', noSuchCommand(tool, word, names));
      const near = suggestion(word, ['--help', '--version', '--verbose']);
      throw new CfsError('usage', `unknown option '${word}'${near}. '${tool} --help' lists them.`);
    });
}

/** The message for an unknown command. */
export function noSuchCommand(tool: string, word: string, names: readonly string[]): string {
  const near = suggestion(word, names);
  const others = near === '' ? `; the commands are ${names.join(', ')}` : near;
  return `there is no command "${word}"${others}. '${tool} --help' shows ${near === '' ? 'more' : 'all'}.`;
}

/** An integer option's parser for commander. */
export function integerOption(option: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max) {
      throw new CfsError('usage', `${option} takes a whole number from ${min} to ${max}, not "${text}"`);
    }
    return value;
  };
}

/** The parser of an option that takes seconds, with a fraction. */
export function secondsOption(option: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+(\.\d+)?$/.test(text) || value < min || value > max) {
      throw new CfsError('usage', `${option} takes seconds from ${min} to ${max}, not "${text}"`);
    }
    return value;
  };
}

/** The option of `--threads` and `--jobs`: by default a thread for each processor, up to 8. */
export function threadsOption(name: string, most: number): Option {
  return new Option(`${name} <N>`, 'threads that read and hash')
    .argParser(integerOption(name, 1, most))
    .default(Math.min(availableParallelism(), MOST_BY_DEFAULT), `one for each processor, up to ${MOST_BY_DEFAULT}`);
}

/** For servers: a closed stdout must not end them. */
export function ignoreStdoutErrors(): void {
  process.stdout.removeAllListeners('error').on('error', () => {});
}

/** Text of several lines, each of which may contain untrusted file names. */
const lines = (text: string): string => text.split('\n').map(oneLine).join('\n');

/** Writes one line to stderr: an error, or other information for a person. */
export function printError(tool: string, line: string): void {
  process.stderr.write(`${tool}: ${oneLine(line)}\n`);
}

/** Writes one JSON value and a line feed to stdout. */
export function printJson(value: unknown): void {
  process.stdout.write(`${jsonOf(value)}\n`);
}

/**
 * Runs a tool: sets the exit status that `main` returns, and reports its errors. With --json among the arguments an
 * error is also one JSON object on stdout. A stack trace is shown with CFS_DEBUG=1.
 * @param mountWords kinds of errors that mean "mount failed" here, with the status 32 of mount(8)
 */
export async function runTool(
  name: string,
  main: (argv: readonly string[]) => Promise<ExitStatus>,
  mountWords: readonly ErrorKind[] = [],
): Promise<void> {
  // a reader that stops early (`cfs-info ls | head`) is not an error
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT.ok);
    printError(name, `Cannot write to stdout: ${reasonOf(error)}`);
    process.exit(EXIT.system);
  });
  for (const stream of [process.stdout, process.stderr]) showEscapes(stream);
  try {
    makeArgumentsExact();
    beVerbose(name, process.argv.slice(2));
    say(
      () => `version ${version()}, node ${process.versions.node}, process ${process.pid}, user ${process.geteuid?.()}`,
    );
    process.exitCode = await main(process.argv);
  } catch (error) {
    process.exitCode = report(name, error, mountWords);
  }
  say(() => `status ${process.exitCode} after ${Math.round(performance.now())} ms`);
}

/** Shows the escapes of base/path-text.ts as `\xNN`, wherever they are written; the stream would write U+FFFD. */
function showEscapes(stream: NodeJS.WriteStream): void {
  const write = stream.write.bind(stream) as (chunk: unknown, ...rest: unknown[]) => boolean;
  stream.write = (chunk: unknown, ...rest: unknown[]) =>
    write(typeof chunk === 'string' ? shownText(chunk) : chunk, ...rest);
}

function report(name: string, error: unknown, mountWords: readonly ErrorKind[]): ExitStatus {
  if (error instanceof CommanderError) return reportCommander(error);
  const kind: ErrorKind | 'bug' =
    error instanceof CfsError ? error.kind : errnoOf(error) !== undefined ? 'system' : 'bug';
  let status: ExitStatus;
  if (error instanceof InterruptedError) status = signalStatus(error.signal);
  else if (kind === 'bug') status = EXIT.bug;
  else if (mountWords.includes(kind)) status = EXIT.mount;
  else status = statusOfKind(kind);
  const message =
    error instanceof CfsError
      ? error.message
      : kind === 'system'
        ? [(error as Error).message, limitReason(error) ?? []].flat().join(': ')
        : `internal error: ${reasonOf(error)}. This is a bug of ${name}; CFS_DEBUG=1 shows where.`;
  const hint = error instanceof CfsError ? hintOf(error) : undefined;
  printError(name, withHint(message, hint));
  if (process.env['CFS_DEBUG'] === '1' && error instanceof Error) process.stderr.write(`${lines(error.stack ?? '')}\n`);
  if (process.argv.includes('--json')) printJson({ error: { kind, message, hint, status } });
  return status;
}

/** Commander has printed the message already; help and version end up here too. */
function reportCommander(error: CommanderError): ExitStatus {
  if (error.exitCode === 0) return EXIT.ok;
  const message = error.message.replace(/^error: /, '');
  if (process.argv.includes('--json')) printJson({ error: { kind: 'usage', message, status: EXIT.usage } });
  return EXIT.usage;
}

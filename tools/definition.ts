/**
 * The definition of a tool's command line as data: from it `tools/manual` makes manual pages and completions, so that
 * they say the same as `--help`.
 */
import { type Argument, type Command, CommanderError, Option } from 'commander';

export interface OptionDefinition {
  /** Such as "-R", without a value; undefined if the option has none. */
  readonly short: string | undefined;
  /** Such as "--recursive". */
  readonly long: string | undefined;
  /** The name of its value, such as "DIR"; undefined if it takes none. */
  readonly value: string | undefined;
  /** True if the value may be left out. Then it is written `--option=VALUE`. */
  readonly isOptional: boolean;
  /** What the value may be, if only few words are possible. */
  readonly choices: readonly string[];
  /** As `--help` shows it, with the default. */
  readonly description: string;
}

export interface OperandDefinition {
  readonly name: string;
  readonly isRequired: boolean;
  readonly isVariadic: boolean;
  readonly description: string;
}

export interface CommandDefinition {
  readonly name: string;
  readonly description: string;
  /** As `--help` shows it, without the name. */
  readonly usage: string;
  readonly operands: readonly OperandDefinition[];
  readonly options: readonly OptionDefinition[];
  /** Text after the list of options: examples, and more. */
  readonly after: string;
  readonly commands: readonly CommandDefinition[];
}

/** Adds the hidden option `--definition`, which writes the definition as one JSON object by `write`. */
export function takeDefinition(program: Command, write: (text: string) => void): Command {
  return program.addOption(new Option('--definition').hideHelp()).on('option:definition', () => {
    write(`${JSON.stringify(definitionOf(program))}\n`);
    throw new CommanderError(0, 'cfs.definition', '');
  });
}

/** The definition of a command, and of those below it. */
export function definitionOf(command: Command): CommandDefinition {
  const help = command.createHelp();
  const operandOf = (argument: Argument): OperandDefinition => ({
    name: argument.name(),
    isRequired: argument.required,
    isVariadic: argument.variadic,
    description: argument.description,
  });
  return {
    name: command.name(),
    description: command.description(),
    usage: command.usage(),
    // a tool with commands takes operands only to report a wrong command
    operands: command.commands.length > 0 ? [] : command.registeredArguments.map(operandOf),
    options: help.visibleOptions(command).map((option) => optionOf(option, help.optionDescription(option))),
    after: textAfter(command),
    commands: help
      .visibleCommands(command)
      .filter((below) => below.name() !== 'help')
      .map(definitionOf),
  };
}

function optionOf(option: Option, description: string): OptionDefinition {
  const value = /[<[]=?([^\]>]+)/.exec(option.flags)?.[1];
  return {
    short: option.short,
    long: option.long,
    value,
    isOptional: option.optional,
    choices: option.argChoices ?? [],
    description,
  };
}

/** What the listeners of commander's `addHelpText` write for this command alone. */
function textAfter(command: Command): string {
  const parts: string[] = [];
  // a Command is an EventEmitter, which its types leave out
  (command as unknown as NodeJS.EventEmitter).emit('afterHelp', {
    error: false,
    command,
    write: (text: string) => void parts.push(text),
  });
  return parts.join('').trim();
}

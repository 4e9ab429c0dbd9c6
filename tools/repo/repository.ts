/** Code that the commands of cfs-repo share. */
import { statSync } from 'node:fs';
import type { Command } from 'commander';
import { CfsError, type ErrorKind } from '../../src/base/error.ts';
import type { LocalRepository } from '../../src/store/local-repository.ts';
import { openRepository } from '../../src/store/open-repository.ts';
import { type ExitStatus, printError, statusOfKind } from '../cli.ts';
import { hintOf, textOf } from '../hint-words.ts';
import { say } from '../verbose.ts';

/** Adds a command to cfs-repo. Its status becomes the exit status of `cfs-repo`. */
export interface Commands {
  readonly program: Command;
  setStatus(status: ExitStatus): void;
}

export function checkDirectoryArgument(dir: string): void {
  if (dir === '') throw new CfsError('usage', 'DIR is empty');
}

/** The repository of the argument DIR. */
export function repositoryAt(dir: string): LocalRepository {
  checkDirectoryArgument(dir);
  if (statSync(dir, { throwIfNoEntry: false })?.isFile()) {
    throw new CfsError(
      'store',
      `Cannot open repository ${dir}: not a directory. DIR, the repository, comes before images`,
    );
  }
  const repository = openRepository(dir);
  sayRepository(repository);
  return repository;
}

/** With -v. */
export const sayRepository = ({ path, uuid, hash }: LocalRepository): void =>
  say(() => `repository ${path}: ${hash}, uuid ${uuid}`);

/** A line for people, on stderr. */
export const warn = (line: string): void => printError('cfs-repo', line);

/** The --json element of an operand that failed, in place of its result. */
export interface FailedOperand {
  readonly operand: string;
  readonly error: {
    readonly kind: ErrorKind;
    readonly message: string;
    readonly hint: string | undefined;
    readonly status: ExitStatus;
  };
}

/**
 * Reports the failure of one of several operands; the command continues with the others.
 * @throws any other error than a CfsError, and the error of an only operand
 */
export function failedOperand(operand: string, operands: number, error: unknown): FailedOperand {
  if (!(error instanceof CfsError) || operands === 1) throw error;
  const { kind, message } = error;
  warn(textOf(error));
  return { operand, error: { kind, message, hint: hintOf(error), status: statusOfKind(kind) } };
}

/** For options that can be given several times. */
export const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

/** Commands with several operands: a failed one is reported, and the others are answered. */
import { CfsError } from '../../src/base/error.ts';
import { EXIT, type ExitStatus, printError, statusOfKind } from '../cli.ts';
import { hintOf, textOf } from '../hint-words.ts';
import type { Output } from './output.ts';

/**
 * Calls `answer` for each operand. A failure is a line on stderr, and with `json` an element of the list with the keys
 * `operand` and `error`; a single operand that fails is an error of the command.
 * @param answer receives the number of operands answered before
 * @returns the status of the first failure
 */
export function answerEach(
  operands: readonly string[],
  json: boolean,
  out: Output,
  answer: (operand: string, answered: number) => void,
): ExitStatus {
  const status = tryEach(operands, json, out, answer);
  if (json) out.jsonEnd();
  return status;
}

/** As `answerEach`, if the list continues after it. */
export function tryEach(
  operands: readonly string[],
  json: boolean,
  out: Output,
  answer: (operand: string, answered: number) => void,
): ExitStatus {
  const failures = new Failures(operands.length, json, out);
  let answered = 0;
  for (const operand of operands) {
    try {
      answer(operand, answered);
      answered++;
    } catch (error) {
      failures.report(operand, error);
    }
  }
  return failures.status;
}

/** As `tryEach`, without JSON, if an answer takes long. */
export async function tryEachInTurn(
  operands: readonly string[],
  out: Output,
  answer: (operand: string) => Promise<void>,
): Promise<ExitStatus> {
  const failures = new Failures(operands.length, false, out);
  for (const operand of operands) {
    try {
      await answer(operand);
    } catch (error) {
      failures.report(operand, error);
    }
  }
  return failures.status;
}

/** Reports operands that failed. */
class Failures {
  readonly #operands: number;
  readonly #json: boolean;
  readonly #out: Output;
  /** Of the first failure. */
  status: ExitStatus = EXIT.ok;

  constructor(operands: number, json: boolean, out: Output) {
    this.#operands = operands;
    this.#json = json;
    this.#out = out;
  }

  /** @throws the error of an only operand, and any other than a CfsError */
  report(operand: string, error: unknown): void {
    if (!(error instanceof CfsError) || this.#operands === 1 || error.kind === 'interrupted') throw error;
    const { kind, message } = error;
    this.#out.flush(); // in the order of the operands, if both go to one terminal
    printError('cfs-info', textOf(error));
    if (this.#json) {
      this.#out.jsonElement({ operand, error: { kind, message, hint: hintOf(error), status: statusOfKind(kind) } });
    }
    if (this.status === EXIT.ok) this.status = statusOfKind(kind);
  }
}

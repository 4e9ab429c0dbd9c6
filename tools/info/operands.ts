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
  let status: ExitStatus = EXIT.ok;
  let answered = 0;
  for (const operand of operands) {
    try {
      answer(operand, answered);
      answered++;
    } catch (error) {
      if (!(error instanceof CfsError) || operands.length === 1) throw error;
      const { kind, message } = error;
      out.flush(); // in the order of the operands, if both go to one terminal
      printError('cfs-info', textOf(error));
      if (json) {
        out.jsonElement({ operand, error: { kind, message, hint: hintOf(error), status: statusOfKind(kind) } });
      }
      if (status === EXIT.ok) status = statusOfKind(kind);
    }
  }
  return status;
}

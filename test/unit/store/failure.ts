/** The errors of calls that are meant for people. */
import { expect } from 'vitest';
import { CfsError } from '../../../src/base/error.ts';

/** The CfsError that `call` throws; anything else fails the test. */
export function failureOf(call: () => unknown): CfsError {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(CfsError);
    return error as CfsError;
  }
  throw new Error('it did not throw');
}

/** The error of all functions of the library. */
export { CfsError, type ErrorKind } from '../base/error.ts';

/**
 * Whether the tests run as root. Tests that need it are `test.runIf(isRoot)`: `make test` runs the unit tests both
 * ways.
 */
export const isRoot: boolean = process.geteuid?.() === 0;

/** Whether the tests run as root. What truly needs it is `test.runIf(isRoot)`: `make test` runs the unit tests both ways. */
export const isRoot: boolean = process.geteuid?.() === 0;

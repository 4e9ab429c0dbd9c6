/** The common part of the file system contract. */

export interface DriverUnderTest {
  readonly name: string;
  /**
   * Packs and mounts `source` until the end of the test file; returns the mount point. With `everybody`, other users
   * may use it.
   */
  mount(source: string, everybody: boolean): Promise<string>;
  /** Names and link targets that are not UTF-8 are left out. */
  readonly utf8Only: boolean;
  /** The kernel opens files without a request: verify=read. */
  readonly opensUnasked: boolean;
  /** Times have milliseconds, from 1970 on. */
  readonly milliseconds: boolean;
}

/** A tree and its mount. */
export interface Trees {
  source: string;
  mount: string;
}

/** The paths are there once the tests run. */
export interface Subject {
  readonly driver: DriverUnderTest;
  /** Everything that a file system can hold. */
  readonly all: Trees;
  /** No extended attributes, and open to other users. */
  readonly plain: Trees;
}

/** Entries of `huge/` in `Subject.all`, which is read in pieces. */
export const HUGE_ENTRIES = 3000;

/** The code of the error that `action` throws, "no error" if it does not throw. */
export function codeOf(action: () => unknown): string {
  try {
    action();
    return 'no error';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

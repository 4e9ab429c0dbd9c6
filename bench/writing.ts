/**
 * The terms of the group `write`. A *place* is a new, empty file system to write to; a *writer* shows a lower directory
 * and takes changes of it there; a *line* is one kind of work with it. Each line has new places and new mounts, so that
 * nothing of another line is in its way, and a new directory for each turn.
 */
import type { Bench, Rate, Work } from './contract.ts';

/** The kinds of file systems that hold the upper directories; the states of the results. */
export const PLACES = ['ext4', 'tmpfs'] as const;
export type PlaceKind = (typeof PLACES)[number];

export interface Place {
  readonly kind: PlaceKind;
  /** The root of the file system. */
  readonly path: string;
}

/** The names of the two directories that every lower directory has; see `writeLower`. */
export const LOWER = { measured: 'tree', warmUp: 'other' } as const;

/** Shows the lower directory with changes. `stop` may be called at any time, and twice. */
export interface Writer {
  /** The reason why it cannot be measured on this machine; undefined if it can. */
  available(): string | undefined;
  /** Makes the files that it mounts, once. */
  prepare(): Promise<void>;
  /**
   * Begins with empty directories for changes in `place`.
   * @param lower whether the line reads the lower directory @returns the path of the merged directory
   */
  start(place: Place, lower: boolean): Promise<string>;
  stop(): Promise<void>;
  /** Process id of its daemon; undefined if the kernel serves it, or if it is not known. */
  daemon(): number | undefined;
}

/** A row of the table in writers.ts. */
export interface WriterRow {
  /** Of a row of systems.ts, which --systems names. */
  readonly name: string;
  /** It takes no changes, and is measured in lines that only read. */
  readonly readOnly?: true;
  create(bench: Bench): Writer;
}

/** One turn of a writer. */
export interface WriteTurn {
  /** The merged directory. */
  readonly root: string;
  /** A directory in it that is new and empty; with `reads` a name that does not exist. */
  readonly directory: string;
  readonly bench: Bench;
}

/** A row of the table in write-lines.ts. */
export interface WriteLine {
  readonly name: string;
  readonly title: string;
  readonly rates?: readonly Rate[];
  /**
   * It needs the lower directory. `reads`: and changes nothing. `changes`: and each turn gets a mount of its own, over
   * empty directories for changes.
   */
  readonly lower?: 'reads' | 'changes';
  /** The reason why it cannot be measured here; undefined if it can. */
  unavailable?(): string | undefined;
  work(bench: Bench): Work;
  /** Makes what the work needs; not timed. */
  prepare?(turn: WriteTurn): Promise<void>;
  /** Does the work, and returns its nanoseconds. */
  run(turn: WriteTurn): Promise<number>;
  /** @throws an error if the work was not done */
  check?(turn: WriteTurn): Promise<void>;
  /** Removes what would fill the place in the next turns. */
  finish?(turn: WriteTurn): Promise<void>;
}

/** The name of a line in the results and for --workloads. */
export const GROUP = 'write';

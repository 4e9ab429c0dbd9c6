/**
 * The words of the benchmark. A *tree* is what is read; a *system* shows a tree at some path; a
 * *workload* reads a tree there; an *experiment* measures something that is no reading of a tree. A
 * *result* is one row of figures: the samples of one workload on one system in one state.
 */
import type { Scratch } from './scratch.ts';

/** `source`: the directory of --source; `small`: generated small files; `large`: one generated file. */
export type TreeName = 'source' | 'small' | 'large';

/** Paths of a tree, relative to its root, NUL-terminated in a file, for the probe. */
export interface PathList {
  readonly file: string;
  readonly count: number;
  /** Bytes of content of all files in the list. */
  readonly bytes: number;
}

export interface Tree {
  readonly name: TreeName;
  /** Absolute path of the directory itself. */
  readonly path: string;
  /** Everything below the root, directories and the root too. */
  readonly entries: number;
  /** Regular files, and the bytes in them; a file with two names counts twice, as for who reads it. */
  readonly files: number;
  readonly bytes: number;
  /** Every entry. */
  readonly all: PathList;
  /** Regular files of at most 64 KiB. */
  readonly small: PathList;
}

/** `cold`: nothing cached anywhere in this machine; `warm`: the same was just done once. */
export type CacheState = 'cold' | 'warm';

/** Shows one tree at some path. Everything but `available` may throw; `stop` may be called at any time, and twice. */
export interface System {
  readonly name: string;
  /** Why it cannot be measured on this machine; undefined where it can. */
  available(): string | undefined;
  /** Mounts, and gives the path where the tree is now. */
  start(): Promise<string>;
  /** Unmounts and mounts again, so that neither the mount nor a daemon remembers anything. */
  restart(): Promise<string>;
  stop(): Promise<void>;
}

/** A row of the table in systems.ts. */
export interface SystemRow {
  readonly name: string;
  readonly description: string;
  create(tree: Tree, bench: Bench): System;
}

/** How much one sample does. */
export interface Work {
  readonly count: number;
  /** What is counted, in the plural. */
  readonly unit: string;
  /** Bytes of content that are read or packed; 0 where only metadata is. */
  readonly bytes: number;
}

/** Work.bytes or Work.count in a second. */
export type Rate = 'bytes' | 'count';

/** A row of the table in workloads.ts. */
export interface Workload {
  readonly name: string;
  readonly title: string;
  /** The trees that it is measured on, where the run has them. */
  readonly trees: readonly TreeName[];
  /** What is shown beside the time, where a time alone says little. */
  readonly rates?: readonly Rate[];
  work(tree: Tree, cache: CacheState): Work;
  /** Does it once at `root`, and gives the nanoseconds that it took. */
  run(root: string, tree: Tree, cache: CacheState, bench: Bench): Promise<number>;
}

/** A measurement that brings its own method: packing, mounting. */
export interface Experiment {
  readonly name: string;
  readonly title: string;
  /** It measures this system, and is left out where --systems does not name it. */
  readonly system: string;
  /** The trees that it needs. */
  readonly trees: readonly TreeName[];
  /** Why it cannot be measured on this machine; undefined where it can. */
  available(): string | undefined;
  /** @param trees those of the run, maybe not all of its own */
  run(bench: Bench, trees: readonly Tree[]): Promise<Outcome>;
}

export interface Outcome {
  readonly results: readonly Result[];
  /** Figures that are no times, by name, with their unit in the name; for the results file. */
  readonly figures?: Readonly<Record<string, number>>;
  /** The same as sentences. */
  readonly notes?: readonly string[];
}

export interface Result {
  readonly workload: string;
  readonly title: string;
  readonly tree: string;
  /** A CacheState, or what an experiment distinguishes. */
  readonly state: string;
  readonly system: string;
  readonly work: Work;
  readonly rates?: readonly Rate[];
  /** Nanoseconds, in the order in which they were taken. */
  readonly samples: readonly number[];
}

/** Something that was asked for and is not in the results. */
export interface Omission {
  readonly what: string;
  readonly why: string;
  /** It was tried, and did not work: the exit status says so. */
  readonly failed: boolean;
}

/** What every part of a run shares. */
export interface Bench {
  readonly scratch: Scratch;
  /** Aborted by a signal, with an InterruptedError as its reason. */
  readonly signal: AbortSignal;
  /** Samples of each cell of the table, after one that is thrown away. */
  readonly rounds: number;
  /** Regular files in the image of the experiment `scale`. */
  readonly scaleFiles: number;
  /** Tells who watches what is going on. */
  progress(text: string): void;
  omit(omission: Omission): void;
  /** The one value of `key` in this run, made at the first call: images that several systems share. */
  once(key: string, make: () => Promise<string>): Promise<string>;
}

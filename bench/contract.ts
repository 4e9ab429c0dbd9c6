/**
 * The terms of the benchmark. A *tree* is a directory to read; a *system* shows a tree at some path; a *workload* reads
 * a tree there; an *experiment* measures something other than reading a tree. Writing has terms of its own, in
 * writing.ts. A *result* is one row of figures: the samples of one workload on one system in one state.
 */
import type { Scratch } from './scratch.ts';

/**
 * `source`: the directory of --source; `small`: generated small files; `checkout`: a generated git checkout; `large`:
 * one generated file; `pair`: two generated directories that share most of their files.
 */
export type TreeKind = 'source' | 'small' | 'checkout' | 'large' | 'pair';

/** Paths of a tree, relative to its root, NUL-terminated in a file, for the probe. */
export interface PathList {
  readonly file: string;
  readonly count: number;
  /** Bytes of content of all files in the list. */
  readonly bytes: number;
}

export interface Tree {
  readonly kind: TreeKind;
  /** One of a kind, or with a number: `small-10000`. */
  readonly name: string;
  /** Absolute path of the directory itself. */
  readonly path: string;
  /**
   * Absolute path of a directory for the files that systems make of the tree: images, stores. It is removed with the
   * tree.
   */
  readonly work: string;
  /** Everything below the root, including directories and the root. */
  readonly entries: number;
  /** Regular files, and the bytes in them; a file with two names counts twice, as for a reader. */
  readonly files: number;
  readonly bytes: number;
  /** Every entry. */
  readonly all: PathList;
  /** Regular files of at most 64 KiB. */
  readonly small: PathList;
}

/**
 * `cold`: just mounted, by a new daemon, and nothing cached anywhere in this machine; `dropped`: mount and daemon
 * continue, the kernel's caches were dropped; `warm`: the same was just done once.
 */
export type CacheState = 'cold' | 'dropped' | 'warm';

/** Shows one tree at some path. Everything but `available` may throw; `stop` may be called at any time, and twice. */
export interface System {
  readonly name: string;
  /** It has a mount to make, so that its time can be measured. */
  readonly mounts: boolean;
  /** The reason why it cannot be measured on this machine; undefined if it can. */
  available(): string | undefined;
  /** Makes the file that it mounts, once: an image, a store. */
  prepare(): Promise<void>;
  /** Mounts, and returns the path of the tree. The mount and its daemon remember nothing. */
  start(): Promise<string>;
  stop(): Promise<void>;
  /** Process id of the daemon that serves the mount; undefined if the kernel does, or if it is not known. */
  daemon(): number | undefined;
}

/** A row of the table in systems.ts. */
export interface SystemRow {
  readonly name: string;
  readonly description: string;
  /** It is also measured without --systems. */
  readonly byDefault: boolean;
  create(tree: Tree, bench: Bench): System;
}

/** The amount of work in one sample. */
export interface Work {
  readonly count: number;
  /** The counted things, in the plural. */
  readonly unit: string;
  /** Bytes of content that are read or packed; 0 if only metadata is. */
  readonly bytes: number;
}

/** Work.bytes or Work.count per second. */
export type Rate = 'bytes' | 'count';

/** One turn of a system in a cell. */
export interface Turn {
  /** The path of the tree. */
  readonly root: string;
  readonly tree: Tree;
  readonly state: CacheState;
  /** Its signal also ends a turn that takes far too long. */
  readonly bench: Bench;
}

/** A row of the table in workloads.ts. */
export interface Workload {
  readonly name: string;
  readonly title: string;
  /** The kinds of trees that it is measured on, if the run has them. */
  readonly trees: readonly TreeKind[];
  readonly states: readonly CacheState[];
  /** The figure beside the time, if a time alone says little. */
  readonly rates?: readonly Rate[];
  /** The time to mount is part of the figure. Only cold, and only for systems that mount. */
  readonly mounting?: true;
  /**
   * The reason why it cannot be measured on this tree here; undefined if it can. May try it on the directory itself.
   */
  unavailable?(tree: Tree, bench: Bench): Promise<string | undefined>;
  work(tree: Tree, state: CacheState): Work;
  /** Does it once, and returns its nanoseconds. */
  run(turn: Turn): Promise<number>;
}

/** A measurement with its own method: packing, mounting. */
export interface Experiment {
  readonly name: string;
  readonly title: string;
  /** It measures these systems, and is left out if --systems names none of them. */
  readonly systems: readonly string[];
  /** The kinds of trees that it is run on, one after the other; empty if it makes its own. */
  readonly trees: readonly TreeKind[];
  /** The reason why it cannot be measured on this machine; undefined if it can. */
  available(): string | undefined;
  /** @param tree one of its kinds; undefined if it names none @param systems the rows that were chosen */
  run(bench: Bench, systems: readonly SystemRow[], tree: Tree | undefined): Promise<Outcome>;
}

export interface Outcome {
  readonly results: readonly Result[];
  /** Figures that are not times, by name, with their unit in the name; for the results file. */
  readonly figures?: Readonly<Record<string, number>>;
  /** The same as sentences. */
  readonly notes?: readonly string[];
}

/** The cost of the daemon of a FUSE system in each sample, with the processes that it started. */
export interface DaemonUsage {
  /** User and system time during the sample, in nanoseconds; the kernel counts it in steps of 10 ms. */
  readonly cpu_ns: readonly number[];
  /**
   * Resident bytes after the sample: of all mapped pages, and with shared pages divided among the processes that map
   * them.
   */
  readonly rss_bytes: readonly number[];
  readonly pss_bytes: readonly number[];
}

export interface Result {
  readonly workload: string;
  readonly title: string;
  readonly tree: string;
  /** A CacheState, or a state that an experiment defines. */
  readonly state: string;
  readonly system: string;
  readonly work: Work;
  readonly rates?: readonly Rate[];
  /** Nanoseconds, in the order in which they were taken. */
  readonly samples: readonly number[];
  readonly daemon?: DaemonUsage;
  /** The reason why there are fewer samples than rounds. */
  readonly limited?: string;
}

/** Something that was requested and is not in the results. */
export interface Omission {
  readonly what: string;
  readonly why: string;
  /** It was tried, and did not work: the exit status reflects that. */
  readonly failed: boolean;
}

/** The programs that the experiment `remote` compares with; `get`: one request for each object. */
export const PEERS = ['podman', 'skopeo', 'rsync', 'get'] as const;
export type Peer = (typeof PEERS)[number];

/** The common data of all parts of a run. */
export interface Bench {
  readonly scratch: Scratch;
  /** Aborted by a signal, with an InterruptedError as its reason. */
  readonly signal: AbortSignal;
  /** Samples of each cell of the table, after one that is discarded. */
  readonly rounds: number;
  /** The time of one system in one cell, in nanoseconds, after which it gets fewer rounds. */
  readonly timeLimit: number;
  /** Regular files in the image of the experiment `scale`. */
  readonly scaleFiles: number;
  /** Bytes in each of the two directories of the experiment `shared`. */
  readonly sharedSize: number;
  /** Files of one sample of the group `write`. */
  readonly writeFiles: number;
  /** Bytes of the large file that the group `write` writes. */
  readonly largeSize: number;
  /** The round-trip time of the experiment `remote`, in milliseconds. */
  readonly rtt: number;
  /** The programs that it compares with. */
  readonly peers: readonly Peer[];
  /** The time limit of the whole run is over: work that has not begun is left out. */
  outOfTime(): boolean;
  /** Shows the progress to people. */
  progress(text: string): void;
  /** Shows a line that remains on the screen. */
  say(text: string): void;
  omit(omission: Omission): void;
  /** The one value of `key` in this run, made at the first call: images that several systems share. */
  once(key: string, make: () => Promise<string>): Promise<string>;
}

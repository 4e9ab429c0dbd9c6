/** The results of a run so far, and the results file, which is written repeatedly. */
import { renameSync, writeFileSync } from 'node:fs';
import type { Omission, Outcome, Result, Tree } from './contract.ts';
import type { Machine } from './machine.ts';
import { type Summary, summarize } from './statistics.ts';
import { REFERENCES, WRITE_REFERENCES } from './systems.ts';
import { GROUP } from './writing.ts';

/** Of Results: it changes if a reader of the file must change. */
const VERSION = 2;

/** The results file. Times are nanoseconds. */
export interface Results {
  readonly format: 'cfs-bench';
  readonly version: typeof VERSION;
  /** The command line that measures the same again. */
  readonly command: string;
  readonly started: string;
  readonly finished: string;
  /** The run is over, with or without failures. */
  readonly complete: boolean;
  /** The cause of an early end. */
  readonly interrupted?: string;
  readonly machine: Machine;
  readonly rounds: number;
  readonly time_limit_seconds: number;
  readonly trees: readonly Pick<Tree, 'kind' | 'name' | 'path' | 'entries' | 'files' | 'bytes'>[];
  /** The program that reads the large file: fio(1), or the loop of the benchmark itself. */
  readonly large_file_reader: 'fio' | 'probe';
  /** Names and descriptions of the requested systems. */
  readonly systems: Readonly<Record<string, string>>;
  readonly results: readonly Summary[];
  readonly figures: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
  readonly omissions: readonly Omission[];
}

/** The data that is known when a run begins. */
export type Heading = Pick<
  Results,
  'command' | 'started' | 'machine' | 'rounds' | 'time_limit_seconds' | 'large_file_reader' | 'systems'
>;

/** Collects measurements. The results file has them a moment later. */
export class Collected {
  readonly #heading: Heading;
  readonly #file: string;
  readonly #trees: Tree[] = [];
  readonly #results: Result[] = [];
  readonly #figures: Record<string, number> = {};
  readonly #notes: string[] = [];
  readonly #omissions: Omission[];

  /** @param omissions a list that the caller adds to */
  constructor(heading: Heading, file: string, omissions: Omission[]) {
    this.#heading = heading;
    this.#file = file;
    this.#omissions = omissions;
  }

  addTree(tree: Tree): void {
    this.#trees.push(tree);
  }

  add({ results, figures, notes }: Outcome): void {
    this.#results.push(...results);
    Object.assign(this.#figures, figures);
    this.#notes.push(...(notes ?? []));
    this.save(false);
  }

  /** @param interrupted the cause of an early end */
  results(complete: boolean, interrupted?: string): Results {
    const trees = this.#trees.map(({ kind, name, path, entries, files, bytes }) => {
      return { kind, name, path, entries, files, bytes };
    });
    return {
      format: 'cfs-bench',
      version: VERSION,
      ...this.#heading,
      finished: new Date().toISOString(),
      complete,
      ...(interrupted === undefined ? {} : { interrupted }),
      trees,
      results: this.#summaries(),
      figures: this.#figures,
      notes: this.#notes,
      omissions: this.#omissions,
    };
  }

  #summaries(): Summary[] {
    const all = this.#results.filter(({ samples }) => samples.length > 0);
    const isWriting = ({ tree }: Result): boolean => tree === GROUP;
    return [
      ...summarize(
        all.filter((one) => !isWriting(one)),
        REFERENCES,
      ),
      ...summarize(all.filter(isWriting), WRITE_REFERENCES),
    ];
  }

  /** Writes the results file; at every moment there is a complete one. */
  save(complete: boolean, interrupted?: string): Results {
    const results = this.results(complete, interrupted);
    const temporary = `${this.#file}.tmp`;
    writeFileSync(temporary, `${JSON.stringify(results, undefined, 2)}\n`);
    renameSync(temporary, this.#file);
    return results;
  }
}

/** The processes of writer.mjs, and how far they were at some time. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import type { Progress } from './check.ts';
import type { State, Transaction } from './transactions.ts';

/** A copy of a disk, and times of CLOCK_MONOTONIC before and after it was made. */
export interface Copy {
  readonly file: string;
  readonly from: bigint;
  readonly to: bigint;
}

/** Writes the file of transactions. @param hasId of which files the inode number has to stay the same */
export function writePlan(path: string, transactions: readonly Transaction[], hasId: (state: State) => boolean): void {
  const pathsOf = ({ changes }: Transaction): string[] =>
    changes.filter(({ after }) => after !== 'absent' && hasId(after)).map(({ path }) => path);
  writeFileSync(path, JSON.stringify(transactions.map((one) => ({ calls: one.calls, paths: pathsOf(one) }))));
}

/** A line of a writer. */
interface Line {
  readonly what: 'begin' | 'done';
  readonly time: bigint;
  readonly inodes: ReadonlyMap<string, number>;
}

function parseLine(text: string): Line {
  const [what, , time, ...fields] = text.split('\t') as ['begin' | 'done', string, string, ...string[]];
  const inodes = fields.map((field) => {
    const at = field.lastIndexOf('=');
    return [field.slice(0, at), Number(field.slice(at + 1))] as const;
  });
  return { what, time: BigInt(time), inodes: new Map(inodes) };
}

/** A process that carries out transactions. */
export class Writer {
  readonly #lines: Line[] = [];
  /** The transactions in their order. It may carry out only the first ones. */
  readonly order: readonly Transaction[];
  /** Rejects if it failed. */
  readonly ended: Promise<void>;

  constructor(command: readonly string[], order: readonly Transaction[], onLine: () => void) {
    this.order = order;
    const [program, ...args] = command as [string, ...string[]];
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let [rest, errors] = ['', ''];
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors += text;
    });
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() as string;
      for (const line of lines) this.#lines.push(parseLine(line));
      onLine();
    });
    this.ended = once(child, 'close').then(([status]) => {
      if (status !== 0) throw new Error(`writer: status ${status}: ${errors}`);
    });
  }

  /** The number of transactions that are durable by now. */
  get done(): number {
    return this.#lines.filter(({ what }) => what === 'done').length;
  }

  /** How far it was in a copy. */
  progress({ from, to }: Copy): Progress {
    const durable = this.#lines.filter(({ what, time }) => what === 'done' && time < from).map(({ inodes }) => inodes);
    const begun = this.#lines.filter(({ what, time }) => what === 'begin' && time <= to).length;
    return { durable, begun };
  }
}

/** Other processes, which a test directs step by step. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { HERE, type Place } from '../../e2e/run.ts';

const PROGRAM = readFileSync(join(import.meta.dirname, 'interpreter.py'), 'utf8');

/** What Python returned, as JSON. The name of an error is text. */
export type Answer = null | boolean | number | string | readonly Answer[];

/** A Python in a directory. */
export class Python {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #ended: Promise<unknown>;

  /** @param place whose user it is */
  constructor(directory: string, place: Place = HERE) {
    const [command, ...args] = place.command('python3', '-c', PROGRAM) as [string, ...string[]];
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#ended = once(this.#child, 'close');
    const lines: Interface = createInterface({ input: this.#child.stdout as NodeJS.ReadableStream });
    this.#lines = lines[Symbol.asyncIterator]();
    void this.ask(`os.chdir(${JSON.stringify(directory)})`);
  }

  /** The number of the process. */
  pid(): Promise<Answer> {
    return this.ask('os.getpid()');
  }

  /** Evaluates an expression or executes statements. Answers come in the order of the calls. */
  async ask(code: string): Promise<Answer> {
    this.#child.stdin?.write(`${JSON.stringify(code)}\n`);
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error(`the process ended: ${code}`);
    return JSON.parse(value as string) as Answer;
  }

  /** Ends it with SIGKILL, and waits until it has ended. */
  async kill(): Promise<void> {
    // a command before it, such as nsenter, has been replaced by it
    this.#child.kill('SIGKILL');
    await this.#ended;
  }
}

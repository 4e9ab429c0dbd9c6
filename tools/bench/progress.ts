/** What is going on, on stderr: a line that is written over on a terminal, else a line for each new step. */

/** The part of a text that names a step: what follows is turns of it. */
const stepOf = (text: string): string => text.split(': ', 1)[0] as string;

/** @param columns width of the terminal; undefined where there is none */
export class Progress {
  readonly #write: (text: string) => void;
  readonly #columns: number | undefined;
  readonly #began = Date.now();
  #step = '';

  constructor(write: (text: string) => void, columns: number | undefined) {
    this.#write = write;
    this.#columns = columns;
  }

  /** "what: turn" */
  show(text: string): void {
    const elapsed = clock(Date.now() - this.#began);
    if (this.#columns !== undefined) {
      this.#write(`\r\x1b[K${`${elapsed} ${text}`.slice(0, this.#columns - 1)}`);
    } else if (stepOf(text) !== this.#step) {
      this.#step = stepOf(text);
      this.#write(`${elapsed} ${this.#step}\n`);
    }
  }

  /** Takes the line away. */
  end(): void {
    if (this.#columns !== undefined) this.#write('\r\x1b[K');
  }
}

/** "12:05": minutes and seconds. */
function clock(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}
